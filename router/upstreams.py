"""The V2 servers of `[upstreams.NAME]`: one bounded pool of connections each, and what is asked of them.

No address comes from a request or a route: those name an upstream, and the settings alone say where it is. Redirects
are not followed, and nothing of the environment is used.
"""

import asyncio
import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import msgspec

from router.decoding import decoder
from router.errors import DeadlineExceeded, FailedPrecondition, ResourceExhausted, SerinError, ShedReason, Unavailable
from router.sources import shown
from router.targets import Target

PROBE_SECONDS: Final = 3.0
CONNECT_SECONDS: Final = 2.0
MAX_METADATA_BYTES: Final = 1 << 20
MAX_TENSORS: Final = 1024
KEEP_ALIVE_SECONDS: Final = 4.0
"""Shorter than the 5 s after which common servers close: a request must not meet a connection that is closing."""

SPARE_CONNECTIONS: Final = 4
"""For probes and copies, beside the requests that are counted."""

BINARY: Final = ("binary_tensor_data", "binary_tensor_data_extension")

Signature = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Upstream:
    """One of the settings. `timeout_seconds`: of one request, also where its caller would wait longer. `signatures`: of
    models whose metadata there may name no tensors."""

    name: str
    url: str
    token: str = field(default="", repr=False)
    timeout_seconds: float = 30.0
    max_connections: int = 32
    ca_file: str = ""
    signatures: Mapping[str, Signature] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `headers` are those of httpx: any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Upstreams:
    """For one event loop; `close` it there."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams
        self._clients = {name: _client(upstream) for name, upstream in upstreams.items()}

    async def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            await client.aclose()

    def named(self, target: Target) -> Upstream:
        """Where a target is. Raises FailedPrecondition when the settings do not say."""
        found = self._upstreams.get(target.upstream)
        if found is None:
            known = ", ".join(sorted(self._upstreams)) or "none"
            raise FailedPrecondition(f"{target}: there is no [upstreams.{target.upstream}]; there are: {known}")
        return found

    async def signature(self, target: Target) -> Signature:
        """What the upstream says of the model's tensors, as the inventory does, or the settings where it says nothing.
        Raises SerinError."""
        answer = await self.get(target, target.path)
        if answer.status != 200:
            raise Unavailable(f"{target} answers {answer.status} when asked for its metadata{_reason(answer.body)}")
        return _signature(target, answer.body, self.named(target).signatures.get(target.model))

    async def takes_binary(self, target: Target) -> bool:
        """Whether the upstream knows the binary tensor data extension. One that cannot say is spoken to in JSON."""
        answer = await self.get(target, "/v2")
        try:
            said = msgspec.json.decode(answer.body) if answer.status == 200 else {}
        except (msgspec.MsgspecError, UnicodeDecodeError):
            said = {}
        extensions = said.get("extensions") if isinstance(said, dict) else None
        return isinstance(extensions, list) and any(name in extensions for name in BINARY)

    async def trouble(self, target: Target) -> str:
        """Why the target cannot answer now; empty when it can."""
        try:
            answer = await self.get(target, f"{target.path}/ready")
        except SerinError as error:
            return error.message
        return "" if answer.status == 200 else f"{target} is not ready there ({answer.status})"

    async def get(self, target: Target, path: str) -> Answer:
        """A small question, within PROBE_SECONDS. Raises SerinError when it is not answered."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await self.ask(target, httpx.Request("GET", self.named(target).url + path), MAX_METADATA_BYTES)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{target} did not answer within {PROBE_SECONDS:g} s") from error

    async def post(self, target: Target, body: bytes, headers: Mapping[str, str], max_bytes: int) -> Answer:
        """Inference. For a task of its own, which whoever waits cancels when time is over. Raises SerinError when there
        is no answer."""
        url = f"{self.named(target).url}{target.path}/infer"
        return await self.ask(target, httpx.Request("POST", url, headers=headers, content=body), max_bytes)

    async def ask(self, target: Target, request: httpx.Request, max_bytes: int) -> Answer:
        """Send a request to the upstream, and read an answer of at most so many bytes. Raises SerinError."""
        client, upstream = self._clients[target.upstream], self.named(target)
        request.headers["user-agent"] = "serin"
        request.headers["accept-encoding"] = "identity"
        if upstream.token:
            request.headers["authorization"] = f"Bearer {upstream.token}"
        # A request that was made by hand knows no limits of its client's.
        request.extensions = {"timeout": _timeout(upstream).as_dict()}
        try:
            response = await client.send(request, stream=True)
            try:
                body = await _body(response, max_bytes)
            finally:
                await response.aclose()
        except httpx.PoolTimeout as error:
            text = f"{target}: all connections to the upstream are in use"
            raise ResourceExhausted(text, reason=ShedReason.UPSTREAM) from error
        except httpx.ConnectTimeout as error:
            text = f"{target}: no connection to the upstream within {CONNECT_SECONDS:g} s"
            raise Unavailable(text, reason=ShedReason.UPSTREAM) from error
        except httpx.TimeoutException as error:
            raise DeadlineExceeded(f"{target} did not answer within {upstream.timeout_seconds:g} s") from error
        except (httpx.HTTPError, OSError) as error:
            text = f"{target} cannot be reached ({type(error).__name__})"
            raise Unavailable(text, retry_after_seconds=1, reason=ShedReason.UPSTREAM) from error
        if body is None:
            raise Unavailable(f"{target} answered with more than {max_bytes} bytes")
        return Answer(response.status_code, response.headers, body)


