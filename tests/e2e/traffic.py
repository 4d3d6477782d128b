"""Bounded load for the tests: closed loop over keep-alive connections, every request with a number and a key.

`run` sends a given number of requests and returns all answers; `Traffic` sends in a thread while a test does harm.
"""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop

from loadtests.faults.callers import has_ended

PIXELS = {"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": [0] * 64}
REQUEST_SECONDS = 20.0
RECONNECT_SECONDS = 5.0
MOST_ANSWERS = 400_000


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, ready to be written. `key` is only noted: whoever made it has put it where it belongs."""

    raw: bytes
    key: str | None = None
    closes: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of request `number`. `status` 0: no whole answer came, for the reason in `error`.

    `sent` and `done` are `time.monotonic`; `connection` is the client's, `first` that it had served nothing before.
    """

    number: int
    key: str | None
    status: int
    sent: float
    done: float
    connection: int
    first: bool = False
    version: str = ""
    variant: str = ""
    revision: int = -1
    closes: bool = False
    error: str = ""
    body: bytes = b""


def post(path: str, body: bytes, key: str | None = None, **headers: str) -> Ask:
    """A POST to `path`; `key` goes into the default header, other headers come as `x_beta="yes"`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        named["Serin-Routing-Key"] = key
    lines = [f"POST {path} HTTP/1.1", "Host: serin", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in named.items()]
    return Ask("\r\n".join([*lines, "", ""]).encode() + body, key, named.get("Connection") == "close")


def body_of(**more: Any) -> bytes:
    """A digits request of one row, with more top-level fields such as `parameters`."""
    return json.dumps({"inputs": [PIXELS], **more}).encode()


ONE_ROW = body_of()


def keyed(number: int) -> Ask:
    """A digits request of user `number`."""
    return post("/v2/models/digits/infer", ONE_ROW, f"user-{number}")


def keyless(number: int) -> Ask:
    """A digits request without a key."""
    return post("/v2/models/digits/infer", ONE_ROW)


def fresh(number: int) -> Ask:
    """A digits request of user `number` on a connection of its own."""
    return post("/v2/models/digits/infer", ONE_ROW, f"user-{number}", Connection="close")


class Traffic:
    """Load from `with` to `stop`, at most `limit` requests; `answers` grows meanwhile and is whole after `stop`.

    `pause` seconds lie between an answer and the next request of a connection. A lost connection is opened again.
    """

    def __init__(
        self,
        base: str,
        make: Callable[[int], Ask] = keyed,
        *,
        connections: int = 16,
        limit: int = MOST_ANSWERS,
        pause: float = 0.0,
    ) -> None:
        address = urlsplit(base)
        self.answers: list[Answer] = []
        self._host, self._port = str(address.hostname), int(address.port or 80)
        self._make = make
        self._connections = connections
        self._limit = limit
        self._pause = pause
        self._next = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()), name="traffic", daemon=True)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> list[Answer]:
        """Let each connection finish its request; all answers."""
        self._stopped.set()
        return self.finished()

    def finished(self) -> list[Answer]:
        """Wait until `limit` requests are answered; all answers."""
        self._thread.join(120.0)
        assert not self._thread.is_alive(), "the load did not end"
        return self.answers

    def wait_for(self, count: int, seconds: float = 30.0) -> None:
        """Wait until `count` more answers came."""
        goal, deadline = len(self.answers) + count, time.monotonic() + seconds
        while len(self.answers) < goal:
            assert time.monotonic() < deadline, f"only {len(self.answers)} of {goal} answers in {seconds} s"
            time.sleep(0.01)

    async def _run(self) -> None:
        await asyncio.gather(*(self._connection(number) for number in range(self._connections)))

    async def _connection(self, number: int) -> None:
        open_: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._stopped.is_set() and self._next < self._limit:
            mine, self._next = self._next, self._next + 1
            if open_ is not None and has_ended(open_[1].transport):
                open_[1].close()
                open_ = None
            ask, first, sent = self._make(mine), open_ is None, time.monotonic()
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    if open_ is None:
                        open_ = await asyncio.open_connection(self._host, self._port)
                    sent = time.monotonic()
                    open_[1].write(ask.raw)
                    answer = await _read(open_[0], mine, ask.key, sent, number, first)
            except (OSError, TimeoutError, EOFError, ValueError) as error:
                answer = _lost(error, mine, ask.key, sent, number, first)
            self.answers.append(answer)
            if (answer.status == 0 or answer.closes or ask.closes) and open_ is not None:
                open_[1].close()
                open_ = None
            if answer.status == 0 and answer.error == "ConnectionRefusedError":
                await asyncio.sleep(0.05)
            if self._pause:
                await asyncio.sleep(self._pause)
        if open_ is not None:
            open_[1].close()


def run(base: str, make: Callable[[int], Ask] = keyed, *, count: int, connections: int = 32) -> list[Answer]:
    """Send `count` requests and wait for all answers, in the order of their numbers."""
    with Traffic(base, make, connections=connections, limit=count) as traffic:
        return sorted(traffic.finished(), key=lambda answer: answer.number)


async def _read(
    reader: asyncio.StreamReader, mine: int, key: str | None, sent: float, number: int, first: bool
) -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in lines[1:-2])
    body = await reader.readexactly(int(headers[b"content-length"]))
    return Answer(
        number=mine,
        key=key,
        status=int(lines[0].split(b" ", 2)[1]),
        sent=sent,
        done=time.monotonic(),
        connection=number,
        first=first,
        version=headers.get(b"serin-version", b"").decode(),
        variant=headers.get(b"serin-variant", b"").decode(),
        revision=int(headers.get(b"serin-revision", b"-1")),
        closes=headers.get(b"connection") == b"close",
        body=body,
    )


def _lost(error: BaseException, mine: int, key: str | None, sent: float, number: int, first: bool) -> Answer:
    return Answer(mine, key, 0, sent, time.monotonic(), number, first, error=type(error).__name__)


# ---- what the tests ask of answers ----


def failed(answers: Iterable[Answer]) -> list[Answer]:
    """All that are not 200."""
    return [answer for answer in answers if answer.status != 200]


def by_version(answers: Iterable[Answer]) -> Counter[str]:
    """Answers with status 200 by the version that gave them."""
    return Counter(answer.version for answer in answers if answer.status == 200)


def stale(answers: Iterable[Answer], acknowledged: Iterable[tuple[float, int]]) -> list[Answer]:
    """Answers to requests sent after an acknowledgement (time, revision) that an older table gave."""
    promises = sorted(acknowledged)
    found, promised, index = [], -1, 0
    for answer in sorted(answers, key=lambda answer: answer.sent):
        while index < len(promises) and promises[index][0] < answer.sent:
            promised, index = max(promised, promises[index][1]), index + 1
        if answer.status == 200 and answer.revision < promised:
            found.append(answer)
    return found


def connections_of(pid: int, port: int) -> int:
    """Established connections to `port` that process `pid` holds, as the kernel says."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(fd.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "01" and row[9] in inodes for row in rows)
