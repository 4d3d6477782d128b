"""Rounds are compared in pairs."""

from collections.abc import Callable

import pytest

from loadtests.bench import Compared, middle
from loadtests.measured import Measured
from loadtests.scenario import Scenario

SCENARIO = Scenario(name="s", sets=("short",), model="tiny", concurrency=4)


def rates(*each: int) -> tuple[Measured, ...]:
    return tuple(Measured(rate, 1.0, 1.0, 1000.0 / rate if rate else 0.0) for rate in each)


def compared(reference: tuple[Measured, ...], gateway: tuple[Measured, ...]) -> Compared:
    return Compared(SCENARIO, {"reference": reference, "serin": gateway})


@pytest.mark.parametrize(("of", "ratio"), [(Compared.ratio, 4.0), (Compared.p99_ratio, 0.25)])
def test_a_drift_that_meets_both_servers_does_not_change_the_ratio(
    of: Callable[[Compared, str], float], ratio: float
) -> None:
    assert of(compared(rates(1000, 500, 100), rates(4000, 2000, 400)), "serin") == pytest.approx(ratio)


def test_the_ratio_is_the_median_of_the_pairs() -> None:
    assert compared(rates(100, 100, 100), rates(300, 900, 400)).ratio("serin") == 4.0


def test_a_yardstick_that_answered_nothing_gives_no_ratio() -> None:
    assert compared(rates(0), rates(300)).ratio("serin") == 0.0
    assert compared(rates(0), rates(300)).yardstick == "reference"


@pytest.mark.parametrize(("each", "shown"), [((300, 100, 200), 200), ((100, 400), 100)])
def test_the_round_that_is_shown_has_the_middle_rate(each: tuple[int, ...], shown: int) -> None:
    assert middle(rates(*each)).requests == shown
