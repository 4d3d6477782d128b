"""One signed message to one hook of the settings, to the address that was checked, without redirects.

Signature: `Serin-Signature: t=<seconds since 1970>,v1=<hex>`, v1 = HMAC-SHA256(secret, "<t>." + body). A receiver
computes it again over the raw body, compares in constant time, and refuses a `t` that is too old.
"""

import asyncio
import hmac
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

import httpx

from router.addresses import Resolve, pinned, resolve
from router.errors import SerinError
from router.sources import shown

SIGNATURE_HEADER: Final = "Serin-Signature"
EVENT_HEADER: Final = "Serin-Event"
DELIVERY_HEADER: Final = "Serin-Delivery"
MAX_ANSWER_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Hook:
    """A hook of the settings. `events`: patterns of kinds such as `rollout.*`; none: it only answers as a gate."""

    name: str
    url: str
    secret: bytes
    events: tuple[str, ...] = ()
    allow_private: bool = False
    timeout_seconds: float = 5.0
    ca_file: str = ""

    def __repr__(self) -> str:
        return f"Hook({self.name!r})"

    def wants(self, kind: str) -> bool:
        """Whether events of this kind are sent to it."""
        return any(fnmatchcase(kind, pattern) for pattern in self.events)


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent. `delivery`: the same for every attempt, so that a receiver knows one that it has had."""

    kind: str
    delivery: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """How a hook answered. `status` None: it did not, and `reason` says why."""

    status: int | None
    reason: str = ""

    @property
    def is_taken(self) -> bool:
        """2xx."""
        return self.status is not None and 200 <= self.status < 300


def signature(secret: bytes, body: bytes, seconds: int) -> str:
    """The value of `Serin-Signature`."""
    digest = hmac.new(secret, b"%d." % seconds + body, "sha256").hexdigest()
    return f"t={seconds},v1={digest}"


class Sender:
    """Sends to hooks. `clock`: seconds since 1970."""

    def __init__(self, clock: Callable[[], float], resolver: Resolve = resolve) -> None:
        self._clock = clock
        self._resolver = resolver
        self._trust: dict[str, ssl.SSLContext] = {}

    async def send(self, hook: Hook, message: Message) -> Reply:
        """One attempt, within the hook's time. Never raises for what the other side does."""
        try:
            async with asyncio.timeout(hook.timeout_seconds):
                return await self._sent(hook, message)
        except TimeoutError:
            return Reply(None, f"no answer within {hook.timeout_seconds:g} s")
        except SerinError as error:
            return Reply(None, error.message)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return Reply(None, f"cannot be reached ({type(error).__name__})")

    async def _sent(self, hook: Hook, message: Message) -> Reply:
        url = httpx.URL(hook.url)
        port = url.port or (443 if url.scheme == "https" else 80)
        address = await pinned(url.host, port, hook.allow_private, self._resolver)
        headers = {**self._headers(hook, message), "host": url.netloc.decode("ascii")}
        # The certificate is checked for the name, though the connection goes to the address.
        extensions = {"sni_hostname": url.host}
        # A client of its own: a kept connection would be one to an address that was checked some time ago.
        trust = await self._trusted(hook.ca_file)
        async with httpx.AsyncClient(trust_env=False, follow_redirects=False, verify=trust) as client:
            request = client.build_request(
                "POST", url.copy_with(host=address), content=message.body, headers=headers, extensions=extensions
            )
            response = await client.send(request, stream=True)
            try:
                return Reply(response.status_code, await _reason(response))
            finally:
                await response.aclose()

    async def _trusted(self, ca_file: str) -> ssl.SSLContext:
        if ca_file not in self._trust:  # some 20 ms of reading certificates
            self._trust[ca_file] = await asyncio.to_thread(_trust, ca_file)
        return self._trust[ca_file]

    def _headers(self, hook: Hook, message: Message) -> Mapping[str, str]:
        return {
            "content-type": "application/json",
            "user-agent": "serin",
            "accept-encoding": "identity",
            EVENT_HEADER: message.kind,
            DELIVERY_HEADER: message.delivery,
            SIGNATURE_HEADER: signature(hook.secret, message.body, int(self._clock())),
        }


def _trust(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context()


async def _reason(response: httpx.Response) -> str:
    """The first line of a plain text answer."""
    if not response.headers.get("content-type", "").startswith("text/plain"):
        return ""
    content = b""
    async for part in response.aiter_raw():
        content += part
        if len(content) >= MAX_ANSWER_BYTES:
            break
    lines = content[:MAX_ANSWER_BYTES].decode("utf-8", "replace").splitlines()
    return shown(lines[0]) if lines else ""
