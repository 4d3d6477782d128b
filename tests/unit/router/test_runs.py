"""Runs by their rows: two cells a run, summed over workers."""

from pathlib import Path

from router.counters import Segment
from router.runs import MOST_ROWS, Runs, run_counter, runs_of
from router.tally import read_all


def test_runs_are_told_by_their_rows_with_their_time(tmp_path: Path) -> None:
    segment = Segment.open(tmp_path, 0)
    count = run_counter(segment, "digits", 2)
    count(1, 100, 7)
    count(1, 50, 8)
    count(0, 5, 9)
    count(MOST_ROWS, 1000, 10)
    found = runs_of(read_all(tmp_path))["digits", 2]
    assert found == Runs(4, 2 + MOST_ROWS, ((0, 1, 5), (1, 2, 150), (MOST_ROWS, 1, 1000)), 10)
    segment.close()


def test_what_is_larger_than_a_cell_can_say_is_counted_in_the_sums_alone(tmp_path: Path) -> None:
    segment = Segment.open(tmp_path, 0)
    run_counter(segment, "digits", 2)(MOST_ROWS + 1, 10, 3)
    assert runs_of(read_all(tmp_path))["digits", 2] == Runs(1, MOST_ROWS + 1, (), 3)
    segment.close()


def test_workers_are_added_up_and_the_latest_run_counts(tmp_path: Path) -> None:
    segments = [Segment.open(tmp_path, slot) for slot in range(2)]
    for slot, segment in enumerate(segments):
        run_counter(segment, "digits", 1)(3, 10, 100 - slot)
    assert runs_of(read_all(tmp_path)) == {("digits", 1): Runs(2, 6, ((3, 2, 20),), 100)}
    for segment in segments:
        segment.close()


def test_a_replacement_goes_on_counting(tmp_path: Path) -> None:
    for _ in range(2):
        segment = Segment.open(tmp_path, 0)
        run_counter(segment, "digits", 1)(1, 10, 5)
        segment.close()
    assert runs_of(read_all(tmp_path))["digits", 1].executions == 2
