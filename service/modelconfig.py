"""Triton's model configuration of a version, told from its signature: what clients ask before they make tensors."""

from typing import Any

from service.protocol.tensors import TensorSpec
from service.runtime.company import has_free_rows
from service.runtime.loaded import Loaded

Document = dict[str, Any]

PLATFORM, BACKEND = "onnxruntime_onnx", "onnxruntime"
ROWS_SHOWN = 1024
"""`max_batch_size` of a model with a batch dimension. Nothing here refuses more rows; a body's size is the limit."""


def configuration(loaded: Loaded, versions: list[int]) -> Document:
    """The document of `GET .../config`. With a batch dimension, `dims` are those of a row, as Triton has it."""
    signature, batched = loaded.signature, has_free_rows(loaded.signature)
    return {
        "name": loaded.model,
        "platform": PLATFORM,
        "backend": BACKEND,
        "runtime": "",
        "version_policy": {"specific": {"versions": versions}},
        "max_batch_size": ROWS_SHOWN if batched else 0,
        "input": [_input(spec, batched) for spec in signature.inputs],
        "output": [_output(spec, batched) for spec in signature.outputs],
        "batch_input": [],
        "batch_output": [],
        "instance_group": [_instances(loaded)],
        "default_model_filename": "model.onnx",
        "cc_model_filenames": {},
        "metric_tags": {},
        "parameters": {},
        "model_warmup": [],
        "model_transaction_policy": {"decoupled": False},
    }


def _input(spec: TensorSpec, batched: bool) -> Document:
    flags = {"is_shape_tensor": False, "allow_ragged_batch": False, "optional": False}
    return {**_tensor(spec, batched), "format": "FORMAT_NONE", **flags}


def _output(spec: TensorSpec, batched: bool) -> Document:
    return {**_tensor(spec, batched), "label_filename": "", "is_shape_tensor": False}


def _tensor(spec: TensorSpec, batched: bool) -> Document:
    dims = [-1] if spec.shape is None else list(spec.shape[1:] if batched else spec.shape)
    kind = "TYPE_STRING" if spec.datatype == "BYTES" else f"TYPE_{spec.datatype}"
    # dims may not be empty there: a scalar is one number in another form.
    shape: Document = {"dims": dims} if dims else {"dims": [1], "reshape": {"shape": []}}
    return {"name": spec.name, "data_type": kind, **shape}


def _instances(loaded: Loaded) -> Document:
    return {
        "name": f"{loaded.model}_0",
        "kind": "KIND_CPU",
        "count": loaded.executor.limits.max_concurrency,
        "gpus": [],
        "secondary_devices": [],
        "profile": [],
        "passive": False,
        "host_policy": "",
    }
