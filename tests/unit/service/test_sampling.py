"""Sampled inputs: what is taken, what is dropped, and whose requests count as independent."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from router.counters import Segment
from router.inputs import input_counts
from router.tally import read_all, total
from router.telemetry import Recorder, SeriesName
from service import sampling
from service.runtime.manifest import parse_manifest
from service.sampling import Rate, Sampler, Units

MANIFEST = b"""
[features.age]
input = "x"
edges = [30, 60]
[drift]
per_second = 10
"""
FEEDS = {"x": np.array([[40.0]])}


def loaded(text=MANIFEST):
    signature = SimpleNamespace(inputs=(SimpleNamespace(name="x", shape=(-1, 1)),))
    return SimpleNamespace(manifest=parse_manifest(text), signature=signature)


@pytest.fixture
def sampler(tmp_path):
    running = Sampler(Recorder(Segment.open(tmp_path, 0)), 0, 1)
    yield running
    running.close()


def counted(folder):
    return next(input_counts(total(read_all(folder))))


def until(holds):
    for _ in range(1000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came true")


def no_key():
    return None


def test_what_is_sampled_is_counted_by_the_thread(sampler, tmp_path):
    tap = sampler.tap(SeriesName("m", 1, "a", 1), "m", loaded())
    for _ in range(5):
        tap(FEEDS, 100, no_key)
    until(lambda: sum(counted(tmp_path).features[0].bins) == 5)
    assert counted(tmp_path).taken == 5
    assert counted(tmp_path).features[0].match == (0, 5, 0, 0)


def test_a_model_that_declares_nothing_is_not_looked_at(sampler, tmp_path):
    assert sampler.tap(SeriesName("m", 1, "a", 1), "m", loaded(b"")) is None
    assert list(input_counts(read_all(tmp_path))) == []


def test_the_reference_of_outputs_is_told_without_any_feature(sampler, tmp_path):
    text = b"[outputs.y]\nkind = 'value'\n[reference.y]\nedges = [1]\ncounts = [2, 3]"
    assert sampler.tap(SeriesName("m", 1, "a", 1), "m", loaded(text)) is None
    assert counted(tmp_path).references == {"y": (2, 3)}


def test_what_finds_no_place_is_dropped_and_counted(sampler, tmp_path, monkeypatch):
    monkeypatch.setattr(Sampler, "_work", lambda self: None)  # nobody empties the queue
    tap = sampler.tap(SeriesName("m", 1, "a", 1), "m", loaded())
    tap(FEEDS, sampling.MOST_BYTES + 1, no_key)
    for _ in range(sampling.MOST_WAITING + 3):
        tap(FEEDS, 1, no_key)
    assert counted(tmp_path).taken == sampling.MOST_WAITING
    assert counted(tmp_path).dropped == {"too_large": 1, "queue_full": 3}


def test_the_bytes_that_wait_are_bounded(sampler, tmp_path, monkeypatch):
    monkeypatch.setattr(Sampler, "_work", lambda self: None)
    tap = sampler.tap(SeriesName("m", 1, "a", 1), "m", loaded())
    for _ in range(3):
        tap(FEEDS, sampling.MOST_BYTES // 2, no_key)
    assert (counted(tmp_path).taken, counted(tmp_path).dropped) == (2, {"queue_full": 1})


def test_inputs_that_cannot_be_counted_do_not_end_the_thread(sampler, tmp_path):
    tap = sampler.tap(SeriesName("m", 1, "a", 1), "m", loaded())
    tap({"x": "no array"}, 1, no_key)
    until(lambda: sampler._out == 1)
    tap(FEEDS, 1, no_key)
    until(lambda: sum(counted(tmp_path).features[0].bins) == 1)


def test_the_share_follows_the_traffic_of_the_last_second():
    rate = Rate(100, since_ns=0)
    rate.seen = 5_000
    rate.adapt(999_999_999)
    assert rate.share == 1.0
    rate.adapt(2_000_000_000)
    assert rate.share == pytest.approx(0.04)
    rate.adapt(4_000_000_000)
    assert rate.share == 1.0


def test_a_request_that_is_not_drawn_costs_nothing_but_the_draw(sampler, tmp_path):
    tap = sampler.tap(SeriesName("m", 1, "a", 1), "m", loaded())
    sampler._rates["m"].share = 0.0
    tap(FEEDS, 1, no_key)
    assert (counted(tmp_path).taken, sampler._thread) == (0, None)


def test_a_key_is_independent_once_in_the_one_worker_whose_turn_it_is():
    workers = [Units("r1", slot, 3) for slot in range(3)]
    keys = [f"user-{number}".encode() for number in range(200)] * 4
    assert sum(units.is_new(key) for key in keys for units in workers) == 200


def test_requests_without_a_key_are_all_independent():
    units = Units("r1", 0, 4)
    assert all(units.is_new(None) for _ in range(3))


def test_units_live_through_the_epochs_of_a_rollout_and_end_with_it(sampler):
    for epoch, salt in ((1, "r1"), (2, "r1")):
        sampler.tap(SeriesName("m", 1, "a", epoch), salt, loaded())
    assert sampler._units["m"].is_new(b"ann")
    sampler.tap(SeriesName("m", 2, "b", 3), "r1", loaded())
    assert not sampler._units["m"].is_new(b"ann")
    sampler.tap(SeriesName("m", 2, "b", 4), "r2", loaded())
    assert sampler._units["m"].is_new(b"ann")
