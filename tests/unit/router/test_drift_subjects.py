"""From counters to what is watched: which blocks count, and against which reference."""

from dataclasses import replace

import pytest

from router.counters import Segment
from router.drift_subjects import pairs_of, splits_of, subjects_of
from router.inputs import Feature, input_series
from router.layout import How, Outcome
from router.routes import Route, Variant
from router.tally import read_all
from router.telemetry import Recorder, SeriesName, WatchedFamily

AGE = Feature("age", "number", edges=(30.0,), reference=(10, 10, 2), critical=True)
SEX = Feature("sex", "category", labels=("1",), reference=(10, 2, 0))
LABEL = WatchedFamily("label", "class", labels=("a", "b", "other"))
TOP = WatchedFamily("p", "confidence", edges=(0.5, 0.9))
ROUTE = Route("m", (Variant("stable", 1, 900_000), Variant("canary", 2, 100_000)), epoch=3)
REFERENCES = {"label": (5, 6), "p": (1, 2, 3)}


class Worker:
    def __init__(self, folder, slot=0):
        self.recorder = Recorder(Segment.open(folder, slot))

    def inputs(self, variant="stable", version=1, epoch=3, features=(AGE, SEX), cells=((0,), (1,)), keyed=False):
        name = SeriesName("m", version, variant, epoch)
        series = input_series(self.recorder, name, features, REFERENCES, epoch)
        for at, each in enumerate(cells):
            series.count(at, each, [0] * len(each), [not keyed] * len(each))

    def outputs(self, variant="stable", version=1, epoch=3, cells=(0, 3), direct=False):
        name = SeriesName("m", version, variant, 0 if direct else epoch, direct)
        series = self.recorder.variant(name, (LABEL, TOP), epoch)
        series.assigned(How.RULE if direct else How.SPLIT_DRAWN)
        series.observe(Outcome.OK, 1, (0, 0, 0, 0), cells)


@pytest.fixture
def worker(tmp_path):
    return Worker(tmp_path)


def found(tmp_path, route=ROUTE):
    return {subject.key: subject for subject in subjects_of(read_all(tmp_path), route)}


def test_inputs_of_all_versions_epochs_and_workers_are_one(worker, tmp_path):
    worker.inputs()
    worker.inputs(epoch=4, cells=((0, 1), (0, 0)))
    worker.inputs("canary", 2)
    Worker(tmp_path, 1).inputs()
    subjects = found(tmp_path)
    assert subjects["input/age"].counts == (4, 1, 0)
    assert (subjects["input/age"].reference, subjects["input/age"].critical) == ((10, 10, 2), True)
    assert subjects["input/sex"].counts == (2, 3, 0)
    assert [bad.baseline for bad in subjects["input/sex"].bad if bad.word == "unseen"] == [(2, 12)]


def test_outputs_are_those_of_the_version_with_most_weight_and_its_split(worker, tmp_path):
    worker.inputs()
    worker.outputs()
    worker.outputs(epoch=4)
    worker.outputs("canary", 2, cells=(1, 4))
    worker.outputs(direct=True, cells=(1, 4))
    subjects = found(tmp_path)
    label, top = subjects["output/label"], subjects["output/p (confidence)"]
    assert (label.counts, label.reference, label.version) == ((2, 0, 0), (5, 6, 0), 1)
    assert (top.counts, top.reference, top.edges) == ((2, 0, 0, 0), (1, 2, 3, 0), (0.5, 0.9))
    assert [bad.word for bad in top.bad] == ["non_finite"]


def test_a_block_from_before_the_version_was_loaded_hides_no_output(worker, tmp_path):
    name = SeriesName("m", 1, "stable", 3)
    worker.recorder.variant(name, (), 0)
    worker.outputs()
    assert found(tmp_path)["output/label"].counts == (1, 0, 0)


def test_outputs_without_a_reference_have_none(worker, tmp_path):
    worker.outputs()
    assert found(tmp_path)["output/label"].reference == ()


def test_what_was_declared_otherwise_before_is_left_out(worker, tmp_path):
    worker.inputs(cells=((0,) * 50, (0,) * 50))
    changed = replace(AGE, reference=(1, 1, 1))
    worker.inputs(epoch=4, features=(changed, SEX))
    assert found(tmp_path)["input/age"].counts == (1, 0, 0)
    assert found(tmp_path)["input/age"].reference == (1, 1, 1)


def test_other_models_are_left_out(worker, tmp_path):
    worker.inputs()
    assert found(tmp_path, replace(ROUTE, model="other")) == {}


def test_a_split_compares_the_others_with_the_main_variant_in_the_routes_epoch(worker, tmp_path):
    worker.inputs(epoch=2, cells=((0,) * 9, (0,) * 9))
    worker.inputs()
    worker.inputs("canary", 2, cells=((1,), (0,)))
    worker.inputs("canary", 2, cells=((1,), (0,)), keyed=True)
    [split] = splits_of(read_all(tmp_path), ROUTE)
    assert (split.identity, split.epoch) == ("m stable:1 canary:2", 3)
    assert (split.candidate["age"], split.stable["age"]) == ((0, 1, 0), (1, 0, 0))
    assert split.kinds == {"age": "number", "sex": "category"}


def test_a_candidate_with_most_of_the_weight_is_still_the_one_that_is_compared():
    most = replace(ROUTE, variants=(Variant("stable", 1, 200_000), Variant("canary", 2, 800_000)))
    assert list(pairs_of(most)) == list(pairs_of(ROUTE)) == ["m stable:1 canary:2"]


def test_a_single_version_is_compared_with_nobody(worker, tmp_path):
    worker.inputs()
    alone = replace(ROUTE, variants=(Variant("stable", 1, 1_000_000), Variant("canary", 2, 0)))
    assert splits_of(read_all(tmp_path), alone) == ()


def test_a_version_that_has_had_no_request_is_not_compared_yet(worker, tmp_path):
    worker.inputs()
    assert splits_of(read_all(tmp_path), ROUTE) == ()
