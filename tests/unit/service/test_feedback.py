"""Tokens of answers, and what is counted of what comes back."""

import asyncio
import stat

import pytest

from router.counters import Segment
from router.errors import FailedPrecondition, Kind, ResourceExhausted
from router.rewards import REFUSALS, REFUSED, refused_spec, reward_counts
from router.tally import read_all
from router.telemetry import WatchedFamily
from router.tokens import Given, read_token
from service.feedback import KEY_FILE, Feedback, Item, Options, class_labels, label_marks, shared_key
from service.watch import Watch

LABELS = WatchedFamily("label", "class", labels=("cat", "dog", "other"))
SURE = WatchedFamily("p", "confidence", edges=(0.5,))
WATCH = Watch((SURE, LABELS), (), frozenset())
CAT, DOG, OTHER = (0, 3), (0, 4), (0, 5)
CANARY = Given("pets", 2, "canary", 3, "split")


class Worker:
    """The feedback of one worker at a time of our own; its neighbours share the directory."""

    def __init__(self, directory, slot=0, horizon=86_400.0, map_bytes=64 * 1024, labels=("cat", "dog")):
        self.time = 29_000_000 * 60.0
        self.directory = directory
        self.segment = Segment.open(directory / "counters", slot)
        options = Options(horizon, map_bytes)
        self.feedback = Feedback(self.segment, directory, options, lambda: self.time, lambda model, version: labels)

    def token(self, given=CANARY, cells=CAT) -> str:
        stamp = self.feedback.stamp(given, WATCH)
        assert stamp is not None
        return stamp.one(cells).decode()

    def take(self, *items, model="pets"):
        return asyncio.run(self.feedback.take(model, items))

    def counts(self, kind="split", epoch=3, variant="canary"):
        found = reward_counts(read_all(self.directory / "counters"), "pets", kind).get(epoch, {}).get((variant, 2))
        return (0, 0, 0) if found is None else (sum(found.good), sum(found.bad), sum(found.issued))

    def refused(self) -> dict[str, int]:
        cells = self.segment.block(refused_spec()).family(REFUSED)
        return {reason: cells[place] for place, reason in enumerate(REFUSALS) if cells[place]}

    def close(self):
        self.feedback.close()
        self.segment.close()


@pytest.fixture
def worker(tmp_path):
    made = Worker(tmp_path)
    yield made
    made.close()


@pytest.fixture
def neighbour(tmp_path, worker):
    made = Worker(tmp_path, slot=1)
    yield made
    made.close()


def test_answers_of_a_run_are_signed_together_and_counted_each(worker):
    stamp = worker.feedback.stamp(CANARY, WATCH)
    tokens = [token.decode() for token in stamp.run([CAT, DOG, OTHER])]
    taken = worker.take(*(Item(token, label="cat") for token in tokens))
    assert (taken.counted, [place for place, _ in taken.errors]) == (2, [2])
    assert worker.counts() == (1, 1, 3)


def test_answers_without_a_class_are_signed_together_too(worker):
    stamp = worker.feedback.stamp(CANARY, None)
    tokens = stamp.run([(), ()])
    assert len(set(tokens)) == 2
    assert worker.take(Item(tokens[0].decode(), good=True)).counted == 1


def test_a_reward_counts_once_for_the_variant_that_answered(worker):
    token = worker.token()
    first, again = (worker.take(Item(token, good=True)) for _ in range(2))
    assert (first.counted, first.repeated, first.errors) == (1, 0, [])
    assert (again.counted, again.repeated, again.errors) == (0, 1, [])
    assert worker.counts() == (1, 0, 1)
    assert worker.refused() == {"repeated": 1}


def test_any_worker_takes_it_and_none_counts_it_again(worker, neighbour):
    token = worker.token()
    assert neighbour.take(Item(token, good=False)).counted == 1
    assert worker.take(Item(token, good=True)).repeated == 1
    assert worker.counts() == (0, 1, 1)


@pytest.mark.parametrize(("label", "good"), [("cat", 1), ("dog", 0)])
def test_a_label_is_compared_with_the_class_that_was_predicted(worker, label, good):
    assert worker.take(Item(worker.token(cells=CAT), label=label)).counted == 1
    assert worker.counts()[:2] == (good, 1 - good)


