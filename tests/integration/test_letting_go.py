"""What a version leaves behind in a worker when it is gone: its counts, and nothing of its session."""

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import onnx
import pytest

from router.tally import Reader
from service.settings import Settings
from service.together import Together, gateway

ROOT = Path(__file__).resolve().parents[2]
ROWS = json.loads((ROOT / "models/digits/heldout.json").read_text())["inputs"]["pixels"]
MODEL, SECONDS = "digits", 30.0


@pytest.fixture
async def serin(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Together]:
    copytree(ROOT / "models/digits", tmp_path / "models/digits")
    settings = Settings(models=tmp_path / "models", state=tmp_path / "state", workers=1, scan_interval_seconds=0.1)
    settings = settings.model_copy(update={"keep_gone_seconds": getattr(request, "param", 3600)})
    async with gateway(settings) as running:
        yield running


async def ask(serin: Together, version: str = "") -> None:
    body = {"inputs": [{"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": ROWS[0]}]}
    answer = await serin.http.post(f"/v2/models/{MODEL}{version}/infer", json=body)
    assert answer.status_code == 200, answer.text


async def sessions(serin: Together, *versions: int) -> list["weakref.ref[Any]"]:
    """Of versions, as soon as they are loaded."""
    engine = serin.worker.engine
    async with asyncio.timeout(SECONDS):
        while any(engine.peek(MODEL, version) is None for version in versions):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    found = [engine.peek(MODEL, version) for version in versions]
    return [weakref.ref(loaded.session) for loaded in found if loaded is not None]


async def gone(reference: "weakref.ref[Any]") -> None:
    """Wait until it is. Raises TimeoutError."""
    async with asyncio.timeout(SECONDS):
        while reference() is not None:
            gc.collect()
            await asyncio.sleep(0.05)


async def test_a_version_that_was_asked_by_its_number_goes_with_its_session(serin: Together, tmp_path: Path) -> None:
    first, second = await sessions(serin, 1, 2)
    await ask(serin)
    await ask(serin, "/versions/2")
    rmtree(tmp_path / "models/digits/2")
    await gone(second)
    assert first() is not None
    page = (await serin.http.get("/metrics")).text
    assert 'serin_requests_total{assignment="direct",model="digits",outcome="ok",variant="2",version="2"} 1.0' in page


async def test_content_that_was_replaced_goes_before_anybody_asks_for_the_new(serin: Together, tmp_path: Path) -> None:
    (first,) = await sessions(serin, 1)
    await ask(serin)
    file, coming = tmp_path / "models/digits/1/model.onnx", tmp_path / "coming.onnx"
    model = onnx.load(file)
    model.doc_string = "the same with other words"
    onnx.save(model, coming)
    coming.replace(file)
    await gone(first)
    await ask(serin)


@pytest.mark.parametrize("serin", [0.5], indirect=True)
async def test_the_counts_of_a_version_that_is_gone_go_after_a_while(serin: Together, tmp_path: Path) -> None:
    await sessions(serin, 1, 2)
    await ask(serin)
    await ask(serin, "/versions/2")
    segment = serin.worker.recorder.segment
    before = {copy.spec.text for copy in Reader(tmp_path / "state/counters").read()}
    own = {text for text in before if '"version":"2"' in text and not text.startswith('["version"')}
    assert own & set(segment._blocks)
    rmtree(tmp_path / "models/digits/2")
    async with asyncio.timeout(SECONDS):
        while own & set(segment._blocks):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    page = (await serin.http.get("/metrics")).text
    assert 'serin_requests_total{assignment="split",model="digits",outcome="ok",variant="1",version="1"} 1.0' in page
    assert 'version="2"' not in page
