"""Where feedback is counted: by variant, by epoch, and by when its request came."""

import pytest

from router.counters import Segment
from router.rewards import (
    MAX_EPOCHS,
    returning_series,
    reward_counts,
    reward_spec,
    serving_series,
)
from router.routes import Route, Variant
from router.stepcounts import DIRECT, read_counts
from router.strata import STRATA, RewardCounts, stratum_minutes
from router.tally import read_all, total
from router.telemetry import How, Outcome, Recorder, SeriesName
from router.tokens import Given

MINUTES = 5


@pytest.fixture
def segment(tmp_path):
    opened = Segment.open(tmp_path, 0)
    yield opened
    opened.close()


def canary(epoch=1, kind="split") -> Given:
    return Given("digits", 2, "canary", epoch, kind)


def counted(directory, epoch=1, kind="split") -> RewardCounts:
    return reward_counts(read_all(directory), "digits", kind)[epoch]["canary", 2]


@pytest.mark.parametrize("horizon", [60, 3_600, 86_400, 30 * 86_400])
def test_the_ring_is_longer_than_the_horizon(horizon):
    minutes = stratum_minutes(horizon)
    assert minutes >= 5
    assert (STRATA - 2) * minutes * 60 > horizon


def test_a_label_counts_in_the_minutes_of_its_request(segment, tmp_path):
    series = serving_series(segment, canary(), MINUTES)
    series.issued[10] += 3
    series.reward(52, True)
    series.reward(54, False)
    series.reward(55, True)
    found = counted(tmp_path)
    assert (found.issued[10], found.good[10], found.bad[10], found.good[11]) == (3, 1, 1, 1)
    assert (sum(found.good), sum(found.bad), found.minutes) == (2, 1, MINUTES)


def test_a_label_of_an_earlier_epoch_counts_there(segment, tmp_path):
    serving_series(segment, canary(1), MINUTES)
    serving_series(segment, canary(2), MINUTES)
    returning_series(segment, canary(1), MINUTES).reward(0, True)
    assert sum(counted(tmp_path, 1).good) == 1
    assert sum(counted(tmp_path, 2).good) == 0


def test_an_epoch_that_this_worker_never_served_is_counted_apart_too(segment, tmp_path):
    returning_series(segment, canary(7), MINUTES).reward(0, False)
    assert sum(counted(tmp_path, 7).bad) == 1


def test_workers_add_up(segment, tmp_path):
    other = Segment.open(tmp_path, 1)
    for one in (segment, other):
        returning_series(one, canary(), MINUTES).reward(0, True)
    assert sum(counted(tmp_path).good) == 2
    other.close()


def test_epochs_are_bounded_and_what_is_older_is_counted_but_not_judged(segment, tmp_path):
    for epoch in range(1, 100):
        serving_series(segment, canary(epoch), MINUTES).reward(0, True)
    returning_series(segment, canary(3), MINUTES).reward(0, False)
    assert len(segment.blocks(reward_spec(canary(), MINUTES))) == MAX_EPOCHS
    epochs = reward_counts(read_all(tmp_path), "digits", "split")
    assert sorted(epochs) == list(range(100 - MAX_EPOCHS, 100))
    assert all(sum(epochs[epoch]["canary", 2].good) == 1 for epoch in epochs)
    cells = [sum(copy.family("good")) + sum(copy.family("bad")) for copy in total(read_all(tmp_path))]
    assert sum(cells) == 100


def test_direct_requests_and_units_are_counted_apart(segment, tmp_path):
    serving_series(segment, canary(kind="unit"), MINUTES).reward(0, True)
    returning_series(segment, canary(0, "direct"), MINUTES).reward(0, False)
    assert sum(counted(tmp_path, kind="unit").good) == 1
    assert reward_counts(read_all(tmp_path), "digits", "split") == {}


def test_counts_outlive_their_worker(segment, tmp_path):
    serving_series(segment, canary(), MINUTES).reward(0, True)
    segment.close()
    again = Segment.open(tmp_path, 0)
    returning_series(again, canary(), MINUTES).reward(0, True)
    assert sum(counted(tmp_path).good) == 2
    again.close()


def test_feedback_of_direct_requests_is_no_request_of_theirs(segment, tmp_path):
    direct = Recorder(segment).variant(SeriesName("digits", 2, "canary", direct=True), (), 0)
    direct.assigned(How.VERSION)
    direct.observe(Outcome.OK, 1_000, (0, 0, 0, 0), ())
    returning_series(segment, canary(0, "direct"), MINUTES).reward(0, True)
    route = Route("digits", (Variant("stable", 1, 1_000_000), Variant("canary", 2, 0)))
    assert read_counts(read_all(tmp_path), route).counts(DIRECT, "canary").ended == 1
