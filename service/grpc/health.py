"""The standard health service of gRPC (grpc.health.v1) and server reflection."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.reflection import aio

from router.errors import NotFound
from router.names import shown
from service.grpc.answers import Context
from service.grpc.streams import until
from service.pb.messages import SERVICE

LOOK_SECONDS = 0.5
"""How often a watched status is looked at."""

HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
_KNOWN = ("", SERVICE, HEALTH, REFLECTION)
_STATUS = health_pb2.HealthCheckResponse


class Health:
    """SERVING while `not_ready_reason` gives none, for the server and each of its services alike."""

    def __init__(self, not_ready_reason: Callable[[], str | None], closing: asyncio.Event) -> None:
        self._not_ready_reason = not_ready_reason
        self._closing = closing

    async def check(self, request: Any, context: Context) -> Any:
        """The status now. Raises NotFound for a service that is not here."""
        if request.service not in _KNOWN:
            raise NotFound(f"there is no service {shown(request.service)}; there are: {', '.join(_KNOWN[1:])}")
        return self._status(request.service)

    async def watch(self, request: Any, context: Context) -> AsyncIterator[Any]:
        """The status now and whenever it changes, until the server ends."""
        told = None
        while True:
            status = self._status(request.service)
            if status != told:
                told = status
                yield status
            if self._closing.is_set():
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), LOOK_SECONDS)

    def _status(self, service: str) -> Any:
        if service not in _KNOWN:
            return _STATUS(status=_STATUS.SERVICE_UNKNOWN)
        ready = not self._closing.is_set() and self._not_ready_reason() is None
        return _STATUS(status=_STATUS.SERVING if ready else _STATUS.NOT_SERVING)


class Reflection(aio.ReflectionServicer):  # type: ignore[misc]
    """What is served here, for grpcurl and its like; a stream of it ends with the server."""

    def __init__(self, pool: Any, closing: asyncio.Event, idle_seconds: float) -> None:
        super().__init__(_KNOWN[1:], pool)
        self._closing = closing
        self._idle_seconds = idle_seconds

    async def ServerReflectionInfo(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        """grpcio's own, over a stream that ends."""
        async for answer in super().ServerReflectionInfo(until(requests, self._closing, self._idle_seconds), context):
            yield answer
