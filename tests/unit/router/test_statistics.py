"""Requests and runs of a version, whatever variant, epoch or worker they were counted in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from router.counters import Segment
from router.runs import run_counter
from router.statistics import FAILURES, VersionStatistics, statistics
from router.tally import read_all
from router.telemetry import How, Outcome, Recorder, SeriesName

PHASES = (1_000, 200, 5_000, 300)
TOTAL = 6_000
CANARY = SeriesName("digits", 2, "canary", 1)


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    opened = Segment.open(tmp_path, 0)
    yield opened
    opened.close()


def ask(segment: Segment, outcome: Outcome, name: SeriesName = CANARY) -> None:
    series = Recorder(segment).variant(name, (), 0)
    series.assigned(How.SPLIT_DRAWN)
    series.observe(outcome, TOTAL, PHASES, ())


def found(segment: Segment) -> VersionStatistics:
    return statistics(read_all(segment.directory))["digits", 2]


def test_times_are_of_requests_that_were_answered(segment: Segment) -> None:
    for outcome in (Outcome.OK, Outcome.OK, Outcome.NONFINITE, Outcome.ERROR, Outcome.CANCELLED, Outcome.SHED):
        ask(segment, outcome)
    seen = found(segment)
    assert seen.answered == 3
    assert (seen.decode_ns, seen.queue_ns, seen.compute_ns, seen.encode_ns) == tuple(3 * ns for ns in PHASES)
    assert seen.request_ns == 3 * (TOTAL + 1_000 + 300)
    assert seen.failed_ns == 2 * (TOTAL + 1_000 + 300), "of a request that was shed there is no time"
    assert seen.failed == {"REJECTED": 1, "CANCELED": 1, "BACKEND": 1, "OTHER": 0}


def test_variants_epochs_and_named_versions_are_one_version(segment: Segment) -> None:
    for name in (
        SeriesName("digits", 2, "canary", 1),
        SeriesName("digits", 2, "stable", 2),
        SeriesName("digits", 2, "2", direct=True),
    ):
        ask(segment, Outcome.OK, name)
    served = Recorder(segment).served(SeriesName("digits", 2, "stable"), "canary", "error", ())
    served.assigned(How.SPLIT_DRAWN)
    served.observe(Outcome.OK, TOTAL, PHASES, ())
    assert found(segment).answered == 4


def test_requests_that_wait_and_runs_are_told_beside_them(segment: Segment) -> None:
    Recorder(segment).version("digits", 2).queued(3)
    run_counter(segment, "digits", 2)(8, 10, 1)
    seen = found(segment)
    assert (seen.waiting, seen.runs.executions, seen.runs.rows, seen.answered) == (3, 1, 8, 0)


def test_every_way_to_fail_has_a_word() -> None:
    assert set(Outcome) - set(FAILURES) == {Outcome.OK, Outcome.NONFINITE, Outcome.DIVERTED}
