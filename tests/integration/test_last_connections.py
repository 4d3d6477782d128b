"""The end of a port: who was let in is served, and nobody else gets as far as being reset."""

import socket

import pytest

from service.sockets import count_waiting, let_nobody_in, waiting


def test_what_waits_is_still_accepted_and_a_later_connection_is_not_let_in() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        with socket.create_connection(address, 5) as early:
            let_nobody_in(listening)
            with pytest.raises(TimeoutError):  # neither connected nor refused: its first packet was lost
                socket.create_connection(address, 0.2)
            assert count_waiting(listening) == 1
            [accepted] = waiting(listening)
            assert count_waiting(listening) == 0
            listening.shutdown(socket.SHUT_RDWR)
            with accepted:
                accepted.sendall(b"served")
                early.settimeout(5)
                assert early.recv(6) == b"served"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, 5)
