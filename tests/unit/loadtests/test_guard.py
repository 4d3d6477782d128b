"""What the guard calls slower."""

import pytest

from loadtests import guard


def test_more_than_a_tenth_above_the_record_is_slower() -> None:
    recorded = {"a": 1.0, "b": 1.0, "c": 1.0}
    assert guard.slower(recorded, {"a": 1.2, "b": 1.09, "c": 0.5}) == {"a": pytest.approx(1.2)}


def test_a_new_stage_has_no_record_to_be_slower_than() -> None:
    assert guard.slower({}, {"a": 9.0}) == {}


def test_what_seems_slower_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [{"a": 1.3, "b": 1.0}, {"a": 1.0, "b": 1.4}, {"a": 9.0, "b": 9.0}]
    monkeypatch.setattr(guard, "look", lambda: looks.pop(0))
    assert guard.best_of(4, {"a": 1.0, "b": 1.0}) == {"a": 1.0, "b": 1.0}
    assert len(looks) == 1


def test_a_slower_stage_stays_slower_however_often_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [{"a": 1.3}] * 4
    monkeypatch.setattr(guard, "look", lambda: looks.pop(0))
    assert guard.slower({"a": 1.0}, guard.best_of(4, {"a": 1.0})) == {"a": 1.3}
    assert looks == []
