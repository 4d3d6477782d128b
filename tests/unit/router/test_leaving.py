"""What is counted of versions that are gone: shown for a while, whole or not at all; then its room is taken back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from router.counters import CHUNK_BYTES, Segment
from router.layout import BlockSpec
from router.leaving import INPUTS, Keep, gone
from router.tally import Reader, gone_by, total
from router.telemetry import Recorder

KEEP, SMALL = 100, 64 * 1024
LATER = KEEP + 1


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worker(tmp_path: Path, clock: Clock) -> Callable[..., Recorder]:
    def begin(slot: int = 0, chunk_bytes: int = CHUNK_BYTES) -> Recorder:
        return Recorder(Segment.open(tmp_path, slot, chunk_bytes=chunk_bytes, keep=Keep(KEEP, clock)))

    return begin


def spec_of(version: int, kind: str = "k", cells: int = 200) -> BlockSpec:
    return BlockSpec(kind, {"model": "m", "version": str(version)}, (("n", cells),))


def hold(recorder: Recorder, version: int, requests: int = 0) -> Any:
    """Load a version and count requests."""
    gauges = recorder.version("m", version)
    gauges.state("READY")
    recorder.segment.block(spec_of(version)).cells[0] += requests
    return gauges


def leave(recorder: Recorder, version: int) -> None:
    recorder.version("m", version).gone(recorder.segment.until())


def shown(reader: Reader, kind: str = "k") -> dict[str, int]:
    """Version -> requests, over all workers."""
    return {copy.spec.labels["version"]: copy.cells[0] for copy in total(reader.read()) if copy.spec.kind == kind}


@pytest.mark.parametrize(
    ("untils", "expected"),
    [
        ([("m", 5)], {"m"}),
        ([("m", 5), ("m", 9)], {"m"}),
        ([("m", 5), ("m", 11)], set()),
        ([("m", 5), ("m", 0)], set()),
        ([("m", 0), ("m", 5)], set()),
        ([("m", 5), ("n", 0)], {"m"}),
        ([], set()),
    ],
)
def test_a_version_is_gone_when_its_time_is_over_in_all_workers(
    untils: list[tuple[str, int]], expected: set[str]
) -> None:
    assert gone([((model, "1"), until) for model, until in untils], 10) == {(model, "1") for model in expected}


@pytest.mark.parametrize("keeps", [False, True])
def test_a_series_ends_whole(tmp_path: Path, worker: Any, clock: Clock, keeps: bool) -> None:
    one, two = worker(0), worker(1)
    reader = Reader(tmp_path, keeps=keeps, clock=clock)
    for recorder, requests in ((one, 3), (two, 4)):
        hold(recorder, 1, requests)
        hold(recorder, 2, requests)
    leave(one, 1)
    clock.now += LATER
    assert shown(reader) == {"1": 7, "2": 7}
    leave(two, 1)
    assert shown(reader) == {"1": 7, "2": 7}
    clock.now += LATER
    assert shown(reader) == {"2": 7}


@pytest.mark.parametrize("keeps", [False, True])
def test_a_version_that_comes_back_is_shown_with_its_counts(
    tmp_path: Path, worker: Any, clock: Clock, keeps: bool
) -> None:
    recorder, reader = worker(), Reader(tmp_path, keeps=keeps, clock=clock)
    hold(recorder, 1, 3)
    leave(recorder, 1)
    clock.now += LATER
    assert shown(reader) == {}
    hold(recorder, 1, 2)
    assert shown(reader) == {"1": 5}


def test_sums_over_versions_stay(tmp_path: Path, worker: Any, clock: Clock) -> None:
    recorder, reader = worker(), Reader(tmp_path, clock=clock)
    hold(recorder, 1)
    recorder.segment.block(spec_of(1, INPUTS)).cells[0] += 9
    leave(recorder, 1)
    clock.now += LATER
    assert shown(reader, INPUTS) == {"1": 9}


def test_who_reads_without_a_clock_reads_all(tmp_path: Path, worker: Any, clock: Clock) -> None:
    recorder = worker()
    hold(recorder, 1, 3)
    leave(recorder, 1)
    clock.now += LATER
    assert shown(Reader(tmp_path)) == {"1": 3}


def test_a_worker_that_ends_holds_nothing_any_more(tmp_path: Path, worker: Any, clock: Clock) -> None:
    reader = Reader(tmp_path, clock=clock)
    first, ended = worker(0), worker(1)
    hold(first, 1, 3)
    hold(ended, 1, 4)
    ended.segment.close()
    leave(first, 1)
    clock.now += LATER
    assert shown(reader) == {}


def test_after_a_boot_the_time_begins_anew(tmp_path: Path, worker: Any, clock: Clock) -> None:
    before = worker()
    hold(before, 1, 3)
    before.segment.close()
    clock.now = 5
    worker()
    assert shown(Reader(tmp_path, clock=clock)) == {"1": 3}
    clock.now += LATER
    assert shown(Reader(tmp_path, clock=clock)) == {}


def test_room_is_taken_back_and_what_stays_is_the_same(tmp_path: Path, worker: Any, clock: Clock) -> None:
    recorder, reader = worker(chunk_bytes=SMALL), Reader(tmp_path, clock=clock)
    recorder.segment.block(BlockSpec("worker", {}, (("n", 1),))).cells[0] = 7
    hold(recorder, 1, 5)
    most = 0
    for version in range(2, 400):
        hold(recorder, version, version)
        leave(recorder, version)
        clock.now += LATER
        recorder.segment.retire(gone_by(tmp_path, clock.now))
        most = max(most, len(list(tmp_path.glob("*.seg"))))
    assert most <= 4
    assert shown(reader) == {"1": 5}
    assert shown(Reader(tmp_path, clock=clock)) == {"1": 5}
    assert len(recorder.segment._blocks) < 150


def test_what_was_taken_back_is_not_there_in_the_next_life(tmp_path: Path, worker: Any, clock: Clock) -> None:
    recorder = worker(chunk_bytes=SMALL)
    recorder.segment.block(BlockSpec("worker", {}, (("n", 1),))).cells[0] = 7
    for version in range(1, 300):
        hold(recorder, version, version)
        leave(recorder, version)
        clock.now += LATER
        recorder.segment.retire(gone_by(tmp_path, clock.now))
    recorder.segment.close()
    assert not (tmp_path / "worker-0.1.seg").exists()
    again = worker(chunk_bytes=SMALL)
    hold(again, 300, 3)
    assert not (tmp_path / "worker-0.1.seg").exists()
    assert again.segment.block(BlockSpec("worker", {}, (("n", 1),))).cells[0] == 7
    assert shown(Reader(tmp_path, clock=clock)) == {"300": 3}


def test_a_version_that_came_back_while_somebody_looked_is_not_forgotten(
    tmp_path: Path, worker: Any, clock: Clock
) -> None:
    recorder = worker()
    hold(recorder, 1, 3)
    leave(recorder, 1)
    clock.now += LATER
    seen = gone_by(tmp_path, clock.now)
    hold(recorder, 1)
    block = recorder.segment.block(spec_of(1))
    recorder.segment.retire(seen)
    assert recorder.segment.block(spec_of(1)) is block


def test_what_is_counted_after_all_goes_too(tmp_path: Path, worker: Any, clock: Clock) -> None:
    recorder, reader = worker(), Reader(tmp_path, clock=clock)
    recorder.segment.note_gone("m", 1)
    recorder.segment.block(spec_of(1)).cells[0] += 1
    assert shown(reader) == {"1": 1}
    clock.now += LATER
    assert shown(reader) == {}
    hold(recorder, 2)
    recorder.segment.note_gone("m", 2)
    clock.now += LATER
    assert shown(reader) == {"2": 0}
