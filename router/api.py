"""The admin API: what people and programs ask of the controller over HTTP. No decision is taken here."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator
from starlette.exceptions import HTTPException

from router.access import key_rows
from router.acknowledgement import Applied
from router.bodies import (
    AppliedAnswer,
    ErrorAnswer,
    EventsAnswer,
    PatchBody,
    ReasonBody,
    RouteAnswer,
    RouteBody,
    require_version,
)
from router.commands import Load, Unload
from router.controller import Controller
from router.doorman import Doorman
from router.errors import Internal, InvalidArgument, NotFound, SerinError, error_of
from router.gate import Gate, require_rows, with_schemes
from router.guard import Guard, GuardLimits, error_response
from router.headers import match_of, tags_of, who_asks
from router.internal import internal_router
from router.names import MAX_NUMBER, MAX_VERSION, number_of
from router.needs import ADMIN_PORT
from router.readiness import require_model
from router.status import STATUS
from router.stream import Streams
from router.views import (
    event_document,
    known_models,
    model_document,
    route_document,
    version_document,
    worker_document,
)

Model = Annotated[str, Path(max_length=128, description="the model's name")]
Version = Annotated[int, BeforeValidator(require_version), Path(ge=1, le=MAX_VERSION)]
Tag = Annotated[str | None, Header(max_length=1024)]
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """`hosts`: names that `Host` may have (None: any); `models_directory` is shown; `metrics`: makes the exposition and
    its content type; `parts`: more endpoints under /api/v1; `doorman` None: whoever reaches the port may do all."""

    token: str
    version: str = "0"
    hosts: frozenset[str] | None = None
    metrics: Callable[[], tuple[bytes, str]] | None = None
    models_directory: str = ""
    limits: GuardLimits = field(default_factory=GuardLimits)
    parts: tuple[APIRouter, ...] = ()
    doorman: Doorman | None = None


def create_app(controller: Controller, options: ApiOptions) -> Guard:
    """The whole admin port, as an ASGI app. The controller is started and closed by the caller."""
    app = FastAPI(
        title="Serin admin API",
        version=options.version,
        description="Models, routes and history of one Serin. Reachable only where it is bound: keep it private.",
        responses={"default": {"model": ErrorAnswer, "description": "refused, with the reason"}},
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a path with one too many is no path, and no key has to be asked for it
        openapi_url="/api/v1/openapi.json",
    )
    app.add_exception_handler(SerinError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_fault)
    app.include_router(internal_router(controller, options.token))
    for part in (
        _models(controller),
        _routes(controller),
        _history(controller, options.doorman),
        _status(controller, options),
        *options.parts,
    ):
        app.include_router(part, prefix="/api/v1")
    app.include_router(_probes(controller, options))
    require_rows(app.routes, ADMIN_PORT)
    made = app.openapi
    app.openapi = lambda: with_schemes(made())  # type: ignore[method-assign]  # FastAPI's own way to extend it
    gate = Gate(ADMIN_PORT, options.doorman) if options.doorman is not None else None
    return Guard(app, options.hosts, options.limits, gate)


def _models(controller: Controller) -> APIRouter:
    router = APIRouter(tags=["models"])

    @router.get("/models", summary="All models with their versions and routes")
    async def models() -> Document:
        sight = controller.sight()
        return {
            "revision": sight.state.table.revision,
            "scanned": sight.inventory.scanned,
            "models": [model_document(sight, name) for name in known_models(sight)],
        }

    @router.post("/models/rescan", status_code=202, summary="Look at the model directory now")
    async def rescan() -> Document:
        return {"sequence": controller.rescan(), "done": controller.inventory.sequence}

    @router.get("/models/{model}", summary="One model: state and reason of each version in each worker")
    async def model(model: Model) -> Document:
        require_model(controller.sight(), model)
        return model_document(controller.sight(), model)

    @router.post("/models/{model}/load", summary="Load all versions of a model again")
    async def load(model: Model, request: Request, body: ReasonBody | None = None) -> Document:
        done = await controller.load(Load(model), who_asks(request, body))
        return _loaded(controller, model, None, done)

    @router.post("/models/{model}/unload", summary="Unload a model, whatever its route says")
    async def unload(model: Model, request: Request, body: ReasonBody | None = None) -> Document:
        done = await controller.unload(Unload(model), who_asks(request, body))
        return _loaded(controller, model, None, done)

    @router.post("/models/{model}/versions/{version}/load", summary="Load a version; lifts its quarantine")
    async def load_version(
        model: Model, version: Version, request: Request, body: ReasonBody | None = None
    ) -> Document:
        done = await controller.load(Load(model, version), who_asks(request, body))
        return _loaded(controller, model, version, done)

    @router.post("/models/{model}/versions/{version}/unload", summary="Unload a version that has no weight")
    async def unload_version(
        model: Model, version: Version, request: Request, body: ReasonBody | None = None
    ) -> Document:
        done = await controller.unload(Unload(model, version), who_asks(request, body))
        return _loaded(controller, model, version, done)

    return router


def _routes(controller: Controller) -> APIRouter:
    router = APIRouter(tags=["routes"])

    @router.get("/routes", summary="All recorded routes")
    async def routes() -> Document:
        table = controller.table
        return {"revision": table.revision, "routes": [route_document(table.routes[m]) for m in sorted(table.routes)]}

    @router.get("/routes/{model}", response_model=RouteAnswer, summary="One route; its ETag is its revision")
    async def route(model: Model, response: Response, if_none_match: Tag = None) -> Any:
        require_model(controller.sight(), model)
        found = controller.table.routes.get(model)
        if found is None:
            raise NotFound(f"{model} has no route yet")
        etag = f'"{found.revision}"'
        if if_none_match is not None and etag in tags_of(if_none_match):
            return Response(status_code=304, headers={"ETag": etag})
        response.headers["ETag"] = etag
        return route_document(found)

    @router.put(
        "/routes/{model}", response_model=AppliedAnswer, summary="Set weights; applied everywhere when it returns"
    )
    async def set_route(model: Model, body: RouteBody, request: Request, response: Response) -> Document:
        command = body.command(model, match_of(request))
        return _applied(response, await controller.set_route(command, who_asks(request, body)))

    @router.patch("/routes/{model}", response_model=AppliedAnswer, summary="Move aliases or rules, and no weight")
    async def patch_route(model: Model, body: PatchBody, request: Request, response: Response) -> Document:
        command = body.command(model, match_of(request))
        return _applied(response, await controller.set_route(command, who_asks(request, body)))

    return router


def _history(controller: Controller, doorman: Doorman | None) -> APIRouter:
    router = APIRouter(tags=["events"])
    streams = Streams(controller)
    After = Annotated[int | None, Query(ge=0, le=MAX_NUMBER, description="events above this id; without it the newest")]
    Only = Annotated[str | None, Query(max_length=128, description="only events of this model")]

    @router.get("/events", response_model=EventsAnswer, summary="The history, a page at a time, oldest first")
    async def events(
        after: After = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100, model: Only = None
    ) -> Document:
        page = await controller.events(after, limit, model)
        return {"events": [event_document(event) for event in page], "next_after": page[-1].id if page else after or 0}

    @router.get(
        "/events/stream", response_class=StreamingResponse, summary="The history as it happens (text/event-stream)"
    )
    async def stream(
        request: Request, after: After = None, model: Only = None, last_event_id: Tag = None
    ) -> StreamingResponse:
        streams.require_room()
        last = number_of(last_event_id or "")
        resumed = after if last is None else last
        start = controller.last_event if resumed is None else resumed
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        principal = getattr(request.state, "principal", None)
        told = streams.events(start, model, lambda: doorman is None or doorman.still(principal))
        return StreamingResponse(told, media_type="text/event-stream", headers=headers)

    return router


def _status(controller: Controller, options: ApiOptions) -> APIRouter:
    router = APIRouter(tags=["status"])

    @router.get("/status", summary="The controller, its workers, and what is in quarantine")
    async def status() -> Document:
        return {**controller_document(controller), "models_directory": options.models_directory}

    @router.get("/keys", summary="The API keys in force, without what opens a door; `asked`: whether one is needed")
    async def keys() -> Document:
        doorman = options.doorman
        found = sorted(doorman.keys.values(), key=lambda key: (key.name, key.id)) if doorman is not None else []
        return {"asked": doorman is not None, "keys": [key_rows(key) for key in found]}

    return router


def controller_document(controller: Controller) -> Document:
    """The state of the whole, as the status page shows it."""
    now, state = controller.now(), controller.state
    live = {worker.instance for worker in controller.sight().live}
    return {
        "controller": controller.settings.instance,
        "revision": state.table.revision,
        "uptime_seconds": round(now - controller.started_at, 3),
        "scanned": controller.inventory.scanned,
        "models": len({*controller.inventory.models, *state.table.wanted}),
        "workers": [
            {**worker_document(worker, now), "live": worker.instance in live} for worker in controller.fleet.all()
        ],
        "quarantined": [
            {"model": q.model, "version": q.version, "digest": q.digest, "reason": q.reason, "at": q.at}
            for q in state.quarantined.values()
        ],
        "audit": {"events": controller.last_event, "head": controller.head},
        "unloaded": [{"model": name, "version": version} for name, version in sorted(state.unloaded)],
    }


def _probes(controller: Controller, options: ApiOptions) -> APIRouter:
    router = APIRouter(tags=["probes"])

    @router.get("/healthz", summary="The process answers")
    async def healthz() -> Document:
        return {"live": True}

    @router.get("/readyz", summary="The model directory was read through and no stop was asked")
    async def readyz(response: Response) -> Document:
        ready = controller.table.scanned and not controller.closing
        response.status_code = 200 if ready else 503
        return {"ready": ready}

    @router.get("/metrics", response_class=Response, summary="Prometheus metrics, summed over all workers")
    def metrics() -> Response:  # in a thread: reading all segments takes longer than the loop may be held
        if options.metrics is None:
            raise NotFound("metrics are not offered here")
        body, content_type = options.metrics()
        return Response(body, media_type=content_type)

    return router


def _loaded(controller: Controller, model: str, version: int | None, done: Applied) -> Document:
    sight = controller.sight()
    document = (
        model_document(sight, model)["versions"] if version is None else [version_document(sight, model, version)]
    )
    kept = ("version", "state", "reason")
    versions = [{name: one[name] for name in kept} for one in document]
    return {
        "model": model,
        "versions": versions,
        "revision": done.revision,
        "applied": done.applied,
        "workers": done.workers,
    }


def _applied(response: Response, done: Applied) -> Document:
    response.headers["ETag"] = f'"{done.route.revision if done.route else done.revision}"'
    route = route_document(done.route) if done.route else None
    return {"revision": done.revision, "applied": done.applied, "workers": done.workers, "route": route}


def _request_id(request: Request) -> str:
    return str(getattr(request.state, "request_id", ""))


async def _on_error(request: Request, error: Exception) -> Response:
    known = error if isinstance(error, SerinError) else Internal("an internal error; the log has it")
    return error_response(known, _request_id(request))


async def _on_invalid(request: Request, error: Exception) -> Response:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    first = found[0] if found else {"loc": (), "msg": "not understood"}
    path = ".".join(str(part)[:64] for part in first["loc"] if part != "body")[:256]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return error_response(InvalidArgument(f"{path or 'body'}: {first['msg']}{more}"), _request_id(request))


async def _on_http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    kind = next((str(kind) for kind, known in STATUS.items() if known == status), "INVALID_ARGUMENT")
    text = str(error.detail) if isinstance(error, HTTPException) else "an internal error"
    if status == 404:
        text = "there is no such address; /api/v1/openapi.json lists all"
    response = error_response(error_of(kind, text), _request_id(request))
    response.status_code = status
    return response


async def _on_fault(request: Request, error: Exception) -> Response:
    return error_response(Internal("an internal error; the log has it"), _request_id(request))
