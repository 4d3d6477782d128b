"""Which cells values fall into, and which of them are no good."""

from types import SimpleNamespace

import numpy as np
import pytest

from router.inputs import QUALITY, Feature
from service.features import Declared, compile_lookout

AGE = Declared(Feature("age", "number", edges=(30.0, 60.0)), "x", 0, (20.0, 80.0))
SEX = Declared(Feature("sex", "category", labels=("1", "2")), "x", 1)
NAME = Declared(Feature("name", "category", labels=("ann", "bob")), "who")
TEXT = Declared(Feature("text", "number", edges=(30.0, 60.0)), "who")


def lookout(*declared, shape=(-1, 2)):
    inputs = (SimpleNamespace(name="x", shape=shape), SimpleNamespace(name="who", shape=(-1,)))
    return compile_lookout(declared, SimpleNamespace(inputs=inputs))


def looked(declared, name, array):
    """(bin, quality) of a single value."""
    [[[cell], [quality]]] = lookout(declared).look([{name: array}])
    return cell, QUALITY[quality]


@pytest.mark.parametrize(
    ("value", "cell", "quality"),
    [
        (30.0, 0, "ok"),  # an edge belongs below, as `le` does
        (30.5, 1, "ok"),
        (85.9, 2, "ok"),  # within a tenth of the width
        (86.1, 2, "out_of_range"),
        (13.9, 0, "out_of_range"),
        (np.inf, 2, "out_of_range"),
        (-np.inf, 0, "out_of_range"),
        (np.nan, 3, "missing"),
    ],
)
def test_a_number_falls_between_edges_and_is_marked_when_it_is_far_outside(value, cell, quality):
    assert looked(AGE, "x", np.array([value, 1.0], np.float32)) == (cell, quality)


def test_without_a_range_only_infinities_are_out_of_it():
    free = Declared(AGE.feature, "x")
    assert looked(free, "x", np.array([1e30, 1.0])) == (2, "ok")
    assert looked(free, "x", np.array([np.inf, 1.0])) == (2, "out_of_range")


@pytest.mark.parametrize(
    ("value", "cell", "quality"),
    [(1, 0, "ok"), (2, 1, "ok"), (3, 2, "unseen"), (1.5, 2, "unseen"), (np.nan, 3, "missing")],
)
def test_whole_numbers_are_categories_by_value(value, cell, quality):
    assert looked(SEX, "x", np.array([40.0, value], np.float32)) == (cell, quality)


@pytest.mark.parametrize(
    ("value", "cell", "quality"),
    [(b"ann", 0, "ok"), ("bob", 1, "ok"), (b"eve", 2, "unseen"), (b"", 3, "missing"), (b"\xff", 3, "wrong_type")],
)
def test_texts_are_categories(value, cell, quality):
    assert looked(NAME, "who", np.array([value], object)) == (cell, quality)


@pytest.mark.parametrize(
    ("value", "cell", "quality"),
    [(b"31", 1, "ok"), ("61.5", 2, "ok"), (b"old", 3, "wrong_type"), ("", 3, "missing"), ("nan", 3, "missing")],
)
def test_a_number_written_as_text_is_read(value, cell, quality):
    assert looked(TEXT, "who", np.array([value], object)) == (cell, quality)


def test_a_row_that_is_too_short_and_an_input_that_is_not_there_are_missing():
    assert looked(SEX, "x", np.array([1.0])) == (3, "missing")
    assert looked(SEX, "other", np.array([1.0])) == (3, "missing")


def test_one_row_of_a_batch_is_looked_at_the_same_of_every_input():
    feeds = {"x": np.arange(8.0).reshape(4, 2), "who": np.array(["a", "b", "c", "d"], object)}
    found = lookout(AGE).row(feeds, 0.5)
    assert found["x"].tolist() == [4.0, 5.0]
    assert found["who"].tolist() == ["c"]


def test_an_input_without_a_batch_dimension_is_one_row():
    assert lookout(AGE, shape=(2, 2)).row({"x": np.arange(4.0).reshape(2, 2)}, 0.9)["x"].tolist() == [0, 1, 2, 3]


def test_an_empty_batch_has_nothing_to_look_at():
    row = lookout(AGE).row({"x": np.zeros((0, 2))}, 0.3)
    assert lookout(AGE).look([row]) == [([3], [1])]


def test_features_of_inputs_that_a_version_does_not_have_are_left_out():
    gone = Declared(AGE.feature, "elsewhere")
    assert lookout(gone, SEX).features == (SEX.feature,)


def test_many_rows_are_looked_at_at_once():
    rows = [{"x": np.array([age, 1.0])} for age in (10.0, 31.0, 70.0)]
    assert lookout(AGE, SEX).look(rows) == [([0, 1, 2], [2, 0, 0]), ([0, 0, 0], [0, 0, 0])]
