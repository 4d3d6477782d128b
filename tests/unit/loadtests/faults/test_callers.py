"""Which connections of the callers are used again."""

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from loadtests.client import Connection
from loadtests.faults.callers import is_open


@pytest.fixture
def ends() -> Any:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def connection(bound: socket.socket, closing: bool = False) -> Connection:
    made = Connection()
    transport: Any = SimpleNamespace(is_closing=lambda: closing, get_extra_info={"socket": bound}.get)
    made.connection_made(transport)
    return made


def test_a_connection_is_used_again_until_it_ends(ends: Any) -> None:
    ours, theirs = ends
    kept = connection(ours)

    assert is_open(kept)
    theirs.close()
    assert not is_open(kept)  # though the event loop has not seen it yet


def test_what_is_closed_here_or_was_never_open_is_not_used(ends: Any) -> None:
    assert not is_open(connection(ends[0], closing=True))
    assert not is_open(Connection())
