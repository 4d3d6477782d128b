"""The fast lane and its plain ASGI twin answer the same bytes, however a request is cut, piled up or broken.

Both listen on a port of their own over one worker. Dates and generated ids are left out of the comparison.
"""

import asyncio
import gzip
import json
import random
import re
import socket
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from router.routes import Exposure, Fallback, Route, Rule, Units, Variant
from service.http.connection import Connection
from service.http.lane import Lane, lane_of, usable
from service.listening import Port, PortOptions
from service.settings import Settings
from service.together import Together, gateway

ROOT = Path(__file__).resolve().parents[2]
ROWS = json.loads((ROOT / "models/digits/heldout.json").read_text())["inputs"]["pixels"]
OPTIONS = PortOptions(keep_alive_seconds=2, max_header_bytes=8192, access_log=False)
DATE = re.compile(rb"date: [^\r]*\r\n")
MADE_ID = re.compile(rb"(x-request-id: |\"request_id\":\")[0-9a-f]{20}")
SIGNED = re.compile(rb"(serin-assignment: [^\r]*~)[\w-]{40}")
EPOCH = re.compile(rb"(serin-assignment: [^~]*~[^~]*~[^~]*~[^~]*~)[0-9]+(~[a-z]~)")
"""In a token."""


@dataclass(frozen=True)
class Twins:
    lane: int
    plain: int
    serin: Together


@pytest.fixture
async def twins(tmp_path: Path) -> AsyncIterator[Twins]:
    settings = Settings(models=ROOT / "models", state=tmp_path, max_body_bytes=200_000)
    async with gateway(settings) as serin:
        await all_loaded(serin)
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        ports = [Port(serin.worker.app, OPTIONS, lane_of(serin.worker.v2)), Port(serin.worker.app, OPTIONS)]
        for port, bound in zip(ports, sockets, strict=True):
            await port.start()
            await port.listen(bound.fileno())
        assert issubclass(ports[0].connection, Lane)
        assert not issubclass(ports[1].connection, Lane)
        yield Twins(*(bound.getsockname()[1] for bound in sockets), serin)
        for port, bound in zip(ports, sockets, strict=True):
            await port.close(2.0)
            bound.close()


async def all_loaded(serin: Together) -> None:
    """The gateway is ready without versions that get no traffic; the twins are asked for them one after the other."""
    engine = serin.worker.engine
    for _ in range(6000):
        if all(engine.peek("digits", version) for version in (1, 2, 3)):
            return
        await asyncio.sleep(0.01)
    raise TimeoutError("the versions of digits were not loaded within a minute")


def request(body: bytes, *headers: str, path: str = "/v2/models/digits/infer", length: int | None = None) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: x", *headers, f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def digits(rng: random.Random, **more: object) -> dict[str, object]:
    rows = rng.choice([0, 1, 1, 1, 2, 5])
    data = [number for row in rng.sample(ROWS, rows) for number in row]
    return {"inputs": [{"name": "pixels", "shape": [rows, 64], "datatype": "FP32", "data": data}], **more}


