"""What a shadow costs: how the rounds are summed up."""

import pytest

from loadtests.measured import Measured
from loadtests.shadow import Turn, report


def half(p99_ms: float) -> Measured:
    return Measured(10, 1.0, 1.0, p99_ms)


def test_the_median_of_the_rounds_is_what_counts() -> None:
    turns = [Turn(half(2.0), half(p99), half(2.0)) for p99 in (2.1, 9.0, 2.0)]
    assert report(turns) == 1.05


def test_a_machine_that_becomes_slower_is_not_taken_for_the_shadow(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([Turn(half(1.0), half(2.0), half(3.0))]) == 1.0
    assert "differ by a factor of 3.000" in capsys.readouterr().out
