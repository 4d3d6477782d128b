"""What the server says of itself and of its models in metadata, the same over HTTP and gRPC."""

from dataclasses import dataclass

from service.protocol.tensors import TensorSpec

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "model_repository(versions)",
    "schedule_policy",
    "statistics",
)
PLATFORM = "onnx_onnxv1"


@dataclass(frozen=True, slots=True)
class About:
    """Who answers: shown by `/v2`."""

    name: str
    version: str


def shown_shape(tensor: TensorSpec) -> list[int]:
    """V2 cannot say "of any rank"; such a tensor is shown as one free dimension."""
    return [-1] if tensor.shape is None else list(tensor.shape)
