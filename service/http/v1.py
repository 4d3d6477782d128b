"""KServe's V1 and TensorFlow Serving's REST API: `:predict`, status and metadata. A label is an alias."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import FastAPI, Path, Request, Response

from router.errors import InvalidArgument, NotFound, SerinError, Unimplemented
from router.names import shown
from router.routes import is_version
from service.dataplane import Dataplane
from service.http.documents import ModelList, V1Answer, V1Status
from service.http.foreign import Document, Way, answer, reader
from service.http.v2 import V2
from service.protocol.rows_codec import SIGNATURE, read_v1
from service.protocol.tensors import TensorSpec

ModelName = Annotated[str, Path(description="the model's directory in the repository")]
Version = Annotated[str, Path(description="a version number")]
Label = Annotated[str, Path(description="an alias such as `stable`")]

TYPES: Mapping[str, str] = {
    "BOOL": "DT_BOOL",
    "BYTES": "DT_STRING",
    "FP16": "DT_HALF",
    "BF16": "DT_BFLOAT16",
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    **{f"{sign}INT{bits}": f"DT_{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
}
"""TensorFlow's names of the datatypes."""

ABSENT: Mapping[str, str] = {
    "explain": "models have no explainer here",
    "classify": "it takes tf.Example records, which ONNX models do not; send the tensors to :predict",
    "regress": "it takes tf.Example records, which ONNX models do not; send the tensors to :predict",
}

PREDICT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/V1Body"}}},
    }
}
WAYS = ("", "/versions/{version}", "/labels/{label}")


def add_v1(app: FastAPI, dataplane: Dataplane, v2: V2) -> None:
    """The routes under `/v1`, and the root that says that the server lives."""
    _add_models(app, dataplane)
    _add_predict(app, v2)

    @app.get("/", tags=["v1"])
    async def alive() -> dict[str, str]:
        """KServe's V1: the server answers."""
        return {"status": "alive"}


def _add_predict(app: FastAPI, v2: V2) -> None:
    async def predict(
        request: Request, model: ModelName, version: Version | None = None, label: Label | None = None
    ) -> Response:
        """Rows (`instances`) or columns (`inputs`) to predictions; without version or label the route decides who."""
        reference = _reference(version, label)
        told = partial(_told, _request_of(model, version, label))
        return await answer(v2, request, Way(model, reference, reader(read_v1, v2), told))

    for way in WAYS:
        path = f"/v1/models/{{model}}{way}:predict"
        app.post(path, tags=["v1"], openapi_extra=PREDICT, responses={200: {"model": V1Answer}})(predict)
        for verb, reason in ABSENT.items():
            app.post(f"/v1/models/{{model}}{way}:{verb}", include_in_schema=False)(_refusal(verb, reason))


def _refusal(verb: str, reason: str) -> Any:
    async def refuse() -> Response:
        raise Unimplemented(f":{verb} is not offered: {reason}")

    return refuse


def _add_models(app: FastAPI, dataplane: Dataplane) -> None:
    @app.get("/v1/models", tags=["v1"], response_model=ModelList)
    async def models() -> ModelList:
        """All routed models."""
        return ModelList(models=sorted(dataplane.table.routes))

    async def metadata(model: ModelName, version: Version | None = None, label: Label | None = None) -> Document:
        """Inputs and outputs as TensorFlow Serving tells them, of the version that is asked for."""
        try:
            loaded = dataplane.described(model, _reference(version, label))
        except NotFound as error:
            raise _unknown(model, version, label, error) from error
        inputs, outputs = _tensors(loaded.signature.inputs), _tensors(loaded.signature.outputs)
        signature = {"inputs": inputs, "outputs": outputs, "method_name": "tensorflow/serving/predict", "defaults": {}}
        return {
            "model_spec": {"name": model, "signature_name": "", "version": str(loaded.version)},
            "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
        }

    async def status(
        response: Response, model: ModelName, version: Version | None = None, label: Label | None = None
    ) -> Document:
        """Whether the model is ready (KServe's `ready`), and the state of each version; 503 when none answers."""
        reference = _reference(version, label)
        try:
            reason = dataplane.model_not_ready_reason(model, reference)
        except NotFound as error:
            raise _unknown(model, version, label, error) from error
        response.status_code = 503 if reason else 200
        return {"name": model, "ready": reason is None, "model_version_status": _states(dataplane, model, reference)}

    for way in WAYS:
        app.get(f"/v1/models/{{model}}{way}/metadata", tags=["v1"])(metadata)
        app.get(f"/v1/models/{{model}}{way}", tags=["v1"], responses={200: {"model": V1Status}})(status)


def _states(dataplane: Dataplane, model: str, reference: str | None) -> list[Document]:
    broken = dataplane.table.unavailable.get(model, {})
    wanted = dataplane.table.wanted.get(model, {})
    versions = sorted({*broken, *wanted}, reverse=True)
    if reference is not None:
        versions = [dataplane.version_of(model, reference)]
    ready = set(dataplane.ready_versions(model))
    return [_state(version, version in ready, broken.get(version)) for version in versions]


def _state(version: int, ready: bool, reason: str | None) -> Document:
    state = "AVAILABLE" if ready else "LOADING" if reason is None else "END"
    error = {"error_code": "OK" if reason is None else "UNKNOWN", "error_message": reason or ""}
    return {"version": str(version), "state": state, "status": error}


def _tensors(specs: tuple[TensorSpec, ...]) -> Document:
    return {spec.name: _tensor(spec) for spec in specs}


def _tensor(spec: TensorSpec) -> Document:
    dimensions = [{"size": str(size), "name": ""} for size in spec.shape or ()]
    shape = {"dim": dimensions, "unknown_rank": spec.shape is None}
    return {"name": f"{spec.name}:0", "dtype": TYPES[spec.datatype], "tensor_shape": shape}


def _reference(version: str | None, label: str | None) -> str | None:
    """What a path names. Raises InvalidArgument for a version that is none."""
    if version is not None and not is_version(version):
        raise InvalidArgument(f"Malformed request: {shown(version)} is no version; aliases are under /labels/")
    if label is not None and is_version(label):
        raise InvalidArgument(f"Malformed request: {shown(label)} is no label; versions are under /versions/")
    return version or label


def _request_of(model: str, version: str | None, label: str | None) -> str:
    """What TensorFlow Serving calls the request for a servable."""
    named = version or label
    model, named = shown(model).strip("'"), named and shown(named).strip("'")
    return f"Specific({model}, {named})" if named else f"Latest({model})"


def _unknown(model: str, version: str | None, label: str | None, error: SerinError) -> NotFound:
    return NotFound(f"Servable not found for request: {_request_of(model, version, label)}; {error.message}")


def _told(request_of: str, document: Document) -> Document:
    if document["code"] != "NOT_FOUND":
        return document
    return {**document, "error": f"Servable not found for request: {request_of}; {document['error']}"}
