"""The gRPC port of one worker: a server on a port that all workers share, and its end."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from router.access import Need
from router.doorman import Doorman
from router.errors import Unavailable, Unimplemented
from service.certificates import Renewal
from service.front import Front
from service.grpc.answers import Context, Unary, answering
from service.grpc.connections import Connections
from service.grpc.entrance import Entrance, require
from service.grpc.handlers import CallBounds, Handlers
from service.grpc.health import HEALTH, REFLECTION, Health, Reflection
from service.grpc.inference import Inference
from service.grpc.models import Models
from service.grpc.secure import HANDSHAKE_MS, server_credentials
from service.grpc.triton import Triton
from service.http.v2 import Bounds
from service.pb.descriptors import SERIALIZED
from service.pb.messages import MESSAGES, SERVICE

SPARE_CALLS = 256
"""Calls beside those that inference may have in flight, and beside streams: health and metadata."""

LAST_CALLS_SECONDS = 0.2
"""In a drain: how long messages that are on their way in streams may take to get here."""

PING_MS = 60_000
PONG_MS = 20_000
LEAST_PING_MS = 10_000


SHARED_MEMORY = [
    f"{kind}SharedMemory{word}" for kind in ("System", "Cuda") for word in ("Status", "Register", "Unregister")
]
"""Calls that are known here, so that a client hears why they fail; their messages are not even read."""


def port_of(front: Front, tls: Renewal | None) -> "GrpcPort":
    """The gRPC port of a worker; `tls`: what it shows. Call it on its event loop."""
    inference = Inference(front.dataplane, front.v2, front.bounds, front.rejected)
    calls = {**Models(front.dataplane, front.about).calls(), **Triton(front).calls()}
    doorman = front.doorman if front.doorman is not None and front.doorman.asks(Need.OPERATOR) else None
    if doorman is None:
        return GrpcPort(inference, calls, front.bounds, tls)
    inference.doorman = doorman
    asked = {name: _asked(doorman, name, method) for name, method in calls.items()}
    return GrpcPort(inference, asked, front.bounds, tls, Entrance(doorman, front.rejected))


class GrpcPort:
    """Serves inference, health and reflection. `listen` once; `close` ends what is left within its limit."""

    def __init__(
        self,
        inference: Inference,
        calls: Mapping[str, Unary],
        bounds: Bounds,
        tls: Renewal | None = None,
        *interceptors: Any,
    ) -> None:
        self._tls = tls
        self._inference = inference
        self._closing = asyncio.Event()
        self._idle_seconds = bounds.stream_idle_seconds
        self._connections = Connections(encrypted=tls is not None)
        held = CallBounds(bounds.body_read_seconds, streams=bounds.max_in_flight)
        self._handlers = Handlers(self._connections, held, inference.rejected)
        self._port = 0
        self._server = grpc.aio.server(
            interceptors=interceptors,
            options=_arguments(bounds),
            maximum_concurrent_rpcs=2 * bounds.max_in_flight + SPARE_CALLS,
        )
        self._server.add_generic_rpc_handlers((self._service(calls), self._health(), self._reflection()))

    async def listen(self, address: str) -> None:
        """Accept from `host:port`, beside the other workers. Raises Unavailable."""
        try:
            if self._tls is None:
                self._port = self._server.add_insecure_port(address)
            else:
                self._port = self._server.add_secure_port(address, server_credentials(self._tls))
        except RuntimeError as error:
            raise Unavailable(f"gRPC cannot listen on {address}") from error
        await self._server.start()

    async def close(self, limit_seconds: float) -> None:
        """Take no more calls, finish what is in flight, at most `limit_seconds` long, and close each connection."""
        self._handlers.leaving = True
        ending = asyncio.get_running_loop().call_later(LAST_CALLS_SECONDS, self._closing.set)
        try:
            await self._connections.drain(self._port, limit_seconds)
        finally:
            ending.cancel()
            self._closing.set()
        await self._server.stop(None)

    def _service(self, calls: Mapping[str, Unary]) -> Any:
        unary = self._handlers.unary
        handlers = {
            name: unary(answering(method), MESSAGES[f"{name}Request"].FromString) for name, method in calls.items()
        }
        handlers |= {name: unary(answering(_no_shared_memory)) for name in SHARED_MEMORY}
        handlers["ModelInfer"] = unary(self._inference.infer)
        handlers["ModelStreamInfer"] = self._handlers.stream(self._stream)
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _health(self) -> Any:
        health, read = Health(self._inference.not_ready_reason, self._closing), health_pb2.HealthCheckRequest.FromString
        check, watch = self._handlers.unary(answering(health.check), read), self._handlers.watch(health.watch, read)
        return grpc.method_handlers_generic_handler(HEALTH, {"Check": check, "Watch": watch})

    def _reflection(self) -> Any:
        told, read = (
            Reflection(_described(), self._closing, self._idle_seconds),
            reflection_pb2.ServerReflectionRequest.FromString,
        )
        handlers = {"ServerReflectionInfo": self._handlers.stream(told.ServerReflectionInfo, read)}
        return grpc.method_handlers_generic_handler(REFLECTION, handlers)

    async def _stream(self, bodies: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
        async for answer in self._inference.stream(bodies, context, self._closing):
            yield answer


def _asked(doorman: Doorman, name: str, method: Unary) -> Unary:
    """`method` for those whom the doorman lets to the model that their message names."""
    full = f"/{SERVICE}/{name}"

    async def asked(request: Any, context: Context) -> Any:
        require(doorman, full, request, context)
        return await method(request, context)

    return asked


async def _no_shared_memory(request: bytes, context: Context) -> Any:
    raise Unimplemented("the shared memory extension is not offered; send data in the request")


def _described() -> DescriptorPool:
    """What reflection shows; beside the messages' own pool, which clients of this process never see."""
    pool = DescriptorPool()
    for serialized in (
        SERIALIZED,
        health_pb2.DESCRIPTOR.serialized_pb,
        reflection_pb2.DESCRIPTOR.serialized_pb,
    ):
        pool.AddSerializedFile(serialized)
    return pool


def _arguments(bounds: Bounds) -> list[tuple[str, int]]:
    """gRPC's names for them; messages are refused by the length they announce, before memory is taken."""
    return [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", bounds.limits.max_body_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", bounds.max_header_bytes),
        ("grpc.max_concurrent_streams", bounds.max_in_flight),
        ("grpc.max_connection_idle_ms", max(1000, round(bounds.keep_alive_seconds * 1000))),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.keepalive_time_ms", PING_MS),
        ("grpc.keepalive_timeout_ms", PONG_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", LEAST_PING_MS),
    ]
