"""Which addresses a hook may reach, whatever a name says and however an address is written."""

import pytest

from router.addresses import is_public, pinned
from router.errors import PermissionDenied, Unavailable


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff0e::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::a00:1",
        "64:ff9b:1::7f00:1",
        "localhost",
        "",
    ],
)
def test_addresses_that_lead_inside_or_nowhere(address: str) -> None:
    assert not is_public(address)


def resolver(*found: str) -> object:
    async def resolve(host: str, port: int) -> list[str]:
        return list(found)

    return resolve


async def test_a_name_with_a_public_address_is_pinned_to_it() -> None:
    found = await pinned("ops.example", 443, False, resolver("10.0.0.1", "93.184.216.34"))  # type: ignore[arg-type]
    assert found == "93.184.216.34"


async def test_a_name_with_private_addresses_needs_permission() -> None:
    with pytest.raises(PermissionDenied, match="allow_private"):
        await pinned("ops.example", 443, False, resolver("10.0.0.1", "::1"))  # type: ignore[arg-type]
    assert await pinned("ops.example", 443, True, resolver("10.0.0.1")) == "10.0.0.1"  # type: ignore[arg-type]


async def test_a_name_without_addresses_is_said() -> None:
    with pytest.raises(Unavailable, match="cannot be resolved"):
        await pinned("ops.example", 443, True, resolver())  # type: ignore[arg-type]
