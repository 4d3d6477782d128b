"""What is read from the counters for evidence, and what is not."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from router.arms import read_arms, shape_of
from router.counters import Segment
from router.cursor import Subject
from router.demands import Shape, Watched
from router.evidence import Arm
from router.layout import How, Outcome
from router.mirrors import MirrorName, mirror_series
from router.tally import BlockCopy, Reader
from router.telemetry import UNITS, Recorder, SeriesName, WatchedFamily

SUBJECT = Subject("digits", ("2", 2), ("1", 1))
LABEL = WatchedFamily("label", "class", labels=("a", "b", "other"))
SCORE = WatchedFamily("score", "value", edges=(0.2, 0.5))
TOP = WatchedFamily("score", "confidence", edges=(0.9,))
FAMILIES = (LABEL, SCORE)
SHAPE = Shape(Watched("class:label", 3, ("a", "b", "other")), Watched("value:score", 3))


class Worker:
    def __init__(self, directory: Path, slot: int = 0) -> None:
        self.segment = Segment.open(directory, slot)
        self.recorder = Recorder(self.segment)

    def request(
        self,
        version: int,
        outcome: Outcome = Outcome.OK,
        cells: Sequence[int] = (0, 3),
        how: How = How.SPLIT_DRAWN,
        epoch: int = 4,
        micros: int = 500,
        families: Sequence[WatchedFamily] = FAMILIES,
    ) -> None:
        direct = how >= How.RULE
        name = SeriesName("digits", version, str(version), 0 if direct else epoch, direct)
        series = self.recorder.variant(name, families, 0)
        series.assigned(how)
        series.observe(outcome, micros * 1000, (1, 0, 1, 1), cells)

    def mirrored(self, outcome: Outcome, epoch: int = 4) -> None:
        series = mirror_series(self.recorder, MirrorName("digits", 2, "2", epoch), [], 0)
        series.given()
        series.ended(outcome, 500_000)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[tuple[Worker, Worker]]:
    found = Worker(tmp_path, 0), Worker(tmp_path, 1)
    yield found
    for worker in found:
        worker.segment.close()


def copies(tmp_path: Path) -> list[BlockCopy]:
    return Reader(tmp_path).read()


def candidate(tmp_path: Path, shape: Shape = SHAPE, epoch: int = 4) -> Arm:
    slots = read_arms(copies(tmp_path), SUBJECT, shape)[epoch].candidate
    return sum(slots.values(), Arm())


def test_failures_of_the_version_count_against_it_and_what_callers_caused_counts_nowhere(
    tmp_path: Path, workers: tuple[Worker, Worker]
) -> None:
    for outcome in Outcome:
        workers[0].request(2, outcome, ())
    found = candidate(tmp_path)
    assert (found.done, found.errors) == (5, 4)
    assert found.assigned == len(Outcome)


def test_latency_has_a_cell_for_each_request_that_was_timed(tmp_path: Path, workers: tuple[Worker, Worker]) -> None:
    for micros in (10, 500, 70_000_000):
        workers[0].request(2, micros=micros)
    cells = candidate(tmp_path).latency
    assert (len(cells), sum(cells), cells[0], cells[-1]) == (158, 3, 1, 1)


def test_classes_and_scores_are_those_of_the_first_row_and_numbers_that_are_not_finite_are_marked(
    tmp_path: Path, workers: tuple[Worker, Worker]
) -> None:
    for cells in ((0, 3), (1, 5), (1, 6)):  # the last score cell holds what is not finite
        workers[0].request(2, cells=cells)
    workers[0].request(2, Outcome.NONFINITE, ())
    found = candidate(tmp_path)
    assert (found.classes, found.scores) == ((1, 2, 0), (1, 0, 1))
    assert found.flags["invalid"] == (4, 1)


def test_requests_that_a_rule_or_a_version_sent_are_no_evidence(tmp_path: Path, workers: tuple[Worker, Worker]) -> None:
    workers[0].request(2)
    for how in (How.RULE, How.VERSION):
        workers[0].request(2, Outcome.ERROR, how=how)
    assert (candidate(tmp_path).done, candidate(tmp_path).errors) == (1, 0)


def test_requests_with_a_key_are_evidence_but_say_nothing_about_the_split(
    tmp_path: Path, workers: tuple[Worker, Worker]
) -> None:
    workers[0].request(2)
    workers[0].request(2, how=How.SPLIT_KEYED)
    found = candidate(tmp_path)
    assert (found.done, found.assigned) == (2, 1)


def test_every_epoch_and_every_worker_is_told_apart_and_other_models_are_not_seen(
    tmp_path: Path, workers: tuple[Worker, Worker]
) -> None:
    workers[0].request(2, epoch=4)
    workers[1].request(2, epoch=4)
    workers[1].request(1, epoch=5)
    found = read_arms(copies(tmp_path), SUBJECT, SHAPE)
    assert {slot: arm.done for slot, arm in found[4].candidate.items()} == {0: 1, 1: 1}
    assert {slot: arm.done for slot, arm in found[5].stable.items()} == {1: 1}
    assert not any(counted.candidate for counted in read_arms(copies(tmp_path), Subject("x", *PAIR), SHAPE).values())


PAIR = (SUBJECT.candidate, SUBJECT.stable)


def test_mirrored_runs_are_a_number_of_their_own_and_what_a_busy_worker_left_is_not_in_it(
    tmp_path: Path, workers: tuple[Worker, Worker]
) -> None:
    for outcome in (Outcome.OK, Outcome.OK, Outcome.ERROR, Outcome.SHED, Outcome.TIMEOUT, Outcome.NONFINITE):
        workers[0].mirrored(outcome)
    found = read_arms(copies(tmp_path), SUBJECT, SHAPE)[4]
    assert (found.mirrored, found.candidate) == ((4, 1), {})


def test_a_baseline_is_a_part_of_stable(tmp_path: Path, workers: tuple[Worker, Worker]) -> None:
    workers[0].request(1, Outcome.ERROR, ())
    series = workers[0].recorder.variant(SeriesName("digits", 1, "baseline", 4), FAMILIES, 0)
    series.assigned(How.SPLIT_DRAWN)
    series.observe(Outcome.OK, 500_000, (1, 0, 1, 1), (0, 3))
    beside = replace(SUBJECT, baseline=("baseline", 1))
    found = read_arms(copies(tmp_path), beside, SHAPE)[4]
    assert [(arm.done, arm.errors) for arm in (found.stable[0], found.baseline[0])] == [(2, 1), (1, 0)]
    alone = read_arms(copies(tmp_path), SUBJECT, SHAPE)[4]
    assert (alone.stable[0].done, alone.baseline) == (1, {})


def test_the_outputs_that_are_compared_are_those_both_versions_count_alike(
    tmp_path: Path, workers: tuple[Worker, Worker]
) -> None:
    workers[0].request(1, cells=(0, 3, 6), families=(LABEL, SCORE))
    assert shape_of(copies(tmp_path), SUBJECT) is None
    workers[0].request(2, cells=(0, 3, 6), families=(LABEL, SCORE))
    assert shape_of(copies(tmp_path), SUBJECT) == SHAPE
    missing = shape_of(copies(tmp_path), SUBJECT, ("other", ""))
    assert missing is not None
    assert missing.classes.problem.startswith("no output other of this kind is watched")


def test_outputs_that_are_counted_in_two_ways_cannot_be_compared(
    tmp_path: Path, workers: tuple[Worker, Worker]
) -> None:
    workers[0].request(1, cells=(0,), families=(LABEL,))
    workers[0].request(2, cells=(0,), families=(WatchedFamily("label", "class", labels=("a", "c", "other")),))
    found = shape_of(copies(tmp_path), SUBJECT)
    assert found is not None
    assert found.classes.problem == "the two versions do not count label alike"
    assert found.scores.problem.startswith("no output of this kind is watched")


def test_cells_of_another_shape_than_the_rollout_began_with_are_left_out(
    tmp_path: Path, workers: tuple[Worker, Worker]
) -> None:
    workers[0].request(2, cells=(0,), families=(TOP,))
    found = candidate(tmp_path)
    assert (found.done, found.classes, found.scores) == (1, (), ())


def test_callers_are_read_from_blocks_of_their_own(workers: tuple[Worker, Worker], tmp_path: Path) -> None:
    workers[0].request(2, how=How.SPLIT_KEYED)
    workers[0].request(2, how=How.SPLIT_KEYED)
    for worker in workers:
        series = worker.recorder.units(SeriesName("digits", 2, "2", 4), FAMILIES, 0)
        series.assigned(How.SPLIT_KEYED)
        series.observe(Outcome.ERROR, 1000, (1, 0, 1, 1), ())
    callers = read_arms(copies(tmp_path), SUBJECT, SHAPE, UNITS)[4].candidate
    assert [(arm.assigned, arm.done, arm.errors) for arm in callers.values()] == [(1, 1, 1), (1, 1, 1)]
    requests = read_arms(copies(tmp_path), SUBJECT, SHAPE)[4].candidate
    assert [(arm.assigned, arm.done, arm.errors) for arm in requests.values()] == [(0, 2, 0)]


def test_of_requests_that_ran_together_one_counts_with_its_latency(
    tmp_path: Path, workers: tuple[Worker, Worker]
) -> None:
    name = SeriesName("digits", 2, "2", 4)
    series = workers[0].recorder.variant(name, FAMILIES, 0)
    for place in range(8):
        series.assigned(How.SPLIT_DRAWN)
        series.observe(Outcome.OK, 500_000, (1, 0, 1, 1), (0, 3), place == 0)
    found = candidate(tmp_path)
    assert (found.done, sum(found.latency), found.flags["together"]) == (8, 1, (8, 7))
    assert sum(found.followed) == 7
