"""The endpoints for Serin's own processes: workers follow, the inventory reports, the supervisor lists. Token only."""

import hmac
from typing import TypeVar

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from router.controller import Controller
from router.decoding import decoder
from router.errors import Cancelled, InvalidArgument, Unauthenticated
from router.exchange import TOKEN_HEADER
from router.guard import error_response
from router.reports import FollowReport, InventoryAnswer, InventoryReport, InventoryStill, SuperviseReport
from router.routes import RouteTable, encode_table
from router.views import index_document

T = TypeVar("T")


def internal_router(controller: Controller, token: str) -> APIRouter:
    """Routes under /internal/v1; each call must carry the token that the supervisor made at this start."""

    def check(request: Request) -> None:
        if not is_ours(request.headers, token):
            raise Unauthenticated("these endpoints are for Serin's own processes")

    router = APIRouter(prefix="/internal/v1", include_in_schema=False, dependencies=[Depends(check)])

    encoded = _EncodedTable()

    @router.post("/follow")
    async def follow(request: Request) -> Response:
        answer = await controller.follow(await _read(request, FollowReport))
        table = None if answer.table is None else encoded(answer.table)
        return _json({"controller": answer.controller, "table": table, "resend": answer.resend})

    @router.post("/inventory")
    async def inventory(request: Request) -> Response:
        await controller.report_inventory(await _read(request, InventoryReport))
        return _json(InventoryAnswer(controller.settings.instance))

    @router.post("/inventory/still")
    async def still(request: Request) -> Response:
        known = await controller.inventory_still(await _read(request, InventoryStill))
        return _json(InventoryAnswer(controller.settings.instance, resend=not known))

    @router.get("/index")
    async def index() -> Response:
        return _json(index_document(controller.sight()))

    @router.get("/inventory/commands")
    async def commands(after: int = 0, wait: float = 0.0) -> Response:
        return _json(await controller.inventory_command(after, wait))

    @router.post("/supervise")
    async def supervise(request: Request) -> Response:
        return _json(await controller.supervise(await _read(request, SuperviseReport)))

    return router


class TokenOnly:
    """ASGI wrapper of the admin port for a listener that is for Serin's own processes: nothing without the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers or passes on one request."""
        if scope["type"] == "http" and not is_ours(Headers(scope=scope), self._token):
            refusal = Unauthenticated("this port is for Serin's own processes")
            await error_response(refusal, "")(scope, receive, send)
            return
        await self._app(scope, receive, send)


def is_ours(headers: Headers, token: str) -> bool:
    """Whether a request carries the token that the supervisor made at this start."""
    return bool(token) and hmac.compare_digest(headers.get(TOKEN_HEADER, "").encode(), token.encode())


class _EncodedTable:
    """The JSON of the last table: every worker asks for the same one, and a thousand models are long."""

    def __init__(self) -> None:
        self._table = RouteTable()
        self._raw = msgspec.Raw(encode_table(self._table))

    def __call__(self, table: RouteTable) -> msgspec.Raw:
        """The table as it goes into an answer."""
        if table is not self._table:
            self._table, self._raw = table, msgspec.Raw(encode_table(table))
        return self._raw


async def _read(request: Request, kind: type[T]) -> T:
    try:
        return decoder(kind).decode(await request.body())
    except ClientDisconnect as error:
        raise Cancelled("the caller went away") from error
    except msgspec.MsgspecError as error:
        raise InvalidArgument(f"not a {kind.__name__}: {error}") from error


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
