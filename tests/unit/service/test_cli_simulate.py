import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from router.trials import Setting, scenarios
from service.cli import run
from service.cli.simulate import SCENARIOS

ENDINGS = {"aborted": 0, "held": 0, "promoted": 50, "decision": 0, "expired": 0, "undecided": 0}
NONE = {"median": None, "slow": None}
ONE = {
    "scenario": "aa", "told": "nothing is wrong", "harmless": True, "runs": 50, "endings": ENDINGS, "abort_rate": 0.0,
    "at_most": 0.0582, "noticed_seconds": NONE, "exposed": NONE, "promoted_seconds": {"median": 1500.0, "slow": 3000.0},
}  # fmt: skip
ANSWER = {
    "model": "digits", "strategy": "canary", "steps": ["weight 10 %"], "seed": 1, "allowed_abort_rate": 0.01,
    "setting": {"rate": 100.0, "errors": 0.001, "latency_seconds": 0.02}, "scenarios": [ONE],
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    orders: list[dict[str, Any]] = []

    def answer(command: list[str], *, input: str, **_more: Any) -> Any:
        orders.append({"module": command[-1], **json.loads(input)})
        return subprocess.CompletedProcess(command, 0, json.dumps(ANSWER))

    monkeypatch.setattr(subprocess, "run", answer)
    return orders


def test_a_process_of_its_own_is_asked_and_a_table_shown(
    asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulate", "--rps", "20", "--after", "5m", "--runs", "50"]) == 0
    assert asked[0]["module"] == "service.simulate"
    assert (asked[0]["setting"]["rate"], asked[0]["setting"]["late_seconds"]) == (20.0, 300.0)
    assert Setting(**asked[0]["setting"]).rate == 20.0
    shown = capsys.readouterr().out
    assert "25 min (50 min)" in shown
    assert "False aborts: 0 of 50, so below 5.8 % (95 % confidence); the policy promises at most 1 %." in shown


def test_the_document_comes_from_the_file(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "rollout.yaml").write_text("model: digits\nto: 2\n")
    assert run(["simulate", "--spec", str(tmp_path / "rollout.yaml"), "--scenario", "tail"]) == 0
    assert asked[0]["document"] == {"model": "digits", "to": 2}
    assert asked[0]["scenarios"] == ["tail"]


def test_json_is_handed_on(asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == ANSWER


def test_the_scenarios_on_offer_are_those_there_are() -> None:
    assert tuple(scenario.name for scenario in scenarios(Setting())) == SCENARIOS
