"""What is left of a model's own speed."""

import pytest

from loadtests.measured import Measured
from loadtests.raw import WAYS, left, report


def measured(per_second: float, core_micros: float) -> Measured:
    return Measured(round(per_second * 10), 10.0, 1.0, 2.0, {}, core_micros)


def a_round(part: float) -> dict[str, Measured]:
    own = {way.alone: measured(100, 8_000) for way in WAYS}
    return own | {way.name: measured(100 * part, 10_000) for way in WAYS}


def test_what_is_left_is_the_median_of_the_rounds_against_the_model_alone() -> None:
    parts = left([a_round(0.7), a_round(0.9), a_round(0.8)])
    assert list(parts.values()) == [pytest.approx((0.8, 0.8))] * len(WAYS)


def test_each_way_is_printed_with_its_floor(capsys: pytest.CaptureFixture[str]) -> None:
    report([a_round(0.9)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(WAYS)
    assert "90.0 of  100.0 a second: 90%, floor 85%; 80% of its core time" in lines[0]
