"""Rounds are compared in pairs."""

import pytest

from loadtests.bench import Compared, gateway_requests, middle, reference_requests
from loadtests.measured import Measured
from loadtests.scenario import Scenario

SCENARIO = Scenario(name="s", sets=("short",), model="tiny", concurrency=4)


def rates(*each: int) -> tuple[Measured, ...]:
    return tuple(Measured(rate, 1.0, 1.0, 2.0) for rate in each)


def test_a_drift_that_meets_both_servers_does_not_change_the_ratio() -> None:
    drifting = Compared(SCENARIO, reference=rates(1000, 500, 100), gateway=rates(4000, 2000, 400))
    assert drifting.ratio == 4.0


def test_the_ratio_is_the_median_of_the_pairs() -> None:
    assert Compared(SCENARIO, rates(100, 100, 100), rates(300, 900, 400)).ratio == 4.0


def test_a_reference_that_answered_nothing_gives_no_ratio() -> None:
    assert Compared(SCENARIO, rates(0), rates(300)).ratio == 0.0


@pytest.mark.parametrize(("each", "shown"), [((300, 100, 200), 200), ((100, 400), 100)])
def test_the_round_that_is_shown_has_the_middle_rate(each: tuple[int, ...], shown: int) -> None:
    assert middle(rates(*each)).requests == shown


def test_the_reference_gets_the_same_rows_as_json_without_key_and_version() -> None:
    asked = Scenario(name="s", sets=(), model="diabetes", version="2", concurrency=1, encoding="binary", keys=40)
    assert len(gateway_requests(asked)) == 40
    assert all(b"Serin-Routing-Key" in request and b"/versions/2/" in request for request in gateway_requests(asked))
    assert not any(b"Serin-" in request or b"versions" in request for request in reference_requests(asked))
