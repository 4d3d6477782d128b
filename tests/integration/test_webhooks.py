"""Signed messages over real HTTP and TLS: who may be reached, what is followed, how long it may take."""

import asyncio
import hmac
import json
import ssl
import subprocess
from pathlib import Path

import pytest

from router.hooks import Hook, Message, Reply, Sender
from tests.integration.local_http import Asked, Said, site

SECRET = b"sixteen bytes or more"
MESSAGE = Message("rollout.step", "17", b'{"id":17}')
NOW = 1_700_000_000.9


def hook(url: str, **more: object) -> Hook:
    fields: dict[str, object] = {"allow_private": True, "timeout_seconds": 5.0, **more}
    return Hook("ops", url, SECRET, **fields)  # type: ignore[arg-type]


def sender(*addresses: str) -> Sender:
    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    return Sender(lambda: NOW, resolve)


async def test_a_message_arrives_signed_at_the_address_that_was_checked() -> None:
    async with site(lambda asked: Said(204)) as there:
        url = f"http://user.example:{there.port}/in?a=1"
        assert await sender("127.0.0.1").send(hook(url), MESSAGE) == Reply(204)
    asked = there.asked[0]
    assert (asked.method, asked.target, asked.body) == ("POST", "/in?a=1", MESSAGE.body)
    assert asked.headers["host"] == f"user.example:{there.port}"
    assert (asked.headers["serin-event"], asked.headers["serin-delivery"]) == ("rollout.step", "17")
    parts = dict(part.split("=") for part in asked.headers["serin-signature"].split(","))
    assert parts["t"] == "1700000000"
    expected = hmac.new(SECRET, parts["t"].encode() + b"." + asked.body, "sha256").hexdigest()
    assert hmac.compare_digest(parts["v1"], expected)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:127.0.0.1"])
async def test_private_addresses_are_refused_unless_allowed(address: str) -> None:
    async with site(lambda asked: Said(204)) as there:
        reply = await sender(address).send(hook(f"http://ops.example:{there.port}", allow_private=False), MESSAGE)
    assert reply.status is None
    assert "no public address" in reply.reason
    assert there.asked == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "0x7f.1", "2130706433", "127.1"])
async def test_every_way_of_writing_loopback_is_refused(host: str) -> None:
    reply = await Sender(lambda: NOW).send(hook(f"http://{host}:9/", allow_private=False), MESSAGE)
    assert reply.status is None


async def test_a_name_is_resolved_once_and_that_answer_is_connected_to() -> None:
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    asked = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    async with site(lambda asked: Said(204)) as there:
        reply = await Sender(lambda: NOW, rebinding).send(hook(f"http://ops.example:{there.port}"), MESSAGE)
    assert (reply.status, asked, len(there.asked)) == (204, ["ops.example"], 1)


async def test_a_redirect_is_not_followed() -> None:
    def answer(asked: Asked) -> Said:
        return Said(307, b"", {"location": "/elsewhere"}) if asked.target == "/" else Said(204)

    async with site(answer) as there:
        reply = await sender("127.0.0.1").send(hook(f"http://ops.example:{there.port}/"), MESSAGE)
    assert (reply.status, reply.is_taken, len(there.asked)) == (307, False, 1)


async def test_an_attempt_ends_in_time() -> None:
    async with site(lambda asked: Said(delay=30)) as there, asyncio.timeout(5):
        reply = await sender("127.0.0.1").send(hook(there.url, timeout_seconds=0.1), MESSAGE)
    assert reply == Reply(None, "no answer within 0.1 s")


async def test_the_first_line_of_a_plain_answer_is_the_reason() -> None:
    said = Said(403, b"change freeze\x1b[31m until Monday\nmore" + b"x" * 100_000, {"content-type": "text/plain"})
    async with site(lambda asked: said) as there:
        reply = await sender("127.0.0.1").send(hook(there.url), MESSAGE)
    assert reply == Reply(403, "change freeze [31m until Monday")


async def test_a_hook_that_is_away_says_so_without_its_url() -> None:
    async with site(lambda asked: Said()) as there:
        pass
    reply = await sender("127.0.0.1").send(hook(there.url), MESSAGE)
    assert reply == Reply(None, "cannot be reached (ConnectError)")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "both.pem"
    cert = tmp_path / "cert.pem"
    asked = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ops.example -addext subjectAltName=DNS:ops.example"
    command = ["openssl", *asked.split(), "-keyout", str(path), "-out", str(cert)]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        pytest.skip("openssl is not installed: hooks over TLS were not tried")
    path.write_bytes(path.read_bytes() + cert.read_bytes())
    return path


async def test_over_tls_the_certificate_is_checked_for_the_name_and_not_the_address(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    told = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 X\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    trusting = {"ca_file": str(certificate)}
    good = await sender("127.0.0.1").send(hook(f"https://ops.example:{port}", **trusting), MESSAGE)
    other = await sender("127.0.0.1").send(hook(f"https://other.example:{port}", **trusting), MESSAGE)
    unknown = await sender("127.0.0.1").send(hook(f"https://ops.example:{port}"), MESSAGE)
    server.close()
    assert (good, other.status, unknown.status) == (Reply(204), None, None)
    assert len(told) == 1
    assert json.loads(MESSAGE.body) == {"id": 17}