def some_request(rng: random.Random) -> bytes:
    """Mostly good requests in all their forms, and bad ones of many kinds. Nothing in them is left to chance later."""
    body = json.dumps(digits(rng, id=str(rng.random()))).encode()
    version = rng.choice(["1", "2", "3"])
    path = f"/v2/models/digits/versions/{version}/infer"
    wanted = json.dumps(digits(rng, outputs=[{"name": "label"}])).encode()
    odd = json.dumps(digits(rng, outputs=[{"name": "label", "parameters": {"mine": rng.choice([1, [1], {}, None])}}]))
    mine = json.dumps({"mine": rng.choice([1, [1], {}, None])})
    described = body.replace(b'"shape"', f'"parameters": {mine}, "shape"'.encode())
    binary = json.dumps(digits(rng, parameters={"binary_data_output": True})).encode()
    return rng.choice(
        [
            request(body, path=path),
            request(body, "X-Request-Id: mine", f"Serin-Routing-Key: {rng.random()}"),
            request(wanted, path=path),
            request(binary, path=path),
            request(odd.encode(), path=path),
            request(described, path=path),
            request(gzip.compress(body, mtime=0), "Content-Encoding: gzip", path=path),
            request(zlib.compress(body), "Content-Encoding: deflate", "Accept-Encoding: gzip", path=path),
            request(body[: rng.randrange(len(body))], path=path),
            request(body.replace(b"FP32", b"INT8"), path=path),
            request(body.replace(b"pixels", b"pixel"), path=path),
            request(body, "Inference-Header-Content-Length: 99999999", path=path),
            request(body, "Content-Encoding: br", path=path),
            request(body, path="/v2/models/nothing/infer"),
            request(body, path="/v2/models/digits/versions/77/infer"),
            request(body, path=path + "?x=1"),
            request(body, path="/v2/models/d%69gits/versions/1/infer"),
            request(body, "Expect: 100-continue", path=path),
            b"GET /v2/models/digits HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /v2/nothing HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\r\n\r\n",
        ]
    )


def normal(answer: bytes) -> bytes:
    return SIGNED.sub(rb"\1SIGNED", MADE_ID.sub(rb"\1ID", DATE.sub(b"", answer)))


async def talk(port: int, pieces: list[bytes], answers: int) -> bytes:
    """Send the pieces with a breath between them; what came back until so many answers were whole, or the end."""
    loop = asyncio.get_running_loop()
    received = b""
    with socket.socket() as client:
        client.setblocking(False)
        async with asyncio.timeout(20):
            await loop.sock_connect(client, ("127.0.0.1", port))
            await send(client, pieces)
            while whole(received) < answers and (chunk := await loop.sock_recv(client, 65536)):
                received += chunk
    assert whole(received) == answers, (pieces, received)
    return normal(received)


async def send(client: socket.socket, pieces: list[bytes]) -> None:
    """All of them, or as many as the other side wants: it may refuse a request, and close, before it has all of it. The
    refusal is there to be read all the same, which a stream of asyncio would not do after a write that failed."""
    loop = asyncio.get_running_loop()
    with suppress(ConnectionError):
        for piece in pieces:
            await loop.sock_sendall(client, piece)
            await asyncio.sleep(0)


def whole(received: bytes) -> int:
    count = 0
    while (end := received.find(b"\r\n\r\n")) >= 0:
        if received.startswith(b"HTTP/1.1 100"):
            received = received[end + 4 :]
            continue
        length = re.search(rb"content-length: (\d+)", received[:end], re.I)
        size = int(length[1]) if length else 0
        if len(received) < end + 4 + size:
            break
        received = received[end + 4 + size :]
        count += 1
    return count


async def assert_alike(twins: Twins, pieces: list[bytes], answers: int) -> bytes:
    lane, plain = await talk(twins.lane, pieces, answers), await talk(twins.plain, pieces, answers)
    assert lane == plain, pieces
    return lane


def test_this_uvicorn_is_the_one_that_the_lane_knows() -> None:
    assert usable()
    assert issubclass(Lane, Connection)


async def test_one_request_each(twins: Twins) -> None:
    rng = random.Random(1)
    for _ in range(250):
        await assert_alike(twins, [some_request(rng)], 1)


async def test_requests_cut_anywhere(twins: Twins) -> None:
    rng = random.Random(2)
    for _ in range(60):
        whole_request = some_request(rng)
        cuts = sorted(rng.randrange(len(whole_request)) for _ in range(rng.randint(1, 6)))
        pieces = [whole_request[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole_request)], strict=True)]
        await assert_alike(twins, [piece for piece in pieces if piece], 1)


async def test_pipelined_requests_are_answered_in_their_order(twins: Twins) -> None:
    rng = random.Random(3)
    for _ in range(30):
        many = [some_request(rng) for _ in range(rng.randint(2, 8))]
        many = [one for one in many if b"Expect" not in one]
        joined = b"".join(many)
        cut = rng.randrange(len(joined)) if joined else 0
        await assert_alike(twins, [joined[:cut], joined[cut:]], len(many))


