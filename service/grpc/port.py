"""The gRPC port of one worker: a server on a port that all workers share, and its end."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from router.access import Need
from router.doorman import Doorman
from router.errors import Unavailable, Unimplemented
from service.certificates import Renewal
from service.front import Front
from service.grpc.answers import Context, Unary, answering
from service.grpc.entrance import Entrance, require
from service.grpc.health import HEALTH, Health, Reflection
from service.grpc.inference import Inference
from service.grpc.models import Models
from service.grpc.secure import HANDSHAKE_MS, server_credentials
from service.grpc.triton import Triton
from service.http.v2 import Bounds
from service.pb.descriptors import SERIALIZED
from service.pb.messages import MESSAGES, SERVICE

SPARE_CALLS = 256
"""Calls beside those that inference may have in flight: health, metadata, streams that wait."""

LAST_CALLS_SECONDS = 0.2
"""In a drain: how long the last calls that a client sent before it heard of the end may take to get here."""

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
        self._health = Health(inference.not_ready_reason, self._closing)
        self._server = grpc.aio.server(
            interceptors=interceptors,
            options=_arguments(bounds),
            maximum_concurrent_rpcs=bounds.max_in_flight + SPARE_CALLS,
        )
        self._server.add_generic_rpc_handlers((self._service(calls), self._health_service()))
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            Reflection(_described(), self._closing), self._server
        )

    async def listen(self, address: str) -> None:
        """Accept from `host:port`, beside the other workers. Raises Unavailable."""
        try:
            if self._tls is None:
                self._server.add_insecure_port(address)
            else:
                self._server.add_secure_port(address, server_credentials(self._tls))
        except RuntimeError as error:
            raise Unavailable(f"gRPC cannot listen on {address}") from error
        await self._server.start()

    async def close(self, limit_seconds: float) -> None:
        """Say goodbye on every connection (GOAWAY), finish what is in flight, at most `limit_seconds` long."""
        stopping = asyncio.create_task(self._server.stop(limit_seconds))
        await asyncio.wait({stopping}, timeout=LAST_CALLS_SECONDS)
        self._closing.set()
        await stopping

    def _service(self, calls: Mapping[str, Unary]) -> Any:
        handlers: dict[str, Any] = {name: _unary(method, MESSAGES[f"{name}Request"]) for name, method in calls.items()}
        handlers |= {name: _unary(_no_shared_memory, None) for name in SHARED_MEMORY}
        handlers["ModelInfer"] = grpc.unary_unary_rpc_method_handler(self._inference.infer, None, _written)
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self._stream, None, _written)
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _health_service(self) -> Any:
        asked = health_pb2.HealthCheckRequest
        watch = grpc.unary_stream_rpc_method_handler(self._health.watch, asked.FromString, _written)
        return grpc.method_handlers_generic_handler(
            HEALTH, {"Check": _unary(self._health.check, asked), "Watch": watch}
        )

    async def _stream(self, bodies: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
        async for answer in self._inference.stream(bodies, context, self._closing):
            yield answer


def _unary(method: Unary, asked: Any) -> Any:
    read = None if asked is None else asked.FromString
    return grpc.unary_unary_rpc_method_handler(answering(method), read, _written)


def _asked(doorman: Doorman, name: str, method: Unary) -> Unary:
    """`method` for those whom the doorman lets to the model that their message names."""
    full = f"/{SERVICE}/{name}"

    async def asked(request: Any, context: Context) -> Any:
        require(doorman, full, request, context)
        return await method(request, context)

    return asked


async def _no_shared_memory(request: bytes, context: Context) -> Any:
    raise Unimplemented("the shared memory extension is not offered; send data in the request")


def _written(message: Any) -> bytes:
    found: bytes = message.SerializeToString()
    return found


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
