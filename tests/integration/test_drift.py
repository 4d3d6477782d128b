"""Drift through a whole gateway in one process: real models, real rows, small windows."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from router.routes import Route, Variant
from router.split import choose
from service.settings import Settings
from service.together import Together, gateway

ROOT = Path(__file__).resolve().parents[2]
ROWS = json.loads((ROOT / "models/diabetes/heldout.json").read_text())["inputs"]["features"]
SECONDS = 60.0


@pytest.fixture
async def serin(tmp_path: Path) -> AsyncIterator[Together]:
    settings = Settings(
        models=ROOT / "models", state=tmp_path, workers=1, drift_window_requests=100, drift_window_seconds=0.2
    )
    async with gateway(settings) as running:
        yield running


async def ask(serin: Together, row: list[float | None], key: str = "") -> None:
    headers = {"Serin-Routing-Key": key} if key else {}
    data = {"inputs": [{"name": "features", "shape": [1, len(row)], "datatype": "FP32", "data": row}]}
    answer = await serin.http.post("/v2/models/diabetes/infer", json=data, headers=headers)
    assert answer.status_code == 200, answer.text


def older(row: list[float], years: float) -> list[float | None]:
    return [row[0] + years, *row[1:]]


async def known(serin: Together) -> dict[str, Any]:
    answer = await serin.admin.get("/api/v1/models/diabetes/drift")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def subject(found: dict[str, Any], name: str) -> dict[str, Any]:
    (one,) = [one for one in found["subjects"] if one["name"] == name]
    return dict(one)


async def while_asking(serin: Together, row: Callable[[int], list[float | None]], holds: Callable[[Any], bool]) -> Any:
    """Send rows until what is known of drift is as wanted."""
    async with asyncio.timeout(SECONDS):
        for number in range(10**6):
            await ask(serin, row(number))
            if number % 20 == 0 and holds(found := await known(serin)):
                return found
    raise AssertionError


async def events(serin: Together) -> list[tuple[str, list[str]]]:
    page = (await serin.admin.get("/api/v1/events", params={"model": "diabetes", "limit": 1000})).json()["events"]
    kinds = ("drift.", "data_quality.", "inputs.")
    return [(e["kind"], (e["after"] or {}).get("subjects", [])) for e in page if e["kind"].startswith(kinds)]


async def test_rows_like_the_training_data_do_not_drift_and_older_people_do(serin: Together) -> None:
    def usual(number: int) -> list[float | None]:
        return older(ROWS[number % len(ROWS)], 0.0)

    def aged(number: int) -> list[float | None]:
        return older(ROWS[number % len(ROWS)], 15.0)

    found = await while_asking(serin, usual, lambda f: bool(f["subjects"]) and subject(f, "age")["state"] == "ok")
    assert [one["name"] for one in found["subjects"] if one["drifted"]] == []
    assert subject(found, "age")["requests"] >= 100
    found = await while_asking(serin, aged, lambda f: subject(f, "age")["drifted"])
    assert subject(found, "age")["psi"] > 0.2
    assert found["inputs_drifted"] is False  # one of ten
    assert ("drift.alarm", ["input/age"]) in await events(serin)
    await while_asking(serin, usual, lambda f: not subject(f, "age")["drifted"])
    assert ("drift.cleared", ["input/age"]) in await events(serin)


async def test_ages_in_months_are_out_of_range_at_once(serin: Together) -> None:
    def months(number: int) -> list[float | None]:
        row = ROWS[number % len(ROWS)]
        return older(row, 11.0 * row[0]) if number % 2 else older(row, 0.0)

    await while_asking(serin, months, lambda f: bool(f["subjects"]) and bool(subject(f, "age")["bad_alarms"]))
    assert ("data_quality.alarm", ["input/age out_of_range"]) in await events(serin)
    page = (await serin.http.get("/metrics")).text
    assert 'serin_input_values_total{feature="age",model="diabetes",quality="out_of_range"' in page


async def split_route(serin: Together) -> Route:
    """The route once the canary has its share."""
    while True:
        found = (await serin.admin.get("/api/v1/routes/diabetes")).json()
        variants = tuple(Variant(v["name"], v["version"], v["weight_ppm"]) for v in found["variants"])
        if all(variant.weight_ppm for variant in variants) and len(variants) == 2:
            return Route("diabetes", variants, salt=found["salt"])
        await ask(serin, older(ROWS[0], 0.0))


async def test_a_canary_that_gets_other_inputs_holds_its_rollout(serin: Together) -> None:
    document = {"to": 2, "checks": [], "canary": {"weights": [50], "pause": "10m"}}
    started = await serin.admin.put("/api/v1/models/diabetes/rollout", json=document)
    assert started.status_code == 200, started.text
    async with asyncio.timeout(SECONDS):
        route = await split_route(serin)
        for number in range(10**6):
            key, row = f"user-{number}", ROWS[number % len(ROWS)]
            broken = choose(route, key.encode(), 0.0).version == 2
            await ask(serin, older(row, 40.0 if broken else 0.0), key)
            if number % 20 == 0 and any(one["differs"] for one in (await known(serin))["comparisons"]):
                break
        checks: list[dict[str, str]] = []
        while not checks:
            checks = (await serin.admin.get("/api/v1/models/diabetes/rollout")).json()["checks"]
            await ask(serin, older(ROWS[0], 0.0))
    assert [(check["name"], check["verdict"]) for check in checks] == [("inputs", "error")]
    assert "do not get the same inputs (feature age)" in checks[0]["reason"]
    assert ("inputs.differ", []) in await events(serin)
