"""MLflow's scoring protocol, which SageMaker's containers speak too: `/invocations`, `/ping`, `/health`, `/version`."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from router.errors import Kind, NotFound, SerinError
from router.status import STATUS
from service.about import About
from service.dataplane import Dataplane
from service.http.foreign import Document, Way, answer, reader
from service.http.v2 import V2, request_id_of
from service.protocol.table_codec import Places, read_csv, read_invocation

ERROR_CODES: Mapping[str, str] = {
    Kind.INVALID_ARGUMENT: "BAD_REQUEST",
    Kind.NOT_FOUND: "RESOURCE_DOES_NOT_EXIST",
    Kind.INTERNAL: "INTERNAL_ERROR",
    Kind.UNAVAILABLE: "TEMPORARILY_UNAVAILABLE",
    Kind.RESOURCE_EXHAUSTED: "REQUEST_LIMIT_EXCEEDED",
    Kind.UNIMPLEMENTED: "NOT_IMPLEMENTED",
}
"""MLflow's words; other kinds keep their own."""

INVOCATION: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/InvocationBody"}},
            "text/csv": {"schema": {"type": "string"}},
        },
    }
}


class Scoring:
    """`model`: who answers; "" for the only model that there is."""

    def __init__(self, dataplane: Dataplane, v2: V2, model: str) -> None:
        self._dataplane = dataplane
        self._v2 = v2
        self._model = model

    async def invoke(self, request: Request) -> Response:
        """Answer one request."""
        try:
            model = self.chosen()
            places = places_of(self._dataplane, model)
        except SerinError as error:
            identity = request_id_of(request.headers.get("x-request-id", "").encode("latin-1") or None)
            document = {"error": error.message, "code": error.kind.value, "request_id": identity}
            return JSONResponse(told(document), STATUS[error.kind])
        is_csv = request.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/csv"
        read = reader(read_csv if is_csv else read_invocation, self._v2, places)
        return await answer(self._v2, request, Way(model, None, read, told))

    def chosen(self) -> str:
        """The model that answers. Raises NotFound when nobody has said which of several it is."""
        models = sorted(self._dataplane.table.routes)
        if self._model or len(models) == 1:
            return self._model or models[0]
        some = f" ({', '.join(models[:5])}{', ...' if len(models) > 5 else ''})" if models else ""
        raise NotFound(f"/invocations is for one model, and there are {len(models)}{some}; set invocations_model")


def add_mlflow(app: FastAPI, dataplane: Dataplane, v2: V2, about: About, model: str) -> None:
    """The routes. `model`: who answers; "" for the only one."""
    scoring = Scoring(dataplane, v2, model)

    @app.post("/invocations", tags=["mlflow"], openapi_extra=INVOCATION)
    async def invocations(request: Request) -> Response:
        """Score a table (`dataframe_split`, `dataframe_records`, CSV) or tensors (`instances`, `inputs`)."""
        return await scoring.invoke(request)

    @app.get("/ping", tags=["mlflow"], response_class=PlainTextResponse)
    @app.get("/health", tags=["mlflow"], response_class=PlainTextResponse)
    async def ping() -> Response:
        """200 when this worker is ready, 503 with the reason when not."""
        reason = dataplane.not_ready_reason()
        return Response(
            "\n" if reason is None else f"{reason}\n", 200 if reason is None else 503, media_type="text/plain"
        )

    @app.get("/version", tags=["mlflow"], response_class=PlainTextResponse)
    async def version() -> Response:
        """The version of Serin."""
        return Response(about.version, media_type="text/plain")


def places_of(dataplane: Dataplane, model: str) -> Places:
    """Where `model.toml` says that the columns of an input stand. Raises NotFound, or Unavailable."""
    found: dict[str, dict[str, int]] = {}
    for name, facts in dataplane.described(model, None).manifest.features.items():
        found.setdefault(facts.input, {})[name] = facts.column
    return found


def told(document: Document) -> Document:
    """An error as MLflow's clients read it; `error` as on every other route, for who reads no other."""
    code = ERROR_CODES.get(document["code"], document["code"])
    return {**document, "error_code": code, "message": document["error"]}
