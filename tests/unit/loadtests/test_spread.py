"""How even a spread is, and what chance alone would give."""

import pytest

from loadtests.spread import dice, fullest


def test_an_even_spread_is_one() -> None:
    assert fullest([4, 4, 4, 4]) == 1.0
    assert fullest([16, 0, 0, 0]) == 4.0


def test_one_connection_is_all_with_one_worker() -> None:
    assert dice(1, 4) == 4.0


def test_two_connections_on_two_workers_meet_half_of_the_time() -> None:
    assert dice(2, 2) == pytest.approx(1.5, abs=0.02)


def test_more_connections_spread_more_evenly() -> None:
    assert dice(16, 4) > dice(64, 4) > dice(256, 4) > 1.0
