"""Handshakes on real sockets: whatever does not come to an end leaves nothing behind, on both event loops."""

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from service.certificates import TlsFiles, read
from service.handshakes import Handshakes
from tests.e2e.authority import Authority

NONSENSE = (b"", b"GET / HTTP/1.1\r\n\r\n", bytes(300), bytes.fromhex("16030100ff010000fb0303"))


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[attr-defined]
        self.transport.close()


async def attack(directory: Path) -> tuple[int, int, list[bytes]]:
    """Open descriptors before and after, and what good clients heard meanwhile."""
    authority = Authority.new(directory)
    context = read(TlsFiles(*authority.issue("server"))).context
    bound = socket.create_server(("127.0.0.1", 0))
    address = bound.getsockname()
    handshakes = Handshakes(lambda: context, Echo)
    handshakes.seconds, handshakes.most = 0.5, 8
    listening = handshakes.listen(bound)
    heard = [await _say(address, authority)]
    await asyncio.sleep(0.2)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        held = [socket.create_connection(address) for _ in range(2 * len(NONSENSE))]
        for number, raw in enumerate(held):
            raw.sendall(NONSENSE[number % len(NONSENSE)])
        heard.append(await _say(address, authority))
        for raw in held[::2]:
            raw.close()
        await asyncio.sleep(0.05)
        for raw in held[1::2]:
            raw.close()
    await asyncio.sleep(0.8)
    after = len(os.listdir("/proc/self/fd"))
    listening.close()
    await handshakes.settle(0)
    return before, after, heard


async def _say(address: tuple[str, int], authority: Authority) -> bytes:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*address, ssl=authority.client())
        writer.write(b"hello")
        found = await reader.read()
        writer.close()
        return found


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_nonsense_and_silence_leave_no_descriptor_open(
    tmp_path: Path, run: Callable[..., tuple[int, int, list[bytes]]]
) -> None:
    before, after, heard = run(attack(tmp_path))
    assert heard == [b"hello"] * 11
    assert after <= before
