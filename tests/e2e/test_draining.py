"""The end of a gateway: what is in flight is finished, who comes later is told so, and the port is really closed."""

import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Running, eventually
from tests.e2e.test_crashes import port_of
from tests.e2e.traffic import ONE_ROW, Ask, Traffic, failed, keyed, post, run

Start = Callable[..., Any]
DELAY_SECONDS = 2.0
SLOW_SECONDS = 4.0


def slow(number: int) -> Ask:
    """A request to a version that takes SLOW_SECONDS."""
    return post("/v2/models/digits/versions/2/infer", ONE_ROW, f"user-{number}")


def ready(running: Running) -> httpx.Response:
    return httpx.get(f"{running.http}/v2/health/ready", timeout=5)


def connects(running: Running) -> str:
    """What a new connection meets: "accepted", "refused", or "hangs" when nobody answers a request on it."""
    try:
        with socket.create_connection(("127.0.0.1", port_of(running)), timeout=1.0) as connection:
            connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: serin\r\nConnection: close\r\n\r\n")
            return "accepted" if connection.recv(1) else "refused"
    except ConnectionError:
        return "refused"
    except TimeoutError:
        return "hangs"


def test_a_drain_finishes_what_is_in_flight_then_refuses_and_exits_with_0(start: Start) -> None:
    flags = ("--drain-delay-seconds", str(DELAY_SECONDS), "--workers", "2", "--max-concurrency", "16")
    with start(*flags, faults=f"digits:2 slow={SLOW_SECONDS}", models=("digits/1", "digits/2")) as running:
        idle = [socket.create_connection(("127.0.0.1", port_of(running))) for _ in range(20)]
        with (
            Traffic(running.http, slow, connections=20, limit=20) as late,
            Traffic(running.http, keyed, connections=8, pause=0.01) as quick,
        ):
            quick.wait_for(100)
            time.sleep(0.5)  # by now all 20 slow ones run
            assert ready(running).status_code == 200
            running.process.send_signal(signal.SIGTERM)
            signalled = time.monotonic()
            told = eventually(lambda: (found := ready(running)).status_code == 503 and found)
            assert told.json() == {"ready": False, "reason": "draining"}
            assert time.monotonic() - signalled < DELAY_SECONDS - 0.5
            assert connects(running) == "accepted"
            time.sleep(max(0.0, signalled + DELAY_SECONDS + 0.5 - time.monotonic()))
            assert running.process.poll() is None, "the slow requests were not waited for"
            assert {connects(running) for _ in range(8)} == {"refused"}
            assert [answer.status for answer in late.finished()] == [200] * 20
            answers = quick.stop()
        assert running.process.wait(20) == 0
        assert time.monotonic() - signalled < SLOW_SECONDS + 3.0
        for connection in idle:
            with connection:
                assert connection.recv(1) == b""
    lost = failed(answers)
    assert all(answer.done > signalled + DELAY_SECONDS - 0.1 for answer in lost), lost[:5]
    # After the delay there is nobody: a client that still tries is refused or meets the end of its connection.
    assert {answer.error for answer in lost} <= {
        "ConnectionRefusedError",
        "ConnectionResetError",
        "BrokenPipeError",
        "IncompleteReadError",
    }
    closing = [answer for answer in answers if answer.status == 200 and answer.sent > signalled + 0.5]
    assert closing
    assert all(answer.closes for answer in closing), "each answer of a drain is the last of its connection"


@pytest.mark.slow
def test_while_draining_the_rest_of_the_port_says_goodbye_too(start: Start) -> None:
    with start("--drain-delay-seconds", "60", models=("digits/1",)) as running:
        running.process.send_signal(signal.SIGTERM)
        eventually(lambda: ready(running).status_code == 503)
        assert httpx.get(f"{running.http}/v2/health/live", timeout=5).status_code == 200
        assert httpx.get(f"{running.http}/metrics", timeout=5).status_code == 200
        answers = run(running.http, keyed, count=20, connections=4)
        assert failed(answers) == []
        assert running.stop(limit=50) == 0  # a second signal: it does not wait for the end of the delay


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_second_signal_hurries_a_drain_that_waits_for_slow_requests(start: Start, number: signal.Signals) -> None:
    flags = ("--drain-delay-seconds", "30", "--max-concurrency", "8")
    with (
        start(*flags, faults="digits:2 slow=60", models=("digits/1", "digits/2")) as running,
        Traffic(running.http, slow, connections=4, limit=4) as late,
    ):
        time.sleep(0.5)
        running.process.send_signal(signal.SIGTERM)
        eventually(lambda: ready(running).status_code == 503)
        running.process.send_signal(number)
        assert running.process.wait(25) == 0  # before the delay is over, and long before the requests are done
        assert {answer.status for answer in late.finished()} <= {0, 503, 504}
        assert [line for line in running.log_lines() if line["level"] == "error"] == []


@pytest.mark.slow
def test_requests_that_outlast_the_limit_are_cut_off_and_the_exit_code_is_still_0(start: Start) -> None:
    flags = ("--drain-limit-seconds", "1", "--max-concurrency", "8")
    with (
        start(*flags, faults="digits:2 slow=60", models=("digits/1", "digits/2")) as running,
        Traffic(running.http, slow, connections=4, limit=4) as late,
    ):
        time.sleep(0.5)
        assert running.stop(limit=10) == 0
        assert {answer.status for answer in late.finished()} <= {0, 503, 504}


def test_a_stopped_worker_does_not_keep_the_port_open_or_the_gateway_alive(start: Start) -> None:
    with start("--drain-limit-seconds", "2.5", models=("digits/1",)) as running:
        os.kill(running.workers()[0], signal.SIGSTOP)  # killed at the limit
        running.process.send_signal(signal.SIGTERM)
        time.sleep(1.2)
        assert running.process.poll() is None
        assert {connects(running) for _ in range(8)} == {"refused"}
        assert running.process.wait(10) == 0


def test_a_drain_under_load_loses_no_request_of_clients_that_mind_what_they_are_told(start: Start) -> None:
    with (
        start("--drain-delay-seconds", "1", models=("digits/1",)) as running,
        Traffic(running.http, keyed, connections=32) as traffic,
    ):
        traffic.wait_for(500)
        assert running.stop() == 0
        lost = failed(traffic.stop())
    # Every answer of the drain says `Connection: close`, so all that fails is a new connection after the end of it.
    assert {answer.error for answer in lost if not answer.first} == set()
    assert {answer.error for answer in lost} <= {"ConnectionRefusedError"}, [a for a in lost if a.error][:5]