def one_head(rng: random.Random, count: int) -> list[bytes]:
    """Requests whose heads are the same to the byte, as those of one client mostly are; the bodies differ."""
    bodies = [json.dumps(digits(rng, id="x" * rng.randrange(3))) for _ in range(count)]
    size = max(map(len, bodies))
    bodies = [body.ljust(size) for body in bodies]
    bodies = [body[: rng.randrange(size)].ljust(size, "}") if rng.random() < 0.1 else body for body in bodies]
    key = rng.choice(["Serin-Routing-Key: a", "Accept: */*", "X-Request-Id: mine", "Connection: keep-alive"])
    path = rng.choice(["/v2/models/digits/versions/2/infer", "/v2/models/digits/infer", "/v2/models/none/infer"])
    return [request(body.encode(), key, path=path) for body in bodies]


def a_conversation(rng: random.Random) -> tuple[list[bytes], int]:
    """Requests on one connection, most with heads that were seen before, as pieces: whole, cut, or piled up."""
    many: list[bytes] = []
    while len(many) < 20:
        many += one_head(rng, rng.randint(1, 6)) if rng.random() < 0.8 else [some_request(rng)]
    many = [one for one in many if b"Expect" not in one]
    pieces: list[bytes] = []
    for one in many:
        how = rng.random()
        if how < 0.15:
            cut = rng.randrange(1, len(one))
            pieces += [one[:cut], one[cut:]]
        elif how < 0.3 and pieces:
            pieces[-1] += one
        else:
            pieces.append(one)
    return pieces, len(many)


async def test_conversations_with_heads_that_come_again(twins: Twins) -> None:
    rng = random.Random(6)
    for _ in range(25):
        await assert_alike(twins, *a_conversation(rng))


def large(rng: random.Random) -> bytes:
    """A request whose body is received past the parser, and mostly good."""
    rows = rng.randint(300, 700)
    values = [rng.choice([0.0, 1.0, 2.5, 16.0]) for _ in range(rows * 64)]
    size = {"binary_data_size": 4 * len(values) - rng.choice([0, 0, 0, 4])}
    tensor = {"name": "pixels", "shape": [rows, 64], "datatype": "FP32"}
    told = {"id": "x" * rng.randrange(64), "inputs": [{**tensor, "parameters": size}]}
    text = json.dumps(told).encode()
    binary, path = text + struct.pack(f"<{len(values)}f", *values), "/v2/models/digits/versions/1/infer"
    length = f"Inference-Header-Content-Length: {len(text)}"
    return rng.choice(
        [
            request(binary, length, path=path),
            request(binary, length, "X-Request-Id: mine", path=path),
            request(binary, "Inference-Header-Content-Length: " + "9" * 5000, path=path),
            request(binary, "Inference-Header-Content-Length: 3", path=path),
            request(
                gzip.compress(binary + rng.randbytes(100_000), mtime=0), "Content-Encoding: gzip", length, path=path
            ),
            request(json.dumps({"inputs": [{**tensor, "data": values}]}).encode()[:200_000], path=path),
        ]
    )


async def test_large_bodies_between_small_requests(twins: Twins) -> None:
    rng = random.Random(12)
    for _ in range(40):
        many = [large(rng) if rng.random() < 0.7 else some_request(rng) for _ in range(6)]
        many = [one for one in many if b"Expect" not in one]
        pieces: list[bytes] = []
        for one in many:
            cuts = sorted(rng.randrange(len(one)) for _ in range(rng.randrange(4)))
            parts = [one[a:b] for a, b in zip([0, *cuts], [*cuts, len(one)], strict=True)]
            if pieces and rng.random() < 0.3:
                pieces[-1] += parts.pop(0)
            pieces += filter(None, parts)
        await assert_alike(twins, pieces, len(many))


