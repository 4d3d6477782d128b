"""Who may call what over gRPC: the same doorman as over HTTP, asked before a message is read."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from router.access import Need
from router.doorman import Doorman, Principal
from router.errors import SerinError
from router.status import rejection
from service.grpc.answers import Context, fail, headers_of, joined, note
from service.http.v2 import request_id_of
from service.needs import GRPC_PORT

ALL_MODELS = {"ModelStatistics"}
"""Methods that tell of all models where their request names none."""

Handled = Callable[[Any], Awaitable[Any]]


class Entrance(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Lets calls pass whose metadata holds a key that may make them. `rejected` counts the others by reason.

    A method that is in no list needs a key. Models are named in messages, so `require` is asked once more for those.
    """

    def __init__(self, doorman: Doorman, rejected: Callable[[str], None]) -> None:
        self._doorman = doorman
        self._rejected = rejected

    async def intercept_service(self, continuation: Handled, details: Any) -> Any:
        """The handler of a call, or one that refuses it."""
        headers = joined(details.invocation_metadata or ())
        try:
            self._doorman.permit(headers, GRPC_PORT.get(details.method, Need.ANY))
        except SerinError as error:
            self._rejected(rejection(error))
            return _refusal(error, request_id_of(headers.get(b"x-request-id")))
        return await continuation(details)


def require(doorman: Doorman, method: str, request: Any, context: Context) -> Principal | None:
    """Who makes a call whose message is here. Raises PermissionDenied for another model, ResourceExhausted."""
    need = GRPC_PORT[method]
    model = getattr(request, "name", "") or getattr(request, "model_name", "") or None
    if model is None and method.rpartition("/")[2] in ALL_MODELS:
        need = Need.LIST
    return doorman.admit(headers_of(context), need, model)


def _refusal(error: SerinError, request_id: str) -> Any:
    """A stream, which fits any kind of call and reads nothing of it."""

    async def refuse(requests: AsyncIterator[Any], context: Context) -> None:
        note(error, request_id)
        await fail(context, error, [("x-request-id", request_id)])

    return grpc.stream_stream_rpc_method_handler(refuse)
