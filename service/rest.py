"""The public port but for inference: health, metadata, metrics and the OpenAPI page, as ordinary FastAPI."""

import asyncio
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Header, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.errors import (
    Internal,
    InvalidArgument,
    NotFound,
    PayloadTooLarge,
    RequestTimeout,
    SerinError,
    Unimplemented,
)
from router.gate import Gate, require_rows, with_schemes
from router.status import STATUS, rejection
from service.about import EXTENSIONS, PLATFORM, About, shown_shape
from service.dataplane import Dataplane
from service.front import Front
from service.http.documents import (
    ErrorBody,
    FeedbackBody,
    InferAnswer,
    InferBody,
    InvocationBody,
    Live,
    ModelList,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
    TensorMetadata,
    V1Body,
)
from service.http.feedback import add_feedback
from service.http.mlflow import add_mlflow
from service.http.pages import add_pages
from service.http.status import error_body, error_headers
from service.http.v1 import add_v1
from service.http.v2 import V2, request_id_of
from service.needs import PUBLIC_PORT
from service.triton import add_triton

ModelName = Annotated[str, Path(description="the model's directory in the repository")]
Version = Annotated[str, Path(description="a version number, or an alias such as `stable`")]
FORMATS = "which of the Prometheus text formats is wanted"
_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
# Not by `model`: FastAPI would make a validator for each of them on each route, at every start of a worker.
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": HTTPStatus(status).phrase, "content": _ERROR}
    for status in (400, 401, 403, 404, 408, 409, 413, 415, 429, 500, 501, 503, 504)
}
_TOLD = {
    "Serin-Version": "the version that answered",
    "Serin-Variant": "the variant of the route that it was",
    "Serin-Revision": "the revision of the routing table that chose it",
    "Serin-Assignment": "comes back with feedback about this answer",
    "X-Request-Id": "the caller's, or one that was made",
    "Inference-Header-Content-Length": "where outputs are binary: bytes of the JSON part",
}
INFER_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": InferAnswer,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        "headers": {name: {"schema": {"type": "string"}, "description": text} for name, text in _TOLD.items()},
    }
}
INFER_DOCUMENT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/InferBody"}},
            "application/octet-stream": {
                "schema": {"type": "string", "format": "binary"},
            },
        },
    },
    "parameters": [
        {
            "name": name,
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": text,
        }
        for name, text in (
            (
                "Inference-Header-Content-Length",
                "binary tensor extension: bytes of the JSON part; 0 for one raw tensor",
            ),
            ("Content-Encoding", "`gzip` or `deflate`"),
            ("Serin-Routing-Key", "keeps a caller on one version (the name is the route's to choose)"),
            ("X-Request-Id", "echoed; made when absent"),
        )
    ],
}


Metrics = Callable[[str], tuple[bytes, str]]
"""Renders `/metrics` for the `Accept` header of a scraper: text and its content type. Called in a thread."""


def create_rest(front: Front, metrics: Metrics) -> ASGIApp:
    """The ASGI application of the public port: the front's `v2` answers inference before FastAPI sees it."""
    dataplane, v2, about = front.dataplane, front.v2, front.about
    app = FastAPI(
        title="Serin",
        version=about.version,
        summary="Open Inference Protocol V2 over versions of ONNX models",
        redirect_slashes=False,
        responses=ERRORS,
        openapi_url=None,  # `add_pages` has it
    )
    _add_errors(app)
    _add_health(app, dataplane, about)
    add_triton(app, front)
    _add_models(app, dataplane)
    _add_infer(app, v2)
    add_feedback(app, front.feedback)
    add_v1(app, dataplane, v2)
    add_mlflow(app, dataplane, v2, about, front.invocations_model)
    _add_metrics(app, metrics)
    _complete_document(app)
    add_pages(app, dataplane, front.models)
    require_rows(app.routes, PUBLIC_PORT)
    return _before(app, front)


