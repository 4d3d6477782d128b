"""Numbers from elsewhere, over real HTTP: Prometheus' API and JSON, and everything that can be wrong with them."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from router.figures import Measurement
from router.sources import Source, Sources, Subject
from router.verdict import VerdictKind
from service.settings import Settings
from service.together import Together, gateway
from tests.integration.local_http import Answer, Said, Site, site

MODELS = Path(__file__).resolve().parents[2] / "models"
STABLE, CANARY = Subject("digits", 1, "1"), Subject("digits", 2, "canary", 89.6)
ROW = {"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": [0.0] * 64}]}
NO_DATA, ERROR = VerdictKind.NO_DATA, VerdictKind.ERROR


def vector(*values: str) -> Said:
    result = [{"metric": {"n": str(n)}, "value": [1_700_000_000.0, value]} for n, value in enumerate(values)]
    return prometheus({"resultType": "vector", "result": result})


def prometheus(data: object) -> Said:
    return Said(200, json.dumps({"status": "success", "data": data}).encode())


@asynccontextmanager
async def asking(
    answer: Answer, kind: str = "prometheus", path: str = "", **more: object
) -> AsyncIterator[tuple[Sources, Site]]:
    async with site(answer) as found:
        sources = Sources({"there": Source("there", kind, found.url + path, **more)})  # type: ignore[arg-type]
        try:
            yield sources, found
        finally:
            await sources.close()


async def test_an_instant_query_gives_one_number_for_one_arm() -> None:
    async with asking(lambda asked: vector("0.25"), token="let-me-in") as (sources, there):
        query = 'rate(x{model="{{model}}", version="{{ version }}", variant="{{variant}}"}[{{window}}])'
        assert await sources.ask("there", query, CANARY) == Measurement(0.25)
    asked = there.asked[0]
    assert (asked.method, asked.target) == ("POST", "/api/v1/query")
    assert parse_qs(asked.body.decode())["query"] == ['rate(x{model="digits", version="2", variant="canary"}[90s])']
    assert asked.headers["authorization"] == "Bearer let-me-in"


@pytest.mark.parametrize(
    ("said", "kind", "reason"),
    [
        (vector(), NO_DATA, "there has no series for the query"),
        (vector("NaN"), NO_DATA, "NaN"),
        (vector("1", "2"), ERROR, "gives 2 series"),
        (prometheus({"resultType": "matrix", "result": []}), ERROR, "gives a matrix"),
        (prometheus(None), ERROR, "gives a None"),
        (prometheus({"resultType": "vector", "result": [{}]}), NO_DATA, "null"),
        (Said(400, b'{"status": "error", "error": "parse\\nerror"}'), ERROR, "answered 400: parse error"),
        (Said(502, b"<html>"), ERROR, "answered 502, and no JSON"),
        (Said(302, b"", {"location": "http://169.254.169.254/"}), ERROR, "answered 302"),
        (Said(200, b"[" * 100_000), ERROR, "no JSON"),
        (Said(200, b"x" * 2_000_000), ERROR, "larger than"),
    ],
)
async def test_anything_but_one_number_is_no_data_or_an_error(said: Said, kind: VerdictKind, reason: str) -> None:
    async with asking(lambda asked: said) as (sources, there):
        found = await sources.ask("there", "up", CANARY)
    assert (found.value, found.kind) == (None, kind)
    assert reason in found.reason
    assert len(there.asked) == 1


async def test_a_scalar_is_a_number_too() -> None:
    async with asking(lambda asked: prometheus({"resultType": "scalar", "result": [1, "3.5"]})) as (sources, _):
        assert await sources.ask("there", "scalar(up)", CANARY) == Measurement(3.5)


async def test_infinity_is_handed_on_for_the_threshold_to_refuse() -> None:
    async with asking(lambda asked: vector("+Inf")) as (sources, _):
        assert (await sources.ask("there", "1/0", CANARY)).value == float("inf")


async def test_a_source_that_does_not_answer_is_an_error_in_time() -> None:
    async with asking(lambda asked: Said(delay=30), timeout_seconds=0.1) as (sources, _):
        async with asyncio.timeout(5):
            found = await sources.ask("there", "up", CANARY)
    assert (found.kind, found.reason) == (ERROR, "there did not answer within 0.1 s")


async def test_a_source_that_is_away_is_an_error() -> None:
    async with asking(lambda asked: vector("1")) as (_, there):
        pass
    gone = Sources({"there": Source("there", "prometheus", there.url)})
    found = await gone.ask("there", "up", CANARY)
    await gone.close()
    assert (found.kind, found.reason) == (ERROR, "there is away (ConnectError)")
    assert there.url not in found.reason


async def test_a_json_source_is_one_url_and_a_path() -> None:
    body = json.dumps({"data": [{"accuracy": 0.875}]}).encode()
    path = "/q/{{model}}/{{variant}}?v={{version}}"
    async with asking(lambda asked: Said(200, body), "json", path) as (sources, there):
        assert await sources.ask("there", "data[0].accuracy", Subject("di gits", 2, "a&b")) == Measurement(0.875)
        assert (await sources.ask("there", "data[1].accuracy", CANARY)).kind is NO_DATA
        assert (await sources.ask("there", "data[0].precision", CANARY)).kind is ERROR
    assert (there.asked[0].method, there.asked[0].target) == ("GET", "/q/di%20gits/a%26b?v=2")


async def test_a_json_source_that_fails_is_an_error_whatever_it_says() -> None:
    async with asking(lambda asked: Said(500, b'{"x": 1}'), "json") as (sources, _):
        found = await sources.ask("there", "x", CANARY)
    assert (found.kind, found.reason) == (ERROR, "there answered 500")


@pytest.mark.parametrize(
    ("name", "query", "compares", "why"),
    [
        ("nobody", "up", False, "the settings have no [sources.nobody]; there are: json, prom"),
        ("prom", "up{{{city}}}", False, "there is no {{city}}"),
        ("prom", "up", True, "must contain {{version}} or {{variant}}"),
        ("prom", 'up{version="{{version}}"}', True, None),
        ("json", "a..b", False, "not a path"),
        ("json", "a.b", True, "the url of [sources.json]"),
        ("json", "a.b", False, None),
    ],
)
def test_what_cannot_be_asked_is_refused_before(name: str, query: str, compares: bool, why: str | None) -> None:
    sources = Sources({"prom": Source("prom", "prometheus", "http://p"), "json": Source("json", "json", "http://j")})
    found = sources.refuses(name, query, compares)
    assert found is None if why is None else why in (found or "")


def test_a_source_shows_neither_url_nor_token() -> None:
    assert repr(Source("prom", "prometheus", "http://p", token="let-me-in")) == "Source('prom', 'prometheus')"


@pytest.mark.slow
async def test_a_real_prometheus_that_scrapes_a_real_gateway_answers(tmp_path: Path) -> None:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed: its real answers were not read")
    shutil.copytree(MODELS / "digits", tmp_path / "models" / "digits")
    settings = Settings(models=tmp_path / "models", state=tmp_path / "state", workers=1)
    async with gateway(settings) as serin, site(lambda asked: _page(serin)) as scraped:
        for _ in range(20):
            answer = await serin.http.post("/v2/models/digits/infer", json=ROW)
            assert answer.status_code == 200
        async with _prometheus(program, tmp_path, scraped) as sources:
            of_version = 'serin_requests_total{model="{{model}}", version="{{version}}"'
            share = f'sum({of_version}, outcome="ok"}}) / sum({of_version}}})'
            found = await sources.ask("prom", share, STABLE)
            for _ in range(150):  # it starts, then it scrapes
                if found.value is not None:
                    break
                await asyncio.sleep(0.2)
                found = await sources.ask("prom", share, STABLE)
            assert found.value == pytest.approx(1.0)
            assert (await sources.ask("prom", share, CANARY)).kind is NO_DATA
            assert "it must give one" in (await sources.ask("prom", "serin_route_weight_ratio or up", STABLE)).reason
            assert "parse error" in (await sources.ask("prom", "sum(", CANARY)).reason
            assert (await sources.ask("prom", "0/0 * vector(1)", CANARY)).kind is NO_DATA


async def _page(serin: Together) -> Said:
    page = await serin.http.get("/metrics")
    return Said(200, page.content, {"content-type": page.headers["content-type"]})


@asynccontextmanager
async def _prometheus(program: str, directory: Path, scraped: Site) -> AsyncIterator[Sources]:
    config, port = directory / "prometheus.yml", await _free_port()
    config.write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: serin\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{scraped.port}']}}]\n"
    )
    places = (f"--storage.tsdb.path={directory}/data", f"--web.listen-address=127.0.0.1:{port}")
    process = await asyncio.create_subprocess_exec(
        program, f"--config.file={config}", *places, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    sources = Sources({"prom": Source("prom", "prometheus", f"http://127.0.0.1:{port}")})
    try:
        yield sources
    finally:
        await sources.close()
        process.terminate()
        await process.wait()


async def _free_port() -> int:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port
