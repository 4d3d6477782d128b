"""Tumbling windows: when drift is claimed and taken back, and what counts as bad."""

from dataclasses import replace

import msgspec
import pytest

from router.drift import Level
from router.drift_windows import (
    Bad,
    Difference,
    Known,
    Policy,
    Subject,
    difference,
    inputs_drifted,
    reopened,
    update,
)

POLICY = Policy(requests=1000, seconds=300.0)
LIKE, FAR = (250, 250, 250, 250), (50, 150, 300, 500)
AGE = Subject("input", "age", "number", (0, 0, 0, 0), (2500, 2500, 2500, 2500), (1.0, 2.0))


class Feed:
    """One subject whose counts grow, looked at once a window."""

    def __init__(self, subject=AGE):
        self.subject, self.watched, self.now = subject, {}, 0.0
        self.look()

    def look(self, cells=(0, 0, 0, 0), seconds=0.0, bad=0):
        counts = tuple(a + b for a, b in zip(self.subject.counts, cells, strict=True))
        spoiled = tuple(replace(one, count=one.count + bad) for one in self.subject.bad)
        self.subject = replace(self.subject, counts=counts, bad=spoiled)
        self.now += seconds
        before = self.watched
        self.watched = update(before, [self.subject], self.now, POLICY)
        return difference(before, self.watched)

    @property
    def known(self) -> Known:
        (known,) = self.watched.values()
        return known


def test_drift_is_claimed_by_the_second_window_in_a_row_and_only_once():
    feed = Feed()
    assert feed.look(FAR, 300) == Difference()
    assert feed.known.reading.level is Level.ALARM
    assert feed.look(FAR, 300) == Difference(drifted=("input/age",))
    assert feed.look(FAR, 300) == Difference()


def test_a_single_window_is_forgotten():
    feed = Feed()
    for cells in (FAR, LIKE, FAR, LIKE):
        assert feed.look(cells, 300) == Difference()


def test_drift_is_taken_back_by_two_quiet_windows():
    feed = Feed()
    found = [feed.look(cells, 300) for cells in (FAR, FAR, LIKE, FAR, LIKE, LIKE)]
    assert [each for each in found if each != Difference()] == [
        Difference(drifted=("input/age",)),
        Difference(settled=("input/age",)),
    ]


@pytest.mark.parametrize(("requests", "seconds"), [(999, 300), (1000, 299)])
def test_a_window_widens_until_it_has_enough_requests_and_time(requests, seconds):
    feed = Feed()
    feed.look((requests, 0, 0, 0), seconds)
    assert (feed.known.reading, feed.known.requests) == (None, requests)
    feed.look((1, 0, 0, 0), 1)
    assert feed.known.reading.distances.live == requests + 1


def test_without_a_reference_the_first_window_becomes_it():
    feed = Feed(replace(AGE, reference=()))
    feed.look(LIKE, 300)
    assert (feed.known.learned, feed.known.reading) == (LIKE, None)
    feed.look(LIKE, 300)
    assert (feed.known.reading.level, feed.known.reading.against) == (Level.OK, "live")
    feed.look(FAR, 300)
    assert feed.look(FAR, 300).drifted == ("input/age",)


@pytest.mark.parametrize("change", [{"reference": (1, 2, 3, 4)}, {"edges": (1.0, 3.0)}, {"version": 2}])
def test_a_new_reference_or_version_begins_anew_and_ends_what_was_claimed(change):
    feed = Feed()
    feed.look(FAR, 300)
    feed.look(FAR, 300)
    feed.subject = replace(feed.subject, **change)
    assert feed.look() == Difference(settled=("input/age",))
    assert feed.known.requests == 0


def test_counts_that_went_down_begin_anew():
    feed = Feed()
    feed.look((900, 0, 0, 0), 10)
    feed.look((100, 0, 0, 0), 300)
    feed.subject = replace(feed.subject, counts=(5, 0, 0, 0))
    feed.look()
    assert (feed.known.base, feed.known.requests) == ((5, 0, 0, 0), 0)


SPOILED = replace(AGE, bad=(Bad("missing", 0, (0, 1000)),))


def test_bad_values_are_claimed_at_once_and_taken_back_by_a_whole_window_without():
    feed = Feed(SPOILED)
    assert feed.look((20, 0, 0, 10), 10, bad=10) == Difference(spoiled=("input/age missing",))
    assert feed.known.bad_shares == {"missing": pytest.approx(1 / 3)}
    assert feed.look(LIKE, 300) == Difference()  # the window in which they were
    assert feed.look(LIKE, 299) == Difference()
    assert feed.look((1, 0, 0, 0), 1) == Difference(cleaned=("input/age missing",))


def test_as_many_bad_values_as_are_tolerated_are_never_claimed():
    feed = Feed(replace(AGE, bad=(Bad("missing", 0, (50, 1000)),)))  # 5 % in the reference: 10 % is tolerated
    for _ in range(200):
        assert feed.look((25, 25, 25, 25), 10, bad=10).spoiled == ()


def test_one_bad_value_proves_nothing():
    assert Feed(SPOILED).look((0, 0, 0, 1), 1, bad=1).spoiled == ()


def test_a_tenth_bad_where_one_percent_is_tolerated_is_found_within_some_hundred():
    feed, seen = Feed(SPOILED), 0
    while not feed.look((9, 0, 0, 1), 1, bad=1).spoiled:
        seen += 10
    assert seen < 400


def test_a_baseline_so_bad_that_nothing_is_worse_is_left_alone():
    feed = Feed(replace(AGE, bad=(Bad("missing", 0, (900, 1000)),)))
    assert feed.look((0, 0, 0, 1000), 1, bad=1000).spoiled == ()


def test_the_inputs_have_drifted_when_three_in_ten_have_or_a_critical_one():
    def watched(drifted, critical=False):
        return {f"input/{n}": Known("", 0.0, (), drifted=n < drifted, critical=critical) for n in range(10)}

    assert not inputs_drifted(watched(2))
    assert inputs_drifted(watched(3))
    assert inputs_drifted(watched(1, critical=True))
    assert not inputs_drifted({"output/label": Known("", 0.0, (), drifted=True)})


def test_what_is_known_survives_a_restart_and_its_clock_begins_anew():
    feed = Feed(SPOILED)
    feed.look(FAR, 300, bad=40)
    kept = msgspec.json.decode(msgspec.json.encode(feed.watched), type=dict[str, Known])
    assert kept == feed.watched
    feed.watched, feed.now = reopened(kept, 7.0), 7.0
    assert feed.known.opened == 7.0
    assert feed.look(FAR, 300).drifted == ("input/age",)


def test_a_subject_that_is_gone_is_no_longer_claimed():
    feed = Feed()
    feed.look(FAR, 300)
    feed.look(FAR, 300)
    assert difference(feed.watched, update(feed.watched, [], feed.now, POLICY)) == Difference(settled=("input/age",))
