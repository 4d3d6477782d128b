"""Rollouts that evidence decides, with real processes, traffic and faults of a stated size."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import ROOT, Running, eventually, gateway
from tests.e2e.traffic import ONE_ROW, Ask, Traffic, failed, post

Document = dict[str, Any]
INFER = "/v2/models/digits/infer"
ENDED = ("window", "promoted", "aborted", "rolled_back", "superseded")
QUICK = {"warmup": {"seconds": "1s", "requests": 5}}


def anybody(_number: int) -> Ask:
    """A request without a key: chance assigns each by itself."""
    return post(INFER, ONE_ROW)


@contextmanager
def twins(directory: Path, *flags: str, faults: str = "") -> Iterator[Running]:
    """A gateway whose versions 1 and 2 are the same file, but for the faults."""
    models = directory / "models"
    for number in ("1", "2"):
        shutil.copytree(ROOT / "models/digits/1", models / "digits" / number)
    for name in ("model.toml", "golden.json"):
        shutil.copy(ROOT / "models/digits" / name, models / "digits")
    with gateway(directory, *flags, faults=faults) as running:
        eventually(lambda: "digits" in running.serin("route", "show", "digits"))
        yield running


def start(running: Running, **document: Any) -> None:
    file = running.state.parent / "rollout.json"
    file.write_text(json.dumps({"model": "digits", "to": 2, **document}))
    running.serin("rollout", "start", "digits", "-f", str(file))


def status(running: Running) -> Document:
    return dict(json.loads(running.serin("rollout", "status", "digits", "--json")))


def ended(running: Running, seconds: float = 90.0) -> Document:
    def there() -> Document | None:
        found = status(running)
        return found if found["phase"] in ENDED else None

    return dict(eventually(there, seconds=seconds, every=0.3))


@pytest.mark.parametrize(
    ("fault", "check", "most"),
    [("fail=0.3", "errors", 400), ("slow=0.03", "latency", 900), ("nonfinite=0.5", "outputs_valid", 400)],
)
def test_a_version_that_fails_or_is_slower_is_taken_back_within_so_many_requests(
    tmp_path: Path, fault: str, check: str, most: int
) -> None:
    with twins(tmp_path, faults=f"digits:2 {fault}") as running:
        start(running, steps=[{"weight": 20, "pause": "10m"}], analysis=QUICK)
        with Traffic(running.http, anybody, connections=8, pause=0.01) as traffic:
            found = ended(running)
            assert failed(traffic.stop()) == []
        requests = {one["role"]: one["requests"] for one in found["variants"]}
        print(found["reason"], requests, {c["name"]: c["harm"] for c in found["evidence"]["checks"]})
        assert found["phase"] == "aborted"
        assert found["reason"].startswith(f"evidence: {check}: evidence of harm")
        assert requests["candidate"] <= most
