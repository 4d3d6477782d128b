"""The self-check through a whole gateway in one process: real requests, counted a second time by chance."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router.selfcheck import read
from router.selfcheck_monitor import SelfCheck
from router.tally import Reader
from service.settings import Settings
from service.together import Together, gateway

ROOT = Path(__file__).resolve().parents[2]
ROWS = json.loads((ROOT / "models/digits/heldout.json").read_text())["inputs"]["pixels"]
MODEL = "digits"


@pytest.fixture
async def serin(tmp_path: Path) -> AsyncIterator[Together]:
    async with gateway(Settings(models=ROOT / "models", state=tmp_path, workers=1)) as running:
        yield running


async def ask(serin: Together, count: int, *, by_key: bool = False, version: str = "") -> None:
    for number in range(count):
        row = ROWS[number % len(ROWS)]
        body = {"inputs": [{"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": row}]}
        headers = {"Serin-Routing-Key": f"user-{number}"} if by_key else {}
        answer = await serin.http.post(f"/v2/models/{MODEL}{version}/infer", json=body, headers=headers)
        assert answer.status_code == 200, answer.text


async def test_an_eighth_of_the_split_is_compared_with_the_rest(serin: Together, tmp_path: Path) -> None:
    reader = Reader(tmp_path / "counters")
    check = SelfCheck(serin.controller, reader.read, lambda: 0)
    await ask(serin, 10)
    await check.tick()
    await ask(serin, 200)
    await ask(serin, 200, by_key=True)
    await ask(serin, 50, version="/versions/2")  # past the split: not part of it
    await check.tick()
    known = check.known[MODEL].round
    assert (known.variant, known.blocks, known.requests) == ("1:1", 1, 400)
    found = read(reader.read(), serin.controller.table.routes[MODEL])
    assert found is not None
    assert (found.whole.done, found.whole.errors) == (410, 0)
    assert 15 <= found.drawn.done <= 95  # 51 are due; 5 sd
    assert sum(found.drawn.classes) == sum(found.drawn.latency) == found.drawn.done
    told = {(sample.name, *sample.labels): sample.value for sample in check.samples()}
    assert told["serin_selfcheck_requests", MODEL] == 400


async def test_it_can_be_switched_off(tmp_path: Path) -> None:
    settings = Settings(models=ROOT / "models", state=tmp_path, workers=1, self_check=False)
    async with gateway(settings) as serin:
        await ask(serin, 20)
        check = SelfCheck(serin.controller, Reader(tmp_path / "counters").read, lambda: 0)
        await check.tick()
        assert check.known == {}
