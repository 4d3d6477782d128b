"""A small version of the tables in docs/how-to/watch-for-drift.md."""

import pytest

from loadtests import simulate_drift
from loadtests.simulate_drift import common_rules, main, serin_rule, sizes


def share(text: str) -> float:
    return float(text.rstrip("%")) / 100


@pytest.mark.slow
def test_serin_is_silent_without_drift_and_finds_half_a_standard_deviation():
    rows = {row[0]: [share(cell) for cell in row[1:]] for row in serin_rule(runs=12, seed=3, features=10)}
    for once, twice, *_ in rows.values():
        assert (once, twice) == (0.0, 0.0)
    assert rows["1,000"][5] >= 0.8
    assert rows["5,000"][5] >= 0.9
    assert rows["5,000"][2] == 0.0  # a quarter is only worth a warning


@pytest.mark.slow
def test_the_usual_rules_fire_on_small_windows_that_have_not_drifted():
    rows = {row[0]: [share(cell) for cell in row[1:]] for row in common_rules(runs=40, seed=3)}
    assert rows["200"][0] > 0.05
    assert rows["5,000"][0] == 0.0


def test_sizes_of_shifts_are_those_of_the_docs():
    found = {row[0]: [float(cell) for cell in row[1:]] for row in sizes(runs=10, seed=3)}
    assert found["+0.5 sd"] == pytest.approx([0.24, 0.21, 0.50], rel=0.1)


@pytest.mark.slow
def test_equal_inputs_are_not_told_apart_and_unequal_ones_are(monkeypatch):
    monkeypatch.setattr(simulate_drift, "LOOKS", 25)
    found = {row[0]: share(row[1]) for row in simulate_drift.equal_inputs(runs=3, seed=5)}
    assert found["equal, 5 % split"] == 0.0
    assert found["equal, 50 % split, the world drifts by 1 sd"] == 0.0
    assert found["one of 5 features +0.25 sd, 50 % split"] == 1.0
    assert found["equal, few busy callers, each request counted"] == 1.0
    assert found["equal, few busy callers, each caller counted once"] == 0.0


def test_a_table_is_printed_for_the_docs(capsys):
    main(["--runs", "1", "sizes"])
    assert capsys.readouterr().out.count("\n| +") == 3
