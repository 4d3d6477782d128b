"""How gRPC names the other end of a connection."""

import pytest

from service.grpc.connections import peer_of


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("ipv4:127.0.0.1:44376", ("127.0.0.1", 44376)),
        ("ipv6:%5B::1%5D:44376", ("::1", 44376)),
        ("ipv6:[2001:db8::1]:1", ("2001:db8::1", 1)),
        ("ipv6:%5Bfe80::1%25eth0%5D:7", ("fe80::1", 7)),
        ("ipv6:%5B::ffff:10.0.0.1%5D:7", ("10.0.0.1", 7)),
    ],
)
def test_a_peer_is_the_address_and_port_that_its_socket_has(name: str, peer: tuple[str, int]) -> None:
    assert peer_of(name) == peer
