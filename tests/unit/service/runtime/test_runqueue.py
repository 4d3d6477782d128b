"""What a thread waited for a processor, from what the kernel says."""

from pathlib import Path
from time import perf_counter_ns
from types import SimpleNamespace

import pytest

from service.runtime import runqueue
from service.runtime.runqueue import RunQueue, undisturbed_clock


def test_what_was_waited_is_counted_from_the_last_look(tmp_path: Path) -> None:
    file = tmp_path / "schedstat"
    file.write_text("500 100 3\n")
    queue = RunQueue(file)
    file.write_text("900 350 4\n")
    assert queue.waited() == 250
    assert queue.waited() == 0
    file.write_text("900 400 4\n")
    queue.look()
    file.write_text("900 401 4\n")
    assert queue.waited() == 1


def test_a_clock_that_is_not_disturbed_goes_on_without_what_was_waited(tmp_path: Path) -> None:
    file = tmp_path / "schedstat"
    file.write_text("0 100 1\n")
    clock = undisturbed_clock(RunQueue(file))
    begun = perf_counter_ns(), clock()
    file.write_text("0 1000000000000100 1\n")
    ended = clock(), perf_counter_ns()
    passed = ended[0] - begun[1] + 1_000_000_000_000_000
    assert 0 <= passed <= ended[1] - begun[0]


def test_where_the_kernel_does_not_tell_nothing_was_waited(tmp_path: Path) -> None:
    assert RunQueue(tmp_path / "none").waited() == 0
    (tmp_path / "odd").write_text("0\n")
    assert RunQueue(tmp_path / "odd").waited() == 0


def test_a_wait_in_the_middle_of_a_look_at_the_clock_makes_no_time_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a run that took 10 us before a wait of 3 ms would seem to have taken less than nothing."""
    waited, now = iter([0, 0, 0, 3_000_000, 3_000_000]), iter([100_000, 110_000, 3_111_000])
    monkeypatch.setattr(runqueue, "perf_counter_ns", now.__next__)
    clock = undisturbed_clock(SimpleNamespace(totals=lambda: (0, next(waited))))  # type: ignore[arg-type]
    begun = clock()
    assert clock() - begun == 11_000
