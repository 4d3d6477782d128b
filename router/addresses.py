"""Which network addresses a hook may be sent to, and a name pinned to one of them before anything connects."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

from router.errors import PermissionDenied, Unavailable

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]

# RFC 6052 and RFC 8215: a public-looking address that a gateway turns into the IPv4 one it holds.
_NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, in the system's order. Raises Unavailable when it has none."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"{host} cannot be resolved") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def pinned(host: str, port: int, allow_private: bool, resolver: Resolve = resolve) -> str:
    """One address of the host to connect to: resolved once, so that a later answer of its DNS cannot lead elsewhere.

    Raises PermissionDenied when every address is private and that is not allowed, Unavailable when there is none.
    """
    found = await resolver(host, port)
    if not found:
        raise Unavailable(f"{host} cannot be resolved")
    allowed = [text for text in found if allow_private or is_public(text)]
    if not allowed:
        raise PermissionDenied(f"{host} has no public address; `allow_private = true` allows others")
    return allowed[0]


def is_public(text: str) -> bool:
    """Whether an address belongs to the public internet, also by the IPv4 address that it may carry inside."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(one.is_global and not one.is_multicast for one in (address, *_inside(address)))


def _inside(address: Address) -> list[Address]:
    if isinstance(address, IPv4Address):
        return []
    found: list[Address] = [one for one in (address.ipv4_mapped, address.sixtofour) if one is not None]
    found += list(address.teredo or ())
    if any(address in network for network in _NAT64):
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return found