async def test_a_large_body_is_received_where_it_is_to_lie(twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    received = Lane.body_received

    def noted(lane: Lane, body: memoryview) -> None:
        sizes.append(len(body))
        received(lane, body)

    monkeypatch.setattr(Lane, "body_received", noted)
    rng = random.Random(13)
    many = [large(rng) for _ in range(8)]
    many.insert(4, request(json.dumps(digits(rng)).encode(), path="/v2/models/digits/versions/1/infer"))

    lane, plain = [await head_first(twins, port, many) for port in (twins.lane, twins.plain)]

    assert lane == plain
    assert sizes == [size for one in many if (size := len(one) - one.index(b"\r\n\r\n") - 4) > 70_000]


async def head_first(twins: Twins, port: int, requests: list[bytes]) -> list[bytes]:
    """The answers to requests on one connection: each is sent when the one before it is answered, and the most of its
    body when its head was read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    async with asyncio.timeout(60):
        for one in requests:
            begun = min(len(one), one.index(b"\r\n\r\n") + 10)
            writer.write(one[:begun])
            while len(one) > begun and not twins.serin.worker.v2.in_flight:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
            writer.write(one[begun:])
            received = b""
            while whole(received) < 1:
                received += await reader.read(65536)
            answers.append(normal(received))
    writer.close()
    return answers


@pytest.mark.slow
async def test_ten_thousand_requests(twins: Twins) -> None:
    rng = random.Random(7)
    sent = 0
    while sent < 10_000:
        pieces, answers = a_conversation(rng)
        await assert_alike(twins, pieces, answers)
        sent += answers


async def test_a_head_that_is_known_does_not_hide_the_limit_of_heads(twins: Twins) -> None:
    known = one_head(random.Random(8), 1)[0]
    longer = known.replace(b"Host: x", b"Host: x\r\nX-Long: " + b"y" * 9000)

    for port in (twins.lane, twins.plain):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(20):
            for sent, status in ((known, b"200"), (known, b"200"), (longer, b"431")):
                writer.write(sent)
                received = b""
                while whole(received) < 1:
                    received += await reader.read(65536)
                assert received.split(b" ", 2)[1] == status
        writer.close()


async def test_what_was_asked_before_nonsense_is_answered_before_it(twins: Twins) -> None:
    """In the lane. uvicorn sends the refusal at once, before answers that are still being made."""
    one = request(json.dumps(digits(random.Random(10))).encode(), path="/v2/models/digits/versions/2/infer")

    answers = await talk(twins.lane, [one + one + b"nonsense\r\n\r\n"], 3)

    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"200", b"400"]


async def test_an_idle_connection_is_closed_after_its_time(twins: Twins) -> None:
    one = one_head(random.Random(9), 1)[0]
    for port in (twins.lane, twins.plain):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(one)
        async with asyncio.timeout(30):
            while await reader.read(65536):
                pass
        writer.close()


def judged(answers: bytes) -> list[object]:
    """Status and document of each answer, one after the other."""
    found: list[object] = []
    while answers:
        head, _, rest = answers.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        found += [head.split(b" ", 2)[1], json.loads(rest[: int(length[1])])]
        answers = rest[int(length[1]) :]
    return found


def some_row(rng: random.Random, number: int) -> bytes:
    """One good row, mostly; else one of the ways in which a row can be bad, or be more than one row."""
    row = rng.choice(ROWS)
    tensor: dict[str, object] = {"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": row}
    odd: list[dict[str, object]] = [
        {"name": "pixel"}, {"shape": [1, 63], "data": row[:63]}, {"datatype": "FP64"}, {"data": row[:60]},
        {"data": [*row[:63], 1e39]}, {"data": [*row[:63], None]}, {"shape": [2, 64], "data": row + row},
        {"data": [row]}, {"shape": [0, 64], "data": []}, {"shape": [64], "data": row},
    ]  # fmt: skip
    if rng.random() < 0.2:
        tensor |= rng.choice(odd)
    path = rng.choice(["/v2/models/digits/infer"] * 4 + ["/v2/models/digits/versions/2/infer"])
    return request(json.dumps({"id": str(number), "inputs": [tensor]}).encode(), path=path)


def same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one if key != "request_id")
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == (pytest.approx(other, rel=1e-4, abs=1e-6) if isinstance(other, float) else other)


async def test_good_and_bad_requests_of_one_turn_each_get_their_own_answer(twins: Twins) -> None:
    """A thousand of them from forty clients at a time; the other twin is asked one by one."""
    rng = random.Random(11)
    for _ in range(25):
        asked = [some_row(rng, number) for number in range(40)]
        together = await asyncio.gather(*(talk(twins.lane, [one], 1) for one in asked))
        alone = [await talk(twins.plain, [one], 1) for one in asked]
        for mine, theirs in zip(together, alone, strict=True):
            assert mine.split(b"\r\n")[0] == theirs.split(b"\r\n")[0]
            assert same(judged(mine), judged(theirs))


@pytest.mark.parametrize("guard", ["fallback", "units", "exposure", "rules"])
async def test_a_route_that_wants_more_than_a_split(twins: Twins, guard: str) -> None:
    dataplane = twins.serin.worker.dataplane
    found = []
    for port in (twins.lane, twins.plain):
        # A rollout each, so that both begin with the same budgets, and one salt, so that keys choose alike.
        variants = (Variant("stable", 1, 500_000), Variant("canary", 3, 500_000))
        wanted = guarded(Route("digits", variants, salt="r1", epoch=port), guard, f"rollout-{port}")
        table = replace(dataplane.table, routes={**dataplane.table.routes, "digits": wanted})
        assert await twins.serin.worker.apply(table) is None
        rng = random.Random(12)
        asked = [one_key(rng) for _ in range(60)]
        found.append(EPOCH.sub(rb"\1\2", await talk(port, asked, len(asked))))
    assert found[0] == found[1]
    assert found[0].count(b"~u~") == (len(set(map(key_of, asked))) if guard == "units" else 0)
    assert b"serin-variant: stable" in found[0]
    assert (b"serin-diverted: exposure" in found[0]) is (guard == "exposure")


def guarded(route: Route, guard: str, rollout: str) -> Route:
    if guard == "rules":
        return replace(route, rules=(Rule("x-beta", "canary"),))
    if guard == "exposure":
        return replace(route, exposure=Exposure(rollout, "canary", "stable", requests=10))
    route = replace(route, fallback=Fallback("stable"))
    return replace(route, units=Units(rollout)) if guard == "units" else route


def key_of(asked: bytes) -> bytes:
    return asked.partition(b"Serin-Routing-Key: ")[2].partition(b"\r\n")[0]


def one_key(rng: random.Random) -> bytes:
    body = json.dumps({"inputs": [{"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": rng.choice(ROWS)}]})
    return request(body.encode(), f"Serin-Routing-Key: user-{rng.randrange(30)}")


async def test_a_body_above_the_limit_ends_the_connection(twins: Twins) -> None:
    for pieces in (
        [request(b"", length=200_001)],
        [b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"]
        + [b"10000\r\n" + b" " * 0x10000 + b"\r\n"] * 4,
    ):
        answer = await assert_alike(twins, pieces, 1)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in answer


async def test_chunked_bodies_are_bodies(twins: Twins) -> None:
    body = json.dumps(digits(random.Random(4))).encode()
    head = b"POST /v2/models/digits/versions/2/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(body[i : i + 7]), body[i : i + 7]) for i in range(0, len(body), 7))

    answer = await assert_alike(twins, [head, chunks, b"0\r\n\r\n"], 1)

    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_length_and_chunked_together_are_refused(twins: Twins) -> None:
    smuggled = request(b"0\r\n\r\n", "Transfer-Encoding: chunked")

    answer = await assert_alike(twins, [smuggled], 1)

    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_client_that_wants_no_keep_alive_gets_none(twins: Twins) -> None:
    body = json.dumps(digits(random.Random(5))).encode()

    answer = await assert_alike(twins, [request(body, "Connection: close")], 1)

    assert b"connection: close" in answer
