"""What many hostile requests add up to: series, connections out, connections held."""

import json
import random
import socket
from time import monotonic

import pytest

from tests.e2e.conftest import eventually
from tests.hostile.case import INFER, MARK, tensor, text
from tests.hostile.conftest import GOOD, GROWTH_BYTES, LIMIT_SECONDS, House, assert_good, resident_bytes
from tests.hostile.wire import Conversation, head, post

SERIES_MORE = 20
METRICS_BYTES = 1024 * 1024
HEAD_SECONDS = 5.0
"""As the gateway under fire has them."""


def series(house: House) -> set[bytes]:
    """The names of the series that `/metrics` shows, labels included."""
    with Conversation(house.port, LIMIT_SECONDS) as conversation:
        answer = conversation.ask([head("GET", "/metrics")])
    assert len(answer.body) < METRICS_BYTES
    return {line.rpartition(b" ")[0] for line in answer.body.splitlines() if not line.startswith(b"#")}


def made_up(rng: random.Random) -> bytes:
    """A request with a name of its own in one of the places that a label could be made of."""
    word = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=12))
    return rng.choice(
        [
            post(f"/v2/models/{word}/infer", text()),
            post(f"/v2/models/floats/versions/{rng.randrange(10**9)}/infer", text()),
            post(f"/v2/models/floats/versions/{word}/infer", text()),
            post(INFER, tensor(name=word)),
            post(INFER, tensor(datatype=word)),
            post(INFER, text(parameters={"routing_key": word}), f"Serin-Routing-Key: {word}", f"X-Request-Id: {word}"),
            post(INFER, b"{}", f"Content-Encoding: {word}"),
            post(f"/v2/models/{word}/feedback", json.dumps({"assignment": word, "label": word}).encode()),
            head("GET", f"/{word}", f"User-Agent: {word}"),
            head("GET", f"/v2/models/{word}/stats"),
            head("OPTIONS", f"/v2/models?{word}={word}"),
        ]
    )


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_client_makes_up_series(house: House, count: int) -> None:
    rng = random.Random(count)
    house.assert_serves()
    before = series(house)

    with Conversation(house.port, LIMIT_SECONDS * 10) as conversation:
        for _ in range(count):
            conversation.ask([made_up(rng)])

    assert len(series(house) - before) < SERIES_MORE


def test_no_field_of_a_request_makes_the_gateway_connect(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bait, Conversation(house.port, LIMIT_SECONDS) as conversation:
        url = f"http://127.0.0.1:{bait.getsockname()[1]}/x"
        told = dict.fromkeys(("url", "uri", "model_uri", "callback", "webhook", "headers"), url)
        for content in (
            post("/v2/repository/models/floats/load", json.dumps({"parameters": told}).encode()),
            post("/v2/repository/models/floats/load", json.dumps(told).encode()),
            post("/v2/repository/index", json.dumps(told).encode()),
            post(INFER, text(parameters=told, **told)),
            post(INFER, tensor(parameters=told, **told)),
            post(INFER, text(), f"Origin: {url}", f"Referer: {url}", f"X-Callback: {url}", f"Link: <{url}>"),
            post("/v2/models/floats/feedback", json.dumps({"assignment": url, "label": url}).encode()),
            head("GET", url),
        ):
            conversation.ask([content])
        bait.settimeout(0.5)
        with pytest.raises(TimeoutError):
            bait.accept()


def test_names_do_not_forge_lines_of_the_log(house: House) -> None:
    forged = "%0d%0a%7b%22level%22:%22error%22,%22event%22:%22" + MARK[1:-1] + "%22%7d%1b%5b31m"
    with Conversation(house.port, LIMIT_SECONDS) as conversation:
        conversation.ask([post(f"/v2/models/{forged}/infer", text())])
        conversation.ask([post(INFER, tensor(name="a\n" + MARK + "\x1b[31m"))])
        assert_good(conversation.ask([GOOD]))

    house.assert_unharmed()  # each line is one event, none of them an error


def test_memory_comes_back_after_many_large_refusals(house: House) -> None:
    """Each is let go, but not at once: the worker waits until it has nothing else to do."""
    before = resident_bytes(house.workers[0])
    bodies = (b'{"inputs":[' + b"{}," * 1_000_000 + b"{}]}", tensor(data=[1] * 500_000), b" " * 4_000_000)
    with Conversation(house.port, LIMIT_SECONDS) as conversation:
        for body in bodies * 5:
            assert conversation.ask([post(INFER, body)]).status == 400
    eventually(lambda: resident_bytes(house.workers[0]) < before + GROWTH_BYTES // 2, seconds=60)
    house.assert_memory_is_back()


@pytest.mark.slow
def test_slow_heads_are_cut_off_and_good_requests_are_served_meanwhile(house: House) -> None:
    connections = [socket.create_connection(("127.0.0.1", house.port), LIMIT_SECONDS) for _ in range(500)]
    begin, closed = monotonic(), 0
    for connection in connections:
        connection.setblocking(False)
        connection.send(b"POST " + INFER.encode() + b" HTTP/1.1\r\n")
    while connections and monotonic() < begin + 4 * HEAD_SECONDS:
        house.assert_serves()
        for connection in list(connections):
            try:
                connection.send(b"X")
                ended = connection.recv(1) == b""
            except BlockingIOError:
                ended = False
            except OSError:
                ended = True
            if ended:
                closed += 1
                connection.close()
                connections.remove(connection)
    assert closed == 500
