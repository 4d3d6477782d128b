"""What the tour shows of a rollout."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from loadtests.tour.screen import Screen
from loadtests.tour.show import Show, check_of, evidence_line, evidence_table, until
from loadtests.tour.steps import DOCUMENT
from router.policy import Metric
from router.spec import parse_spec
from router.spec_text import read_document

ARMS = {"candidate": {"requests": 65, "marked": 12}, "stable": {"requests": 535, "marked": 9}}


def check(name: str, verdict: str, required: bool = True) -> dict[str, Any]:
    return {
        "name": name, "verdict": verdict, "required": required, "requests": {"candidate": 65, "stable": 535},
        "harm": {"odds": "370 : 1", "needed": "100 : 1", "log_e": 5.9},
        "safe": {"odds": "4.1 : 1", "needed": "20 : 1", "log_e": 1.4}, "estimates": [ARMS],
    }  # fmt: skip


def seen(phase: str = "progressing", percent: int = 10, *checks: dict[str, Any]) -> dict[str, Any]:
    variants = [{"role": "stable", "recorded_ppm": 0}, {"role": "candidate", "recorded_ppm": percent * 10_000}]
    return {"phase": phase, "to": [{"version": 3}], "variants": variants, "evidence": {"checks": list(checks)}}


@pytest.fixture
def show() -> Show:
    return Show(Screen(Console(file=StringIO(), width=120, highlight=False)))


def written(show: Show) -> str:
    file = show.screen.console.file
    assert isinstance(file, StringIO)
    return file.getvalue()


def test_a_line_tells_what_is_safe_and_what_harms() -> None:
    told = evidence_line(seen("aborted", 0, check("reward", "fail"), check("errors", "inconclusive")))
    assert told == "failed: safe 4.1 : 1, wrong, by label: harm 370 : 1"
    assert evidence_line(seen()) == "nothing is known yet"


def test_a_table_has_a_row_for_each_check_that_is_told_of(show: Show) -> None:
    show.screen.show(evidence_table("", seen("aborted", 0, check("reward", "fail"), check("labels_more", "pass"))))
    [row] = [line for line in written(show).splitlines() if "by label" in line]
    assert " ".join(row.split()) == "wrong, by label 12 of 65 9 of 535 370 : 1 4.1 : 1 ✗"


def test_the_weights_are_kept_and_a_move_is_a_line_of_its_own(show: Show) -> None:
    for found in (seen("pending", 0), seen(), seen(), seen("progressing", 50)):
        show.update(found)
    assert show.weights == [10.0, 50.0]
    assert written(show).count("version 3 at 10 %") == 1


def test_it_is_looked_at_until_it_holds_or_the_time_is_up(show: Show) -> None:
    assert until(lambda: seen("aborted"), lambda found: found["phase"] == "aborted", show, 10.0)["phase"] == "aborted"
    with pytest.raises(TimeoutError, match="after 0 s the rollout is progressing"):
        until(lambda: {**seen(), "reason": ""}, lambda found: False, show, 0.0)


def test_a_check_that_is_not_there_is_empty() -> None:
    assert check_of(seen(), "reward") == {}


@pytest.mark.parametrize("to", [2, 3])
def test_the_documents_are_judged_by_labels(to: int) -> None:
    spec = parse_spec(read_document(DOCUMENT.format(to=to).encode()))
    assert spec.analysis is not None
    assert any(rule.metric is Metric.REWARD and rule.required for rule in spec.analysis.rules)