def _before(app: ASGIApp, front: Front) -> ASGIApp:
    v2, rejected = front.v2, front.rejected
    gate = Gate(PUBLIC_PORT, front.doorman) if front.doorman is not None else None

    async def entry(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and v2.answers(scope):
            await v2(scope, receive, send)
            return
        told = partial(_send_with_id, send, _request_id(scope))
        if scope["type"] == "http" and gate is not None:
            try:
                scope["state"]["principal"] = gate.admit(scope)
            except SerinError as error:
                rejected(rejection(error))
                await _failed(Request(scope), error)(scope, receive, told)
                return
        await app(scope, receive, told)

    return entry


def _request_id(scope: Scope) -> str:
    """The id of this request, made when it is first asked for; kept in the scope, so that all say the same."""
    state: dict[str, str] = scope.setdefault("state", {})
    if "request_id" not in state:
        state["request_id"] = request_id_of(dict(scope.get("headers", ())).get(b"x-request-id"))
    return state["request_id"]


async def _send_with_id(send: Send, request_id: str, message: Message) -> None:
    if message["type"] == "http.response.start":
        message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
    await send(message)


def _add_health(app: FastAPI, dataplane: Dataplane, about: About) -> None:
    @app.get("/v2", tags=["server"], response_model=ServerMetadata)
    @app.get("/v2/", include_in_schema=False)
    async def server_metadata() -> ServerMetadata:
        """Name, version and protocol extensions of this server."""
        return ServerMetadata(name=about.name, version=about.version, extensions=list(EXTENSIONS))

    @app.head("/v2/health/live", include_in_schema=False)
    @app.get("/v2/health/live", tags=["server"], response_model=Live)
    async def live() -> Live:
        """The event loop answers."""
        return Live(live=True)

    @app.head("/v2/health/ready", include_in_schema=False)
    @app.get("/v2/health/ready", tags=["server"], response_model=Ready, response_model_exclude_none=True)
    async def ready(response: Response) -> Ready:
        """Every routed version is loaded here, or declared unavailable by itself; 503 until then and while draining."""
        reason = dataplane.not_ready_reason()
        response.status_code = 503 if reason else 200
        return Ready(ready=reason is None, reason=reason)


def _add_models(app: FastAPI, dataplane: Dataplane) -> None:
    @app.get("/v2/models", tags=["models"], response_model=ModelList)
    async def models() -> ModelList:
        """All routed models."""
        return ModelList(models=sorted(dataplane.table.routes))

    @app.get("/v2/models/{model}", tags=["models"], response_model=ModelMetadata)
    @app.get("/v2/models/{model}/versions/{version}", tags=["models"], response_model=ModelMetadata)
    async def metadata(model: ModelName, version: Version | None = None) -> ModelMetadata:
        """Inputs and outputs of a version; without one, of the version with the largest weight."""
        loaded = dataplane.described(model, version)
        inputs, outputs = (
            [TensorMetadata(name=t.name, datatype=str(t.datatype), shape=shown_shape(t)) for t in tensors]
            for tensors in (loaded.signature.inputs, loaded.signature.outputs)
        )
        versions = [str(number) for number in dataplane.ready_versions(model)]
        return ModelMetadata(name=model, versions=versions, platform=PLATFORM, inputs=inputs, outputs=outputs)

    @app.get("/v2/models/{model}/ready", tags=["models"], response_model=ModelReady, response_model_exclude_none=True)
    @app.get(
        "/v2/models/{model}/versions/{version}/ready",
        tags=["models"],
        response_model=ModelReady,
        response_model_exclude_none=True,
    )
    async def model_ready(response: Response, model: ModelName, version: Version | None = None) -> ModelReady:
        """200 when requests to this model (or version) are answered, 503 with the reason when not, 404 when unknown."""
        reason = dataplane.model_not_ready_reason(model, version)
        response.status_code = 503 if reason else 200
        return ModelReady(name=model, ready=reason is None, reason=reason)


def _add_infer(app: FastAPI, v2: V2) -> None:
    # For the OpenAPI page: `_before` answers these paths unless somebody mounts the FastAPI application alone.
    @app.post(
        "/v2/models/{model}/infer",
        tags=["inference"],
        openapi_extra=INFER_DOCUMENT,
        responses=INFER_ANSWERS,
    )
    @app.post(
        "/v2/models/{model}/versions/{version}/infer",
        tags=["inference"],
        openapi_extra=INFER_DOCUMENT,
        responses=INFER_ANSWERS,
    )
    async def infer(model: ModelName, version: Version | None = None) -> Response:
        """Run a model. Without a version the route decides; with one, that version answers or the request is refused.

        The answer says who answered: `Serin-Version`, `Serin-Variant`, `Serin-Revision`, `X-Request-Id`; for
        feedback about it: `Serin-Assignment`.
        """
        return _Delegate(v2)


def _add_metrics(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/metrics", tags=["server"], response_class=Response)
    async def metrics_text(accept: Annotated[str, Header(description=FORMATS)] = "") -> Response:
        """Prometheus text of all workers together, whichever worker or port is asked."""
        text, content_type = await asyncio.to_thread(metrics, accept)
        return Response(text, media_type=None, headers={"content-type": content_type})


def _complete_document(app: FastAPI) -> None:
    """The request of inference, which FastAPI never sees, joins the schemas; its own 422, which is a 400 here, goes."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        document = made()
        schemas: dict[str, Any] = document["components"]["schemas"]
        for shape in (ErrorBody, InferBody, FeedbackBody, V1Body, InvocationBody):
            body = shape.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= body.pop("$defs", {}) | {shape.__name__: body}
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        return with_schemes(document)

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the document


class _Delegate(Response):
    def __init__(self, v2: V2) -> None:
        super().__init__()
        self._v2 = v2

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._v2(scope, receive, send)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(SerinError)
    async def serin_error(request: Request, error: SerinError) -> Response:
        return _failed(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return _failed(request, InvalidArgument(f"{'.'.join(map(str, first['loc']))}: {first['msg']}"))

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        return _failed(request, Internal("the gateway failed; its log has why"))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        texts: dict[int, SerinError] = {
            404: NotFound("there is nothing at this path; GET /v2 and /docs say what there is"),
            405: Unimplemented("this path does not take this method; /docs says which it takes"),
        }
        answer = _failed(request, texts.get(error.status_code, InvalidArgument(str(error.detail))))
        answer.status_code = error.status_code
        answer.headers.update(error.headers or {})
        return answer


def _failed(request: Request, error: SerinError) -> Response:
    headers = {name.decode(): value.decode() for name, value in error_headers(error)}
    if isinstance(error, PayloadTooLarge | RequestTimeout):  # there is more of the body to come
        headers["connection"] = "close"
    body = error_body(error, _request_id(request.scope))
    return Response(body, STATUS[error.kind], headers=headers, media_type="application/json")
