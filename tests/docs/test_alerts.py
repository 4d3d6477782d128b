"""The alert rules name what exists, say what to do, and fire when they should: see serin.rules.test.yaml."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.markdown import ROOT
from tests.docs.test_promql import known

RULES = ROOT / "examples/alerts/serin.rules.yaml"
CASES = Path(__file__).with_name("serin.rules.test.yaml")
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
NAMES = [rule["alert"] for rule in ALERTS]


@pytest.mark.parametrize("rule", ALERTS, ids=NAMES)
def test_a_rule_names_series_and_labels_that_exist(rule: dict[str, Any]) -> None:
    query = rule["expr"]
    names = set(re.findall(r"\bserin_\w+", query))
    assert names
    assert names <= set(known())
    labels = set().union(*(known()[name] for name in names))
    asked = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)\s*\"", query))
    asked |= {label.strip() for group in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", query) for label in group.split(",")}
    assert asked - {""} <= labels
    shown = {label for text in rule["annotations"].values() for label in re.findall(r"\$labels\.(\w+)", text)}
    assert shown <= labels


@pytest.mark.parametrize("rule", ALERTS, ids=NAMES)
def test_a_rule_says_how_bad_it_is_and_what_it_means(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert {"summary", "description"} == set(rule["annotations"])


def test_names_are_told_apart() -> None:
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_made_to_fire_by_some_case(name: str) -> None:
    assert re.search(rf'alertname(?:: |="){name}\b', CASES.read_text())


@pytest.mark.slow
def test_promtool_sees_each_alert_fire_and_none_when_all_is_well() -> None:
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is not installed: the alert rules were not tested")
    done = subprocess.run([promtool, "test", "rules", str(CASES)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
