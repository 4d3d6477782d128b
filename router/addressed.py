"""By which name a request was addressed, and from whose page: against DNS rebinding and forged forms in a browser."""

from collections.abc import Mapping
from typing import Final

from router.errors import PermissionDenied

LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})

Headers = Mapping[bytes, bytes]


def require_host(headers: Headers, hosts: frozenset[str]) -> None:
    """Raises PermissionDenied when `Host` is another name. A request without one was made by no browser."""
    if b"host" in headers and name_of(headers[b"host"]) not in hosts:
        raise PermissionDenied("this Host name is not served here; use one that the settings name")


def require_own_page(headers: Headers, hosts: frozenset[str] | None) -> None:
    """Raises PermissionDenied when `Host` is none of these (None: any), or `Origin` is not the host itself."""
    host = headers.get(b"host", b"")
    if hosts is not None and name_of(host) not in hosts:
        raise PermissionDenied("this Host name is not served here; use localhost or 127.0.0.1")
    origin = headers.get(b"origin")
    if origin is not None and origin.partition(b"://")[2].lower() != host.lower():
        raise PermissionDenied("requests from other origins are refused")


def name_of(host: bytes) -> str:
    """The name in a `Host` field, in lower case and without its port."""
    text = host.decode("latin-1").lower()
    if text.startswith("["):
        return text.partition("]")[0] + "]"
    return text.rsplit(":", 1)[0] if text.count(":") == 1 else text


def names(text: str) -> frozenset[str]:
    """A list of names, with commas between them, as settings have it."""
    return frozenset(name.strip().lower() for name in text.split(",") if name.strip())
