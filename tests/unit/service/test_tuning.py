"""What is tried, what is best, and how it gets into a model.toml without touching anything else there."""

import tomllib

import pytest

from router.errors import FailedPrecondition
from service.tuning import Outcome, Setup, best, better, grid, with_tables

WRITTEN = """description = "x"   # what it is

[execution]  # how it runs
mode = "auto"                # inline when it is measured
max_queue = 64

[golden]
file = "golden.json"
"""


def outcome(per_second: float, p99_ms: float, *, workers: int = 1, failed: int = 0) -> Outcome:
    return Outcome(Setup(workers, 1, 8), per_second, p99_ms / 2, p99_ms, failed)


@pytest.mark.parametrize(
    ("cores", "shapes"),
    [(1, {(1, 1)}), (2, {(1, 1), (1, 2), (2, 1)}), (4, {(1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (4, 1)})],
)
def test_workers_times_threads_is_never_more_than_the_cores(cores: int, shapes: set[tuple[int, int]]) -> None:
    assert {(setup.workers, setup.threads) for setup in grid(cores)} == shapes


def test_every_batch_is_tried_in_every_mode() -> None:
    assert {(one.batch, one.mode) for one in grid(1, batches=(1, 8))} == {
        (1, "auto"),
        (1, "thread"),
        (8, "auto"),
        (8, "thread"),
    }


def test_the_quickest_is_best() -> None:
    slow, quick = outcome(100, 1.0), outcome(200, 9.0)
    assert best([slow, quick]) is quick


def test_of_equally_quick_ones_the_shorter_wait_is_best() -> None:
    quick, shorter = outcome(200, 9.0), outcome(195, 3.0)
    assert best([quick, shorter]) is shorter


def test_of_equals_the_one_with_fewer_processes_is_best() -> None:
    two, one = outcome(200, 3.0, workers=2), outcome(199, 3.0)
    assert best([two, one]) is one


def test_a_limit_on_the_wait_goes_before_throughput() -> None:
    kept = outcome(100, 5.0)
    assert best([outcome(200, 9.0), kept], p99_ms=5.0) is kept
    assert best([outcome(200, 9.0)], p99_ms=5.0) is None


def test_a_setup_that_failed_a_request_is_never_best() -> None:
    assert best([outcome(100, 1.0, failed=1)]) is None


def test_of_two_tries_the_quicker_one_counts() -> None:
    slow, quick = outcome(100, 9.0), outcome(200, 3.0)
    assert better(None, slow) is slow
    assert better(slow, quick) is quick
    assert better(quick, slow) is quick


def test_keys_are_replaced_or_added_and_all_else_stays_comments_too() -> None:
    changed = with_tables(WRITTEN, {"execution": {"mode": "thread", "max_batch_rows": 32}})
    assert changed == WRITTEN.replace('"auto"  ', '"thread"').replace("= 64\n", "= 64\nmax_batch_rows = 32\n")


@pytest.mark.parametrize("text", ["", "x = 1", "x = 1\n", "[golden]\nfile = 'a'\n"])
def test_a_table_that_is_missing_is_added_at_the_end(text: str) -> None:
    changed = with_tables(text, {"execution": {"mode": "thread"}})
    assert changed.startswith(text)
    assert tomllib.loads(changed) == {**tomllib.loads(text), "execution": {"mode": "thread"}}


def test_writing_the_same_again_changes_nothing() -> None:
    values = {"mode": "thread", "max_batch_rows": 32}
    once = with_tables(WRITTEN, {"execution": values})
    assert with_tables(once, {"execution": values}) == once


@pytest.mark.parametrize("text", ['execution = { mode = "auto" }\n', 'execution.mode = "auto"\n'])
def test_a_table_that_is_written_otherwise_is_left_alone(text: str) -> None:
    with pytest.raises(FailedPrecondition, match=r'write there yourself: mode = "thread"'):
        with_tables(text, {"execution": {"mode": "thread"}})


def test_a_setup_writes_how_it_batches_and_how_many_threads_it_runs_on() -> None:
    changed = with_tables(WRITTEN, Setup(2, 4, 32, "thread").tables)
    assert tomllib.loads(changed) == {
        **tomllib.loads(WRITTEN),
        "execution": {"mode": "thread", "max_queue": 64, "max_batch_rows": 32},
        "runtime": {"threads": 4},
    }
