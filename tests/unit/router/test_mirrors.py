"""What is counted of mirrored requests, as any process can read it."""

from math import inf

import pytest

from router.counters import Segment
from router.layout import Outcome
from router.mirrors import DIFFERENCE_EDGES, MirrorName, OutputDifference, mirror_counts, mirror_series
from router.tally import read_all
from router.telemetry import Recorder

NAME = MirrorName("digits", 2, "canary", 5)
OUTPUTS = [("label", "exact"), ("scores", "argmax")]


def test_pairs_outputs_and_rows_are_counted_each_for_itself(tmp_path):
    series = mirror_series(Recorder(Segment.open(tmp_path, 0)), NAME, OUTPUTS, 0)
    for found in (
        [OutputDifference(2, 0, 0.0), OutputDifference(2, 1, inf)],
        [OutputDifference(1, 0, 0.0), OutputDifference(1, 0, 0.02)],
        [OutputDifference(1, 1, 1.0), None],
    ):
        series.given()
        series.ended(Outcome.OK, 1000)
        series.compared(found)
    series.given()
    series.ended(Outcome.ERROR, 1000)
    series.dropped("queue_full")
    [counts] = mirror_counts(read_all(tmp_path))

    assert (counts.name, counts.given, counts.pairs, counts.flipped) == (NAME, 4, 3, 2)
    assert counts.outcomes == {"ok": 3, "error": 1}
    assert counts.flip_rate == pytest.approx(2 / 3)
    assert counts.drop_rate == pytest.approx(1 / 5)
    label, scores = counts.outputs
    assert (label.same, label.different, label.rows_same, label.rows_different) == (2, 1, 3, 1)
    assert (scores.same, scores.different, scores.rows_same, scores.rows_different) == (1, 1, 2, 1)
    assert scores.differences[-1] == 1
    assert scores.differences[DIFFERENCE_EDGES.index(0.05)] == 1


def test_workers_add_up_and_epochs_do_not_mix(tmp_path):
    for slot in (0, 1):
        recorder = Recorder(Segment.open(tmp_path, slot))
        mirror_series(recorder, NAME, OUTPUTS, 0).given()
        later = mirror_series(recorder, MirrorName("digits", 2, "canary", 6), OUTPUTS, 1)
        later.given()
        later.given()
    counts = {found.name.epoch: found.given for found in mirror_counts(read_all(tmp_path))}

    assert counts == {5: 2, 6: 4}


def test_nothing_compared_has_no_rate(tmp_path):
    mirror_series(Recorder(Segment.open(tmp_path, 0)), NAME, OUTPUTS, 0)
    [counts] = mirror_counts(read_all(tmp_path))

    assert (counts.flip_rate, counts.drop_rate) == (None, None)
