"""Callers in a process of their own tell what they would have told in a thread."""

import http.server
import os
import threading
from collections.abc import Iterator
from time import monotonic

import pytest

from loadtests.faults.apart import Apart
from loadtests.faults.callers import Callers
from loadtests.load import LoadFailed


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield ("127.0.0.1", server.server_port)
        server.shutdown()
        thread.join()


def busy(seconds: float) -> None:
    until = monotonic() + seconds
    while monotonic() < until:
        pass


def test_all_that_was_sent_and_looked_at_is_told_and_nothing_stays(address: tuple[str, int]) -> None:
    with Apart(Callers(address, rate=200.0, most=50)) as callers:
        assert callers.sent == []
        busy(0.5)  # as an experiment may; the callers do not wait for it
        sent = callers.stop()
    assert sorted(one.number for one in sent) == list(range(50))
    assert {one.status for one in sent} == {503}
    assert {look.what for look in callers.looks if look.status == 200} == {"live", "ready"}
    assert callers.count == 50
    with pytest.raises(ChildProcessError):
        os.waitpid(callers._pid, os.WNOHANG)


def test_an_experiment_that_fails_ends_them(address: tuple[str, int]) -> None:
    callers = Apart(Callers(address))

    def fail() -> None:
        with callers:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(ProcessLookupError):
        os.kill(callers._pid, 0)


def test_callers_that_fail_are_no_result(address: tuple[str, int]) -> None:
    with Apart(Callers(address, connections=-1, health=False)) as callers, pytest.raises(LoadFailed):
        callers.stop()
