from typing import Any

import pytest
from scipy.stats import beta

from router.errors import InvalidArgument
from router.rehearsal import Ending, Outcome
from router.spec import parse_spec
from router.trials import Setting, plays, scenarios, summary, upper_bound

SPEC = parse_spec({"model": "digits", "to": 2})


def outcome(ending: Ending, seconds: float = 10.0, exposed: int = 100) -> Outcome:
    return Outcome(ending, seconds, exposed, 1)


def test_nothing_wrong_comes_first_and_every_fault_is_in_the_candidate_alone() -> None:
    first, *faults = scenarios(Setting(errors=0.002))
    assert first.harmless
    assert first.traffic.candidate == first.traffic.stable
    assert all(fault.traffic.candidate != fault.traffic.stable == first.traffic.stable for fault in faults)
    assert [fault.name for fault in faults] == ["errors", "latency", "tail", "class", "score", "late"]
    assert faults[0].told == "errors 0.2 % -> 1 %"


def test_only_what_is_named_is_played() -> None:
    assert [scenario.name for scenario in plays(SPEC, Setting(), ("tail", "aa", "tail"))] == ["tail", "aa"]
    assert len(plays(SPEC, Setting())) == 7
    with pytest.raises(InvalidArgument, match="scenario 'fire' is none of aa, errors"):
        plays(SPEC, Setting(), ("fire",))


def test_a_summary_counts_endings_and_times_what_was_noticed() -> None:
    seen = [outcome(Ending.ABORTED, 10.0 * number, number) for number in range(1, 11)]
    told = summary([*seen, outcome(Ending.HELD, 5.0, 0), outcome(Ending.PROMOTED, 60.0), outcome(Ending.UNDECIDED)])
    assert (told.runs, told.endings[Ending.ABORTED], told.endings[Ending.PROMOTED]) == (13, 10, 1)
    assert (told.noticed_seconds.median, told.noticed_seconds.slow) == (50.0, 90.0)
    assert (told.exposed.median, told.promoted_seconds.median) == (5, 60.0)
    assert summary([outcome(Ending.UNDECIDED)]).noticed_seconds.median is None


@pytest.mark.parametrize(("hits", "n"), [(0, 50), (1, 50), (7, 20), (49, 50)])
def test_the_upper_bound_is_that_of_clopper_and_pearson(hits: int, n: int) -> None:
    assert upper_bound(hits, n) == pytest.approx(beta.ppf(0.95, hits + 1, n - hits), abs=1e-9)
    assert upper_bound(n, n) == 1.0


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 0.0}, {"errors": 0.02}, {"latency_seconds": 60.0}, {"fault_latency": 1.0}, {"fault_classes": 0.4},
     {"fault_score": 0.0}, {"late_seconds": 86_400.0}],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        Setting(**wrong)