def digest_of(target: Target, signature: Signature) -> str:
    """The digest of a target that takes and gives these tensors: with another signature it is other content."""
    return target.digest(hashlib.sha256(msgspec.json.encode(signature)).hexdigest()[:16])


def _client(upstream: Upstream) -> httpx.AsyncClient:
    most = upstream.max_connections + SPARE_CONNECTIONS
    return httpx.AsyncClient(
        trust_env=False,
        follow_redirects=False,
        verify=_trust(upstream),
        limits=httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=KEEP_ALIVE_SECONDS),
    )


def _trust(upstream: Upstream) -> ssl.SSLContext:
    if not upstream.url.startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used; to read all certificates takes 20 ms
    return ssl.create_default_context(cafile=upstream.ca_file) if upstream.ca_file else httpx.create_ssl_context()


def _timeout(upstream: Upstream) -> httpx.Timeout:
    return httpx.Timeout(upstream.timeout_seconds, connect=min(CONNECT_SECONDS, upstream.timeout_seconds))


async def _body(response: httpx.Response, max_bytes: int) -> bytes | None:
    """None when there is more."""
    parts, size = [], 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > max_bytes:
            return None
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _reason(body: bytes) -> str:
    return f": {error_text(body)}" if error_text(body) else ""


def error_text(body: bytes) -> str:
    """What an error body says: V2's `error`, FastAPI's `detail`, or nothing that can be shown."""
    try:
        said = msgspec.json.decode(body[:65536])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    text = next((said[name] for name in ("error", "detail") if name in said), "") if isinstance(said, dict) else ""
    return shown(text) if isinstance(text, str) else ""


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]


class _Metadata(msgspec.Struct):
    inputs: list[_Tensor] | None = None
    outputs: list[_Tensor] | None = None


def _signature(target: Target, body: bytes, declared: Signature | None) -> Signature:
    try:
        said = decoder(_Metadata).decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FailedPrecondition(f"{target} gives metadata that is not V2's: {shown(str(error))}") from error
    if declared is not None and not said.inputs and not said.outputs:
        return declared
    if not said.inputs or not said.outputs:
        place = f"[upstreams.{target.upstream}.models.{target.model}]"
        raise FailedPrecondition(f"{target} does not say what its inputs and outputs are; say it in {place}")
    if max(len(said.inputs), len(said.outputs)) > MAX_TENSORS:
        raise FailedPrecondition(f"{target} has more than {MAX_TENSORS} inputs or outputs")
    return {
        part: [{"name": one.name, "datatype": one.datatype, "shape": one.shape} for one in tensors]
        for part, tensors in (("inputs", said.inputs), ("outputs", said.outputs))
    }
