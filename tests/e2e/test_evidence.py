"""Rollouts that evidence decides, with real processes, traffic and faults of a stated size."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from router.client import AdminClient
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
def twins(directory: Path, *flags: str, faults: str = "", models: Sequence[str] = ("digits",)) -> Iterator[Running]:
    """A gateway whose versions 1 and 2 are the same file, but for the faults."""
    for model in models:
        there = directory / "models" / model
        for number in ("1", "2"):
            shutil.copytree(ROOT / "models/digits/1", there / number)
        shutil.copy(ROOT / "models/digits/model.toml", there)
        rows = json.loads((ROOT / "models/digits/golden.json").read_text())
        cases = [{**case, "outputs": {"*": case["outputs"]["1"]}} for case in rows["cases"]]
        (there / "golden.json").write_text(json.dumps({"cases": cases}))
    with gateway(directory, *flags, faults=faults) as running:
        for model in models:
            eventually(lambda model=model: model in running.serin("route", "show", model))
        yield running


def start(running: Running, **document: Any) -> None:
    file = running.state.parent / "rollout.json"
    budget = {"fallback": {"budget": 100}}  # else a worker may stop choosing the candidate before evidence speaks
    file.write_text(json.dumps({"model": "digits", "to": 2, **budget, **document}))
    running.serin("rollout", "start", "digits", "-f", str(file))


def status(running: Running) -> Document:
    return dict(json.loads(running.serin("rollout", "status", "digits", "--json")))


def ended(running: Running, seconds: float = 90.0) -> Document:
    def there() -> Document | None:
        found = status(running)
        return found if found["phase"] in ENDED else None

    return dict(eventually(there, seconds=seconds, every=0.3))


EASY = {"metrics": {"latency": {"quantiles": [0.5], "safe": {"increase": 1.0}}}}
"""What two equal versions show within seconds."""


def requests(found: Document) -> dict[str, int]:
    return {one["role"]: one["requests"] for one in found["variants"]}


def test_a_baseline_is_stable_beside_itself_while_the_share_is_small_and_latency_is_compared_with_it(
    tmp_path: Path,
) -> None:
    with twins(tmp_path, faults="digits:2 slow=0.03") as running:
        start(running, steps=[{"weight": 20, "pause": "10m"}], analysis={**QUICK, "baseline": True})
        told = eventually(lambda: "baseline" in running.serin("route", "show", "digits") and status(running))
        shares = {one["role"]: (one["version"], one["desired"]) for one in told["variants"]}
        assert shares == {"stable": (1, 60), "baseline": (1, 20), "candidate": (2, 20)}
        with Traffic(running.http, anybody, connections=8, pause=0.01) as traffic:
            found = ended(running)
            assert failed(traffic.stop()) == []
        assert (found["phase"], found["reason"].split(": evidence of")[0]) == ("aborted", "evidence: latency")
        assert "baseline" not in running.serin("route", "show", "digits")
        again = json.loads(running.serin("rollout", "replay", "digits", "--json"))
        assert again["differs"] == ""


@pytest.mark.parametrize(
    ("fault", "check", "most"),
    [("fail=0.3", "errors", 600), ("slow=0.03", "latency", 900), ("nonfinite=0.5", "outputs_valid", 600)],
)
def test_a_version_that_fails_or_is_slower_is_taken_back_within_so_many_requests_and_the_log_says_why(
    tmp_path: Path, fault: str, check: str, most: int
) -> None:
    with twins(tmp_path, faults=f"digits:2 {fault}") as running:
        start(running, steps=[{"weight": 20, "pause": "10m"}], analysis=QUICK)
        with Traffic(running.http, anybody, connections=8, pause=0.01) as traffic:
            found = ended(running)
            assert failed(traffic.stop()) == []
        assert found["phase"] == "aborted"
        assert found["reason"].startswith(f"evidence: {check}: evidence of harm")
        assert requests(found)["candidate"] <= most
        told = running.serin("rollout", "explain", "digits")
        assert "Evidence of harm is" in told
        assert "requests of the candidate" in told
        again = json.loads(running.serin("rollout", "replay", "digits", "--json"))
        assert (again["differs"], again["kind"]) == ("", "fail")
        assert again["reason"] in found["reason"]
        event = json.loads(running.serin("rollout", "history", "digits", "--json"))[-2]
        assert event["kind"] == "rollout.aborting"
        assert event["after"]["evidence"]["analysis"]["check"] == check


def test_an_equal_version_is_promoted_by_evidence_while_the_controller_is_killed_in_the_middle(tmp_path: Path) -> None:
    steps = [{"weight": 30, "pause": "3s"}, {"weight": 60, "pause": "3s"}]
    with twins(tmp_path) as running:
        start(running, steps=steps, analysis={**QUICK, **EASY})
        with Traffic(running.http, anybody, connections=8, pause=0.005) as traffic:
            before = eventually(lambda: (status(running)["evidence"] or {}).get("blocks", 0) > 3, seconds=60)
            assert before
            os.kill(running.child("service.control"), signal.SIGKILL)
            found = ended(running, 120)
            assert failed(traffic.stop()) == []
        assert found["phase"] == "window"
        assert "the same again" in running.serin("rollout", "replay", "digits")
        events = json.loads(running.serin("rollout", "history", "digits", "--json"))
        assert [event["after"]["step"] for event in events if event["kind"] == "rollout.step"] == [1, 2]


def test_what_was_promoted_is_rolled_back_when_it_does_not_keep_its_limits(tmp_path: Path) -> None:
    watch = {"errors": 0.05}
    with twins(tmp_path, faults="digits:2 fail=0.4") as running:
        start(running, steps=[{"weight": 10, "checks": False}], analysis={**QUICK, "watch": watch})
        with Traffic(running.http, anybody, connections=4, pause=0.01) as traffic:
            eventually(lambda: status(running)["phase"] == "rolled_back", seconds=60)
            traffic.stop()
        found = status(running)
        assert found["reason"] == "errors: the limit is not kept any more"
        assert "the same again: fail - the limit is not kept any more" in running.serin("rollout", "replay", "digits")


def test_mirrored_requests_fill_the_sample_of_a_quiet_service_and_are_told_apart(tmp_path: Path) -> None:
    analysis = {"warmup": {"seconds": 0, "requests": 0}, "low_traffic": 100}
    with twins(tmp_path, faults="digits:2 fail=0.5") as running:
        start(running, steps=[{"weight": 0.1, "pause": "10m"}], analysis=analysis)
        with Traffic(running.http, anybody, connections=2, pause=0.1):
            found = ended(running)
        assert found["phase"] == "aborted"
        mirrored = found["evidence"]["mirrored"]
        assert mirrored["failed"] > 5
        assert requests(found)["candidate"] < mirrored["requests"]
        assert "were only mirrored" in running.serin("rollout", "explain", "digits")


def test_golden_rows_let_a_service_without_traffic_go_on_and_are_told_apart(tmp_path: Path) -> None:
    analysis = {"warmup": {"seconds": 0, "requests": 0}, "golden": 100}
    with twins(tmp_path) as running:
        start(running, steps=[{"weight": 50, "pause": "1s"}], analysis=analysis)
        found = ended(running, seconds=240.0)
        assert found["phase"] in ("window", "promoted")
        page = httpx.get(f"{running.http}/metrics").text
        assert found["variants"][1]["requests"] == 0
        counted = [line for line in page.splitlines() if line.startswith("serin_golden_runs_total")]
        assert any('version="2"' in line and 'outcome="ok"' in line for line in counted)


MODELS, ROUNDS, SECONDS = 8, 5, 20.0


@pytest.mark.slow
def test_of_forty_rollouts_of_equal_versions_at_most_one_is_taken_back(tmp_path: Path) -> None:
    """At alpha 1 % none is expected; two or more would come with a probability of 6 % even if all of it were used."""
    names = [f"twin-{number}" for number in range(MODELS)]
    asks = [post(f"/v2/models/{name}/infer", ONE_ROW) for name in names]
    taken_back: list[str] = []
    with twins(tmp_path, models=names) as running:
        client = AdminClient.at(running.admin, "test")
        for _ in range(ROUNDS):
            for name in names:
                steps = [{"weight": 10, "pause": "4s", "checks": False}, {"weight": 50, "pause": "1h"}]
                client.start_rollout(name, {"to": 2, "steps": steps, "analysis": QUICK})
            with Traffic(running.http, lambda number: asks[number % MODELS], connections=8, pause=0.002) as traffic:
                time.sleep(SECONDS)
                answers = traffic.stop()
            assert len(answers) > 1_000
            for name in names:
                found = client.rollout(name)
                assert found["evidence"]["blocks"] > 3
                if found["phase"] in ENDED:
                    taken_back.append(found["reason"])
                else:
                    client.move_rollout(name, "abort")
    assert len(taken_back) <= 1, taken_back
