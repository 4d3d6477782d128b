"""The queue of copies: what finds no place is dropped, and what runs is counted, whatever becomes of it."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from router.errors import Internal
from router.layout import Outcome
from router.pairs import read_pairs
from router.routes import Comparison, Mirror
from service import restraint, shadow
from service.calls import Answered, Call
from service.diff import Judge
from service.keeping import PairKeeper
from service.protocol.messages import InferRequest
from service.restraint import Restraint, Toll
from service.runtime.accused import Accused
from service.runtime.pool import NoSlot
from service.shadow import BoundMirror, Shadow
from service.worst import WorstPairs

LABELS = {"label": np.array([1, 2])}


class Series:
    """Where a mirror counts, as plain lists."""

    def __init__(self):
        self.put, self.drops, self.ends, self.pairs = 0, [], [], []

    def given(self):
        self.put += 1

    def dropped(self, reason):
        self.drops.append(reason)

    def ended(self, outcome, run_ns):
        self.ends.append(outcome)

    def compared(self, found):
        self.pairs.append(found)


class Model:
    """A runnable that waits to be let go."""

    def __init__(self, answer):
        self.answer, self.go, self.begun, self.stopped = answer, threading.Event(), threading.Event(), False

    def run(self, feeds, names, stop):
        self.begun.set()
        assert self.go.wait(10)
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer for _ in names]

    def switch(self):
        return self

    def stop(self):
        self.stopped = True
        self.go.set()


@pytest.fixture
def keeper(tmp_path):
    return PairKeeper(tmp_path / "worker-0.json", lambda: 0)


@pytest.fixture
def runs(keeper):
    running = Shadow(NoSlot(), keeper)
    yield running
    running.close()


def loaded(model=None, queued=0):
    executor = SimpleNamespace(runnable=model, token=1, accused=None, room=SimpleNamespace(queued=queued))
    return SimpleNamespace(executor=executor, datatypes={"label": "INT64"}, signature=None)


def mirror(model, keeper, queued=0) -> BoundMirror:
    judge = Judge("label", Comparison("label", "exact"), True)
    worst = keeper.worst(("digits", 2, "canary", "r1"), 3)
    return BoundMirror(Mirror(2), loaded(queued=queued), loaded(model), (judge,), Series(), worst, True)


def answered(size=100) -> Answered:
    call = Call("digits", None, {}, 0, 0, body_bytes=size)
    return Answered(call, InferRequest({}), loaded(), {"x": np.array([1.0])}, LABELS, ["label"])


def run_all(runs, model):
    model.go.set()
    thread = runs._thread
    runs._queue.put(None)
    thread.join(10)
    assert not thread.is_alive()


def test_a_copy_is_run_compared_and_the_different_pair_kept(runs, keeper, tmp_path):
    model = Model(np.array([1, 3]))
    one = mirror(model, keeper)
    assert runs.offer(one, answered()) == ""
    run_all(runs, model)

    assert one.series.ends == [Outcome.OK]
    assert [(found[0].rows, found[0].flipped) for found in one.series.pairs] == [(2, 1)]
    [kept] = read_pairs(tmp_path / "worker-0.json")
    assert kept.pairs[0]["outputs"]["label"]["candidate"]["data"] == [1, 3]
    assert runs.waiting == 0


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(Internal("broken"), Outcome.ERROR), (ValueError("unforeseen"), Outcome.ERROR)],
)
def test_a_copy_that_fails_is_counted_and_not_compared(runs, keeper, answer, outcome):
    model = Model(answer)
    one = mirror(model, keeper)
    runs.offer(one, answered())
    run_all(runs, model)

    assert (one.series.ends, one.series.pairs) == ([outcome], [])


def test_a_full_queue_drops_the_next_copy(runs, keeper, monkeypatch):
    monkeypatch.setattr(shadow, "MOST_WAITING", 2)
    model = Model(LABELS["label"])
    one = mirror(model, keeper)

    assert [runs.offer(one, answered()) for _ in range(4)] == ["", "", "queue_full", "queue_full"]
    assert (one.series.put, one.series.drops) == (2, ["queue_full"] * 2)


def test_so_does_one_that_is_too_large_for_what_is_left(runs, keeper, monkeypatch):
    monkeypatch.setattr(shadow, "MOST_BYTES", 1000)
    model = Model(LABELS["label"])
    one = mirror(model, keeper)

    assert [runs.offer(one, answered(size)) for size in (600, 600, 2000)] == ["", "queue_full", "too_large"]


def test_while_real_requests_wait_nothing_is_copied(runs, keeper):
    one = mirror(Model(LABELS["label"]), keeper, queued=1)

    assert runs.offer(one, answered()) == "overloaded"
    assert one.series.drops == ["overloaded"]


def test_where_rests_are_long_a_copy_that_would_wait_is_not_taken(runs, keeper):
    one = mirror(Model(LABELS["label"]), keeper)
    runs._mean_rest_ns = 0.6 * shadow.LONGEST_WAIT_NS

    assert [runs.offer(one, answered()) for _ in range(3)] == ["", "", "busy"]
    assert one.series.drops == ["busy"]


def test_a_copy_that_has_waited_too_long_since_rests_became_longer_is_not_run(runs, keeper, monkeypatch):
    monkeypatch.setattr(shadow, "LONGEST_WAIT_NS", 0)
    model = Model(LABELS["label"])
    one = mirror(model, keeper)
    runs.offer(one, answered())
    assert model.begun.wait(10)
    runs.offer(one, answered())
    runs.offer(one, answered())
    runs._mean_rest_ns = 1.0
    run_all(runs, model)

    assert (len(one.series.ends), one.series.drops) == (1, ["late", "late"])
    assert runs.waiting == 0


def test_it_rests_after_a_copy_that_held_up_requests(keeper, monkeypatch):
    monkeypatch.setattr(restraint, "SAVED_NS", 0)
    waited = iter(range(0, 10**12, 10**8))
    running = Shadow(NoSlot(), keeper, lambda: Toll(0, next(waited)))
    model = Model(LABELS["label"])
    one = mirror(model, keeper)
    running._restraint = Restraint(0, Toll())  # so that nothing was waited for long
    running.offer(one, answered())
    running.offer(one, answered())
    run_all(running, model)

    assert len(one.series.ends) == 2
    assert running._mean_rest_ns > 0


def test_closing_ends_a_rest(keeper, monkeypatch):
    monkeypatch.setattr(Restraint, "end", lambda *told: 3600 * 10**9)
    running, model = Shadow(NoSlot(), keeper), Model(LABELS["label"])
    running.offer(mirror(model, keeper), answered())
    model.go.set()
    thread = running._thread
    running.close()

    assert not thread.is_alive()


def test_copies_of_a_mirror_that_has_ended_are_not_run(runs, keeper):
    model = Model(LABELS["label"])
    first, second = mirror(model, keeper), mirror(Model(LABELS["label"]), keeper)
    runs.offer(first, answered())
    assert model.begun.wait(10)
    runs.offer(second, answered())
    second.ended = True
    run_all(runs, model)

    assert second.series.ends == [Outcome.SHED]
    assert not second.candidate.executor.runnable.begun.is_set()


def test_a_copy_of_a_request_that_killed_workers_is_not_run(runs, keeper):
    model, poisoned = Model(LABELS["label"]), Model(LABELS["label"])
    first, second = mirror(model, keeper), mirror(poisoned, keeper)
    found = answered()
    second.candidate.executor.accused = Accused([found.call.body_hash], [], lambda body: None)
    runs.offer(second, found)
    runs.offer(first, answered())
    assert model.begun.wait(10)
    run_all(runs, model)

    assert second.series.ends == [Outcome.SHED]
    assert not poisoned.begun.is_set()


def test_a_copy_that_runs_for_too_long_is_stopped_when_the_queue_is_full(runs, keeper, monkeypatch):
    monkeypatch.setattr(shadow, "MOST_WAITING", 1)
    monkeypatch.setattr(shadow, "LONGEST_RUN_NS", -1)
    model = Model(LABELS["label"])
    one = mirror(model, keeper)
    runs.offer(one, answered())
    assert model.begun.wait(10)
    runs.offer(one, answered())

    assert model.stopped


def test_closing_stops_what_runs_and_forgets_what_waits(keeper):
    running, model = Shadow(NoSlot(), keeper), Model(LABELS["label"])
    one = mirror(model, keeper)
    for _ in range(5):
        running.offer(one, answered())
    assert model.begun.wait(10)
    running.close()

    assert model.stopped
    assert len(one.series.ends) == 1


def test_pairs_that_were_kept_are_there_after_a_restart(tmp_path):
    path = tmp_path / "worker-0.json"
    first = PairKeeper(path, lambda: 10**10)
    first.worst(("digits", 2, "canary", "r1"), 3).offer(True, 0.5, lambda: {"body": "x"})
    first.changed()
    again = PairKeeper(path, lambda: 0).worst(("digits", 2, "canary", "r1"), 3)

    assert [(pair["distance"], pair["body"]) for pair in again.documents()] == [(0.5, "x")]


def test_the_file_holds_a_bounded_number_of_mirrors_and_small_pairs(tmp_path):
    path = tmp_path / "worker-0.json"
    keeper = PairKeeper(path, lambda: 10**10)
    for number in range(40):
        worst = keeper.worst(("digits", 2, "canary", f"r{number}"), 3)
    worst.offer(True, 0.5, lambda: {"body": "x", "outputs": "y" * 100_000})
    keeper.changed()

    kept = read_pairs(path)
    assert len(kept) == 16
    assert kept[-1].pairs == [{"differs": True, "distance": 0.5, "body": "x", "cut": True}]


def test_no_disk_costs_the_pairs_and_nothing_else(tmp_path):
    (tmp_path / "file").write_text("")
    keeper = PairKeeper(tmp_path / "file" / "worker-0.json", lambda: 10**10)
    assert isinstance(keeper.worst(("digits", 2, "canary", "r1"), 3), WorstPairs)
    keeper.changed()
