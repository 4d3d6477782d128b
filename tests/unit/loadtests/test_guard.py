"""What the guard calls slower."""

import pytest

from loadtests import guard, instructions


def test_more_than_a_tenth_above_the_record_is_slower() -> None:
    recorded = {"a": 1.0, "b": 1.0, "c": 1.0}
    assert guard.slower(recorded, {"a": 1.2, "b": 1.09, "c": 0.5}) == {"a": pytest.approx(1.2)}


def test_a_new_stage_has_no_record_to_be_slower_than() -> None:
    assert guard.slower({}, {"a": 9.0}) == {}


def test_what_seems_slower_is_looked_at_again() -> None:
    looks = [{"a": 1.3, "b": 1.0}, {"a": 1.0, "b": 1.4}, {"a": 9.0, "b": 9.0}]
    assert guard.best_of(4, {"a": 1.0, "b": 1.0}, lambda: looks.pop(0)) == {"a": 1.0, "b": 1.0}
    assert len(looks) == 1


def test_a_slower_stage_stays_slower_however_often_it_is_looked_at() -> None:
    looks = [{"a": 1.3}] * 4
    assert guard.slower({"a": 1.0}, guard.best_of(4, {"a": 1.0}, lambda: looks.pop(0))) == {"a": 1.3}
    assert looks == []


def test_stages_are_compared_by_the_yardstick_of_the_same_look() -> None:
    assert guard.by_yardstick({"the yardstick": 20.0, "a": 5.0, "b": 40.0}) == {"a": 0.25, "b": 2.0}


def test_where_nothing_can_count_the_stages_are_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(instructions.shutil, "which", lambda program: None)
    monkeypatch.setattr(guard, "look_at_lane", lambda: {"lane": 1.0})
    monkeypatch.setattr(guard, "look_at_stages", lambda: {"a": 2.0})
    assert guard._measured({}) == {"time": {"lane": 1.0, "a": 2.0}}
    assert "apt-get install valgrind" in capsys.readouterr().out


def test_what_is_counted_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "look_at_lane", lambda: {"lane": 1.0})
    monkeypatch.setattr(guard, "counted_stages", lambda: {"a": 0.5})
    assert guard._measured({}) == {"time": {"lane": 1.0}, "instructions": {"a": 0.5}}