def test_a_label_that_no_version_knows_is_refused_and_may_be_sent_again_rightly(worker):
    token = worker.token()
    ((place, error),) = worker.take(Item(token, label="Cat")).errors
    assert (place, error.message) == (0, "label: 'Cat' is no class of pets:2; there are cat, dog")
    assert worker.take(Item(token, label="cat")).counted == 1
    assert worker.refused() == {"unknown_label": 1}


def test_a_label_for_an_answer_without_a_class_is_refused(worker):
    ((_, error),) = worker.take(Item(worker.token(cells=OTHER), label="cat")).errors
    assert "send `reward` instead" in error.message


def test_a_version_that_is_gone_is_still_compared_with_what_it_said(tmp_path, worker):
    token = worker.token(cells=DOG)
    worker.close()
    later = Worker(tmp_path, labels=())
    assert later.take(Item(token, label="dog")).counted == 1
    assert later.counts()[:2] == (1, 0)
    later.close()


def test_what_is_forged_late_or_of_another_model_is_refused_each_with_its_reason(worker):
    good, old = worker.token(), worker.token()
    worker.time += 86_400 + 60
    fresh = worker.token()
    taken = worker.take(
        Item(fresh, good=True), Item(good[:-1] + ("A" if good[-1] != "A" else "B"), good=True), Item(old, good=True)
    )
    assert taken.counted == 1
    assert [(place, error.kind) for place, error in taken.errors] == [
        (1, Kind.INVALID_ARGUMENT),
        (2, Kind.FAILED_PRECONDITION),
    ]
    ((_, error),) = worker.take(Item(fresh, good=True), model="cars").errors
    assert "is of model pets" in error.message
    assert worker.refused() == {"unsigned": 1, "expired": 1, "invalid": 1}


def test_late_feedback_counts_once_until_the_last_minute_of_the_horizon(worker):
    token = worker.token()
    for minutes in (0, 600, 839, 1):
        worker.time += minutes * 60
        taken = worker.take(Item(token, good=True))
        assert taken.counted + taken.repeated == 1
    assert worker.counts() == (1, 0, 1)


def test_a_full_map_refuses_and_loses_nothing_that_was_acknowledged(tmp_path):
    small = Worker(tmp_path, map_bytes=4096)
    stamp = small.feedback.stamp(CANARY, WATCH)
    taken = small.take(*(Item(stamp.one(CAT).decode(), good=True) for _ in range(1700)))
    assert taken.counted + len(taken.errors) + taken.repeated == 1700
    assert 1500 < taken.counted < 1600
    assert isinstance(taken.errors[0][1], ResourceExhausted)
    assert small.counts()[0] == taken.counted
    small.close()


def test_units_and_direct_requests_are_counted_apart(worker):
    unit, direct = Given("pets", 2, "canary", 3, "unit"), Given("pets", 2, "canary", 0, "direct")
    taken = worker.take(Item(worker.token(unit), good=True), Item(worker.token(direct), good=True))
    assert taken.counted == 2
    assert worker.counts("unit") == (1, 0, 1)
    assert worker.counts() == (0, 0, 0)


def test_a_token_tells_the_mark_of_the_predicted_class(worker):
    marks = label_marks(WATCH)
    assert len(marks) == SURE.cell_count + LABELS.cell_count
    assert read_token(shared_key(worker.directory), worker.token(cells=DOG)).label == marks[4]
    assert marks[:3] == (0, 0, 0)
    assert marks[5] == 0


def test_of_two_outputs_with_classes_the_first_counts():
    second = WatchedFamily("more", "class", labels=("x", "other"))
    marks = label_marks(Watch((LABELS, second), (), frozenset()))
    assert marks[3:] == (0, 0)
    assert class_labels(Watch((SURE, second, LABELS), (), frozenset())) == ("x",)
    assert class_labels(None) == ()


def test_workers_share_a_key_that_only_their_user_reads(tmp_path):
    assert shared_key(tmp_path) == shared_key(tmp_path)
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_a_key_that_is_cut_off_is_refused(tmp_path):
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(FailedPrecondition, match="fewer than 32 bytes"):
        shared_key(tmp_path)
