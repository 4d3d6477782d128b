"""Scenario files: read strictly, found by set or name."""

from pathlib import Path

import pytest

from loadtests.scenario import BadScenario, of_set
from loadtests.subjects import MADE, SAMPLES

GOOD = 'sets = ["short"]\nmodel = "tiny"\nconcurrency = 64\n'


def folder_with(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        (tmp_path / f"{name}.toml").write_text(text)
    return tmp_path


def test_a_set_is_run_by_workers_then_by_file_name(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, c=GOOD, a=GOOD + "workers = 2\n", b=GOOD)
    assert [scenario.name for scenario in of_set("short", folder)] == ["b", "c", "a"]


def test_one_scenario_can_be_named(tmp_path: Path) -> None:
    assert [scenario.name for scenario in of_set("b", folder_with(tmp_path, a=GOOD, b=GOOD))] == ["b"]


@pytest.mark.parametrize(
    "text",
    [
        GOOD + 'versus = "alone"\n',
        GOOD + 'versus = "plain"\n',
        GOOD + 'rollout = ["--to", "2"]\n',
        GOOD + 'versus = "one-worker"\nbeside = ["async"]\n',
        GOOD + "colour = 1\n",
        GOOD.replace("64", "0"),
        GOOD + 'encoding = "xml"\n',
        'model = "tiny"\n',
        "not toml",
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadScenario, match=r"wrong\.toml"):
        of_set("short", folder_with(tmp_path, wrong=text))


def test_an_unknown_set_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadScenario, match="sets: short"):
        of_set("long", folder_with(tmp_path, a=GOOD))


@pytest.mark.parametrize(
    "scenario", of_set("short") + of_set("long") + of_set("peers"), ids=lambda scenario: str(scenario.name)
)
def test_the_scenarios_of_this_checkout_name_models_that_exist(scenario: object) -> None:
    model = getattr(scenario, "model")  # noqa: B009
    assert model in MADE or (SAMPLES / model).is_dir()
