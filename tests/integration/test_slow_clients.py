"""Who may keep a connection, and for how long: in the fast lane and on its twin."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import pytest

from service.http.lane import lane_of
from service.listening import Port, PortOptions
from service.settings import Settings
from service.together import gateway

ROOT = Path(__file__).resolve().parents[2]
ROW = json.loads((ROOT / "models/digits/heldout.json").read_text())["inputs"]["pixels"][0]
BODY = json.dumps({"inputs": [{"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": ROW}]}).encode()
INFER = b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
LONG = b"Host: x\r\nContent-Length: 100000\r\n\r\n"
OPTIONS = PortOptions(keep_alive_seconds=60, max_header_bytes=8192, access_log=False, head_seconds=1.0)


@pytest.fixture
async def ports(tmp_path: Path) -> AsyncIterator[dict[str, int]]:
    """Where heads may take a second."""
    async with gateway(Settings(models=ROOT / "models", state=tmp_path)) as serin:
        served = {
            "lane": Port(serin.worker.app, OPTIONS, lane_of(serin.worker.v2)),
            "plain": Port(serin.worker.app, OPTIONS),
        }
        sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in served}
        for name, port in served.items():
            await port.start()
            await port.listen(sockets[name].fileno())
        yield {name: bound.getsockname()[1] for name, bound in sockets.items()}
        for name, port in served.items():
            await port.close(2.0)
            sockets[name].close()


@pytest.mark.parametrize("twin", ["lane", "plain"])
async def test_a_connection_that_is_used_lives_longer_than_a_head_may_take(ports: dict[str, int], twin: str) -> None:
    _, first = await asyncio.open_connection("127.0.0.1", ports[twin])
    first.write(INFER)  # from now on this head is known on the port
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", ports[twin])
        begin = monotonic()
        while monotonic() < begin + 4:
            writer.write(INFER)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0]))
            await asyncio.sleep(0.1)
    first.close()
    writer.close()


@pytest.mark.parametrize("line", [b"POST /v2/models/none/infer", b"GET /v2/health/live", b"POST /none"])
@pytest.mark.parametrize("twin", ["lane", "plain"])
async def test_the_rest_of_an_answered_request_is_not_waited_for_without_end(
    ports: dict[str, int], twin: str, line: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", ports[twin])
    writer.write(line + b" HTTP/1.1\r\n" + LONG)
    async with asyncio.timeout(30):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 ")
        ended = asyncio.create_task(reader.read())
        while not ended.done():
            writer.write(b" ")
            await asyncio.sleep(0.1)
    writer.close()
