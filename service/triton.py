"""What Triton adds to the protocol over HTTP: configuration, statistics, the model repository, settings to look at."""

from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, Path, Request, Response

from router.errors import InvalidArgument, Unimplemented
from service.front import Front
from service.http.reading import read_small
from service.modelconfig import configuration
from service.readonly import log_settings, require_unchanged, trace_settings
from service.shelf import Shelf

ModelName = Annotated[str, Path(description="the model's directory in the repository")]
Version = Annotated[str, Path(description="a version number, or an alias such as `stable`")]
Document = dict[str, Any]

MAX_BYTES = 1024 * 1024
_OBJECT = msgspec.json.Decoder(dict[str, Any])


def add_triton(app: FastAPI, front: Front) -> None:
    """The routes, before those of `/v2/models/{model}`: a model cannot be called `stats`."""
    _add_descriptions(app, front)
    _add_repository(app, front.shelf)
    _add_settings(app, front)
    _add_absent(app)


def _add_descriptions(app: FastAPI, front: Front) -> None:
    @app.get("/v2/models/stats", tags=["models"])
    async def all_statistics() -> Document:
        """Requests, rows, runs and times of every loaded version, over all workers since the counters began."""
        return {"model_stats": await front.statistics.of()}

    @app.get("/v2/models/{model}/stats", tags=["models"])
    @app.get("/v2/models/{model}/versions/{version}/stats", tags=["models"])
    async def statistics(model: ModelName, version: Version | None = None) -> Document:
        """The same of one model, or of one version."""
        return {"model_stats": await front.statistics.of(model, version)}

    @app.get("/v2/models/{model}/config", tags=["models"])
    @app.get("/v2/models/{model}/versions/{version}/config", tags=["models"])
    async def config(model: ModelName, version: Version | None = None) -> Document:
        """Triton's model configuration, told from the inputs and outputs of a version."""
        return configuration(front.dataplane.described(model, version), front.dataplane.ready_versions(model))


def _add_repository(app: FastAPI, shelf: Shelf) -> None:
    @app.post("/v2/repository/index", tags=["repository"])
    async def index(request: Request) -> list[Document]:
        """Every version there is, with its state; `{"ready": true}` asks for those that are ready only."""
        return await shelf.index(_switch(await _body(request), "ready"))

    @app.post("/v2/repository/models/{model}/load", tags=["repository"], response_class=Response)
    @app.post("/v2/repository/models/{model}/versions/{version}/load", tags=["repository"], response_class=Response)
    async def load(request: Request, model: ModelName, version: str | None = None) -> Response:
        """Load a model, or one version of it, again; answered when every worker has it. Without keys: loopback only."""
        await shelf.load(model, version, _parameters(await _body(request), alone=True), _actor(request))
        return Response()

    @app.post("/v2/repository/models/{model}/unload", tags=["repository"], response_class=Response)
    @app.post("/v2/repository/models/{model}/versions/{version}/unload", tags=["repository"], response_class=Response)
    async def unload(request: Request, model: ModelName, version: str | None = None) -> Response:
        """Unload a model, whatever its route says, or a version that has no weight. Without keys: loopback only."""
        _switch(_parameters(await _body(request), alone=True), "unload_dependents")
        await shelf.unload(model, version, _actor(request))
        return Response()


def _add_settings(app: FastAPI, front: Front) -> None:
    @app.get("/v2/trace/setting", tags=["server"])
    @app.get("/v2/models/{model}/trace/setting", tags=["server"])
    async def trace(model: str | None = None) -> Document:
        """What is traced: nothing."""
        if model is not None:
            front.dataplane.expect(model)
        return trace_settings()

    @app.post("/v2/trace/setting", tags=["server"])
    @app.post("/v2/models/{model}/trace/setting", tags=["server"])
    async def set_trace(request: Request, model: str | None = None) -> Document:
        """The same; 501 for a change."""
        require_unchanged(await _body(request), trace_settings())
        return await trace(model)

    @app.get("/v2/logging", tags=["server"])
    async def logs() -> Document:
        """What is logged, by the setting `log_level`."""
        return log_settings()

    @app.post("/v2/logging", tags=["server"])
    async def set_logs(request: Request) -> Document:
        """The same; 501 for a change."""
        require_unchanged(await _body(request), log_settings())
        return log_settings()


def _add_absent(app: FastAPI) -> None:
    for kind in ("systemsharedmemory", "cudasharedmemory"):

        @app.api_route(f"/v2/{kind}/{{rest:path}}", methods=["GET", "POST"], include_in_schema=False)
        async def shared_memory(rest: str) -> Response:
            raise Unimplemented("the shared memory extension is not offered; send data in the request")


def _actor(request: Request) -> str:
    principal = getattr(request.state, "principal", None)
    return principal.name if principal is not None else ""


async def _body(request: Request) -> Document:
    """The JSON object of a request; an empty body is an empty object."""
    whole = await read_small(request, MAX_BYTES)
    try:
        return _OBJECT.decode(whole) if whole.strip() else {}
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"the body must be a JSON object: {error}") from error


def _parameters(body: Document, alone: bool = False) -> Document:
    """`alone`: nothing may stand beside them. An address from which to load, as other servers take it, is refused and
    not passed over."""
    if alone and body.keys() - {"parameters"}:
        raise InvalidArgument("the body may hold `parameters` alone; models come from the model repository only")
    found = body.get("parameters")
    if found is not None and not isinstance(found, dict):
        raise InvalidArgument("parameters: must be an object")
    return found or {}


def _switch(members: Document, name: str) -> bool:
    """A member that is true or false, or left out."""
    found = members.get(name)
    if found is not None and not isinstance(found, bool):
        raise InvalidArgument(f"{name}: must be true or false")
    return bool(found)
