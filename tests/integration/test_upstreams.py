"""What other servers may do to us over real connections: redirect, hang, flood, close, or not be there at all."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from router.errors import DeadlineExceeded, FailedPrecondition, SerinError, Unavailable
from router.targets import parse_target
from router.upstreams import Upstream, Upstreams
from tests.e2e.authority import Authority
from tests.integration.local_http import Asked, Said, Site, site

OTHER = parse_target("other#digits/3")
TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
METADATA = json.dumps({"name": "digits", "inputs": [TENSOR], "outputs": [{**TENSOR, "name": "y"}]}).encode()
JSON = {"content-type": "application/json"}

Answer = Callable[[Asked], Said | Awaitable[Said]]


@asynccontextmanager
async def upstream(answer: Answer, **more: object) -> AsyncIterator[tuple[Upstreams, Site]]:
    """A server that answers so, as `other`."""
    async with site(answer) as there:
        known = replace(Upstream("other", f"{there.url}/base", "abc123", 5.0), **more)  # type: ignore[arg-type]
        upstreams = Upstreams({"other": known})
        try:
            yield upstreams, there
        finally:
            await upstreams.close()


async def test_the_address_is_that_of_the_settings_and_the_names() -> None:
    async with upstream(lambda asked: Said(200, METADATA)) as (upstreams, there):
        said = await upstreams.signature(OTHER)
        assert said["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}]
        await upstreams.post(OTHER, b"{}", JSON, 1000)

    first, second = there.asked
    assert (first.method, first.target) == ("GET", "/base/v2/models/digits/versions/3")
    assert (second.method, second.target, second.body) == ("POST", "/base/v2/models/digits/versions/3/infer", b"{}")
    assert second.headers["authorization"] == "Bearer abc123"
    assert second.headers["accept-encoding"] == "identity"


def server_context(issued: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*issued)
    return context


async def test_over_tls_an_upstream_is_who_its_ca_says_or_is_not_asked(tmp_path: Path) -> None:
    ours, others = Authority.new(tmp_path / "a", "ours"), Authority.new(tmp_path / "b", "others")
    known, wrong_host, late = (
        ours.issue("known"),
        ours.issue("elsewhere", "other.test"),
        ours.issue("late", days=-1),
    )
    for issued, ca_file, answered in (
        (known, str(ours.file), True),
        (known, str(others.file), False),
        (known, "", False),  # the public CAs do not know it
        (wrong_host, str(ours.file), False),
        (late, str(ours.file), False),
    ):
        async with site(lambda asked: Said(200, METADATA), server_context(issued)) as there:
            upstreams = Upstreams({"other": Upstream("other", there.url, "abc123", 5.0, ca_file=ca_file)})
            try:
                if answered:
                    assert (await upstreams.signature(OTHER))["inputs"]
                else:
                    assert "cannot be reached" in await upstreams.trouble(OTHER)
            finally:
                await upstreams.close()
        assert bool(there.asked) is answered  # nothing is told to a stranger, least of all the token


async def test_what_the_settings_say_holds_where_the_upstream_says_nothing() -> None:
    nothing = b'{"name": "digits", "platform": "", "inputs": [], "outputs": []}'
    declared = {"inputs": [TENSOR], "outputs": [{**TENSOR, "name": "z"}]}
    async with upstream(lambda asked: Said(200, nothing), signatures={"digits": declared}) as (upstreams, _):
        assert await upstreams.signature(OTHER) == declared
        with pytest.raises(FailedPrecondition, match=r"say it in \[upstreams.other.models.another\]"):
            await upstreams.signature(parse_target("other#another"))
    async with upstream(lambda asked: Said(200, METADATA), signatures={"digits": declared}) as (upstreams, _):
        assert (await upstreams.signature(OTHER))["outputs"][0]["name"] == "y"


async def test_a_redirect_is_an_answer_and_no_way_to_go() -> None:
    async with upstream(lambda asked: Said(307, headers={"location": "http://169.254.169.254/"})) as (upstreams, there):
        answer = await upstreams.post(OTHER, b"{}", JSON, 1000)
        with pytest.raises(Unavailable, match="answers 307"):
            await upstreams.signature(OTHER)
    assert answer.status == 307
    assert len(there.asked) == 2


async def test_one_that_hangs_costs_its_time_and_no_more() -> None:
    async with upstream(lambda asked: Said(200, delay=30), timeout_seconds=0.2) as (upstreams, _):
        with pytest.raises(DeadlineExceeded, match=r"other#digits/3 did not answer within 0.2 s"):
            await upstreams.post(OTHER, b"{}", JSON, 1000)


async def test_an_answer_above_the_limit_is_not_read_to_its_end() -> None:
    async with upstream(lambda asked: Said(200, b"x" * 100_000)) as (upstreams, _):
        with pytest.raises(Unavailable, match="answered with more than 1000 bytes"):
            await upstreams.post(OTHER, b"{}", JSON, 1000)


async def test_who_is_not_there_is_said_to_be_away() -> None:
    async with upstream(lambda asked: Said(200)) as (_, there):
        pass
    gone = Upstreams({"other": Upstream("other", there.url)})
    try:
        assert await gone.trouble(OTHER) == "other#digits/3 cannot be reached (ConnectError)"
    finally:
        await gone.close()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>", "metadata that is not V2's"),
        (b'{"inputs": 7}', "metadata that is not V2's"),
        (b'{"name": "digits", "inputs": [], "outputs": []}', "does not say what its inputs and outputs are"),
        (b'{"name": "digits"}', "does not say what its inputs and outputs are"),
    ],
)
async def test_metadata_that_says_nothing_is_refused_with_the_reason(body: bytes, message: str) -> None:
    async with upstream(lambda asked: Said(200, body)) as (upstreams, _):
        with pytest.raises(FailedPrecondition, match=message):
            await upstreams.signature(OTHER)


@pytest.mark.parametrize(
    ("body", "binary"),
    [
        (b'{"extensions": ["binary_tensor_data"]}', True),
        (b'{"extensions": []}', False),
        (b'{"extensions": "binary_tensor_data"}', False),
        (b"[]", False),
        (b"<html>", False),
    ],
)
async def test_who_does_not_list_the_binary_extension_is_spoken_to_in_json(body: bytes, binary: bool) -> None:
    async with upstream(lambda asked: Said(200, body)) as (upstreams, _):
        assert await upstreams.takes_binary(OTHER) is binary


async def test_requests_share_connections_and_there_are_no_more_than_allowed() -> None:
    together = most = 0

    async def slowly(asked: Asked) -> Said:
        nonlocal together, most
        together += 1
        most = max(most, together)
        await asyncio.sleep(0.01)
        together -= 1
        return Said(200, b"{}")

    async with upstream(slowly, max_connections=2) as (upstreams, _):
        calls = (upstreams.post(OTHER, b"{}", JSON, 1000) for _ in range(40))
        answers = await asyncio.gather(*calls)

    assert [answer.status for answer in answers] == [200] * 40
    assert most <= 6  # two, and four to spare


async def test_what_is_cancelled_gives_its_connection_back() -> None:
    arrived, waiting = asyncio.Event(), asyncio.Event()

    async def never(asked: Asked) -> Said:
        arrived.set()
        await waiting.wait()
        return Said(200, b"{}")

    async with upstream(never, max_connections=1) as (upstreams, _):
        for _ in range(10):
            call = asyncio.ensure_future(upstreams.post(OTHER, b"{}", JSON, 1000))
            await asyncio.wait_for(arrived.wait(), 10)
            arrived.clear()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        waiting.set()
        assert (await upstreams.post(OTHER, b"{}", JSON, 1000)).status == 200


async def test_an_upstream_that_nobody_named_is_no_place_to_ask() -> None:
    async with upstream(lambda asked: Said(200)) as (upstreams, there):
        with pytest.raises(SerinError, match=r"no \[upstreams.evil\]"):
            await upstreams.signature(parse_target("evil#digits"))
        with pytest.raises(SerinError, match=r"no \[upstreams.evil\]"):
            await upstreams.post(parse_target("evil#digits"), b"{}", JSON, 1000)
    assert there.asked == []
