"""Deaths: whom they blame, and how long a replacement waits."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from router.aftermath import OpenSlot
from service import crashes
from service.crashes import Blame, Death, Suspect, blame, oom_kills, streak_after, wait_seconds

TWO = Suspect("digits", 2, "sha256:aa", 11)
THREE = Suspect("digits", 3, "sha256:bb", 12)


def ran(suspect: Suspect, *, alone: bool = False) -> OpenSlot:
    return OpenSlot(suspect.model, suspect.version, suspect.digest, suspect.body_hash, 0, alone)


SEGV = Death(-signal.SIGSEGV, lived_seconds=5.0, served=True)
KILLED = Death(-signal.SIGKILL, lived_seconds=5.0, served=True)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL"])
def test_a_signal_that_native_code_raises_blames_the_only_version_that_was_running(name: str) -> None:
    death = replace(SEGV, code=-getattr(signal, name))
    assert death.signal_name == name
    assert blame(death, [ran(TWO), ran(replace(TWO, body_hash=99))]).culprit == TWO


def test_several_versions_at_once_are_suspects_and_none_is_blamed() -> None:
    assert blame(SEGV, [ran(TWO), ran(THREE), ran(TWO)]) == Blame(None, (TWO, THREE))


def test_of_several_versions_the_one_on_trial_is_blamed() -> None:
    assert blame(SEGV, [ran(TWO), ran(THREE, alone=True)]) == Blame(THREE)
    assert blame(SEGV, [ran(TWO, alone=True), ran(THREE, alone=True)]) == Blame(None, (TWO, THREE))


def test_nothing_that_was_running_is_nobody_to_blame() -> None:
    assert blame(SEGV, []) == Blame()


@pytest.mark.parametrize("code", [0, 1, 86, -signal.SIGTERM, -signal.SIGKILL])
def test_exits_and_kills_from_outside_blame_nobody(code: int) -> None:
    assert blame(replace(SEGV, code=code), [ran(TWO)]) == Blame()


def test_a_kill_by_the_kernel_for_memory_blames() -> None:
    assert blame(replace(KILLED, out_of_memory=True), [ran(TWO)]).culprit == TWO


def test_a_replacement_starts_at_once_and_then_ever_later_up_to_half_a_minute() -> None:
    assert [wait_seconds(streak) for streak in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10**6)] == [
        *(0.0, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0)
    ]


def test_a_version_that_kills_again_rests_for_longer_each_time_until_it_has_behaved_for_a_minute() -> None:
    rests = crashes.Rests()
    assert [rests.died(TWO, now) for now in (0.0, 10.0, 20.0, 30.0)] == [0.0, 0.5, 1.0, 2.0]
    assert rests.died(THREE, 30.0) == 0.0
    assert rests.died(TWO, 100.0) == 0.0


def test_quick_deaths_make_a_streak_and_a_long_life_ends_it() -> None:
    streak = 0
    for _ in range(4):
        streak = streak_after(streak, Death(1, lived_seconds=0.1, served=False))
    assert streak == 4
    assert streak_after(streak, replace(SEGV, lived_seconds=61.0)) == 1


def test_a_worker_that_is_killed_from_outside_while_it_serves_is_replaced_at_once_every_time() -> None:
    assert wait_seconds(streak_after(7, KILLED)) == 0.0
    assert streak_after(7, replace(KILLED, served=False)) == 8
    assert streak_after(7, replace(KILLED, out_of_memory=True)) == 8


def test_kills_for_memory_are_counted_by_the_kernel() -> None:
    assert oom_kills("low 0\noom 3\noom_kill 2\noom_group_kill 0\n") == 2
    assert oom_kills("") == 0


def test_kills_for_memory_are_read_from_the_group_of_this_process(tmp_path: Path) -> None:
    (tmp_path / "pod").mkdir()
    (tmp_path / "pod/memory.events").write_text("oom_kill 7\n")
    (tmp_path / "self").write_text("1:name=systemd:/\n0::/pod\n")
    assert crashes.read_oom_kills(tmp_path / "self", tmp_path) == 7
    assert crashes.read_oom_kills(tmp_path / "none", tmp_path) == 0


def test_a_signal_without_a_name_is_its_number() -> None:
    assert Death(-63, 1.0, served=True).signal_name in ("63", "SIGRTMAX")
    assert Death(1, 1.0, served=True).signal_name is None


def test_the_longest_wait_can_be_shorter() -> None:
    assert [wait_seconds(streak, 1.0) for streak in (1, 2, 3, 4, 10**6)] == [0.0, 0.5, 1.0, 1.0, 1.0]
