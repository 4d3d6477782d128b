"""The shapes of the public port's JSON, for FastAPI and the OpenAPI page. Tensors never pass through."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

Parameter = str | int | float | bool


class ErrorBody(BaseModel):
    """Every error of every route."""

    error: str = Field(
        description="what is wrong, and the way out", examples=["digits has no version 9; it has: 1, 2, 3"]
    )
    code: str = Field(description="the kind, in gRPC's canonical words", examples=["NOT_FOUND"])
    request_id: str = Field(description="the X-Request-Id of this request")


class Live(BaseModel):
    """The event loop answers; nothing more is claimed."""

    live: bool


class Ready(BaseModel):
    """Every version that the table routes to is loaded here, or has been declared unavailable by itself."""

    ready: bool
    reason: str | None = None


class ServerMetadata(BaseModel):
    """Open Inference Protocol V2, server metadata."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """Name, V2 datatype, and shape with -1 for a dimension that may vary."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """Open Inference Protocol V2, model metadata."""

    model_config = ConfigDict(protected_namespaces=())

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    properties: dict[str, Any] = {}


class ModelReady(BaseModel):
    """Whether the model, or the version named in the path, answers in this worker."""

    name: str
    ready: bool
    reason: str | None = None


class ModelList(BaseModel):
    """The models that this gateway routes."""

    models: list[str]


class InferTensor(BaseModel):
    """A tensor in JSON; `data` is flat in row-major order, or nested in the form of `shape`."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Parameter] | None = None
    data: list[Any] | None = Field(default=None, description="absent when the tensor follows in binary")


class InferWanted(BaseModel):
    """An output that the answer shall contain."""

    name: str
    parameters: dict[str, Parameter] | None = None


class InferBody(BaseModel):
    """Open Inference Protocol V2, inference request."""

    id: str | None = None
    parameters: dict[str, Parameter] | None = Field(
        default=None, description="`routing_key` keeps a caller on one version; `timeout` is in microseconds"
    )
    inputs: list[InferTensor]
    outputs: list[InferWanted] | None = Field(default=None, description="absent: all outputs of the model")


class InferAnswer(BaseModel):
    """Open Inference Protocol V2, inference response."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, Parameter] | None = None
    outputs: list[InferTensor]


class V1Body(BaseModel):
    """KServe V1 and TensorFlow Serving: rows or columns, never both."""

    instances: list[Any] | None = Field(
        default=None, description="rows: values of the only input, or objects with a value for each"
    )
    inputs: Any = Field(default=None, description="columns: the tensor of the only input, or an object by name")
    signature_name: str | None = None


class V1Answer(BaseModel):
    """Rows are answered in `predictions`, columns in `outputs`; one output alone is not named."""

    predictions: list[Any] | None = None
    outputs: Any = None


class V1VersionStatus(BaseModel):
    """One version, in TensorFlow Serving's words."""

    version: str
    state: str
    status: dict[str, str]


class V1Status(BaseModel):
    """KServe's answer and TensorFlow Serving's in one."""

    model_config = ConfigDict(protected_namespaces=())

    name: str
    ready: bool
    model_version_status: list[V1VersionStatus]


class InvocationBody(BaseModel):
    """MLflow: exactly one of the first four."""

    dataframe_split: dict[str, Any] | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    instances: list[Any] | None = None
    inputs: Any = None
    params: dict[str, Parameter] | None = None


class FeedbackItem(BaseModel):
    """What is known of one answer by now: `label` or `reward`."""

    assignment: str = Field(description="the `Serin-Assignment` of the answer, as it was")
    label: str | int | None = Field(default=None, description="the class that would have been right")
    reward: bool | int | None = Field(default=None, description="1 when the answer was good, 0 when not")


class FeedbackBody(BaseModel):
    """Feedback for one answer, or under `feedback` for up to 1000."""

    assignment: str | None = None
    label: str | int | None = None
    reward: bool | int | None = None
    feedback: list[FeedbackItem] | None = None


class FeedbackError(BaseModel):
    """Why an item was not counted."""

    index: int = Field(description="its place in `feedback`, from 0")
    code: str
    error: str


class FeedbackAnswer(BaseModel):
    """What became of the items: counted now, counted before, refused."""

    counted: int
    repeated: int = Field(description="were counted before, and are not counted again")
    refused: int
    errors: list[FeedbackError]
