"""When two answers are the same, and how far apart they are when not."""

from math import inf, isinf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.mirrors import MAX_OUTPUTS
from router.routes import Comparison
from service.diff import Judge, all_finite, compare_all, judges
from service.protocol.tensors import TensorSpec

LABEL = TensorSpec("label", "INT64", (-1,))
SCORES = TensorSpec("scores", "FP32", (-1, 3))
TEXT = TensorSpec("text", "BYTES", (-1,))
PRICE = TensorSpec("price", "FP32", (-1, 1))


def judge(kind, *, batched=True, **more) -> Judge:
    return Judge("y", Comparison("y", kind, **more), batched)


def floats(*rows):
    return np.array(rows, dtype=np.float32)


@pytest.mark.parametrize("kind", ["exact", "tolerance", "argmax", "top_k", "cosine"])
@pytest.mark.parametrize("array", [floats([1, 2, 3], [3, 2, nan]), floats([inf, -inf, 0]), np.array([[1, 2]])])
def test_an_answer_is_the_same_as_itself(kind, array):
    found = judge(kind).compare(array, array.copy())

    assert (found.rows, found.flipped, found.distance) == (len(array), 0, 0.0)


@pytest.mark.parametrize(
    ("kind", "stable", "candidate", "flipped", "distance"),
    [
        ("exact", floats([1, 2], [3, 4]), floats([1, 2], [3, 5]), 1, 0.5),
        ("argmax", floats([0.5, 0.25], [0.75, 0.25]), floats([0.25, 0.5], [0.5, 0.25]), 1, 0.25),
        ("argmax", floats([0.5, 0.25]), floats([1.0, 0.0]), 0, 0.5),
        ("top_k", floats([4, 3, 2, 1]), floats([4, 3, 1, 2]), 0, 0.0),
        ("top_k", floats([4, 3, 2, 1]), floats([4, 1, 2, 3]), 1, 0.5),
        ("cosine", floats([1, 0]), floats([5, 0]), 0, 0.0),
        ("cosine", floats([1, 0]), floats([0, 1]), 1, 1.0),
        ("cosine", floats([1, 0]), floats([-1, 0]), 1, 2.0),
    ],
)
def test_each_kind_has_its_own_distance(kind, stable, candidate, flipped, distance):
    found = judge(kind, k=2, least=0.9).compare(stable, candidate)

    assert (found.flipped, found.distance) == (flipped, pytest.approx(distance, abs=1e-6))


def test_a_distance_by_tolerance_is_measured_in_tolerances():
    one = judge("tolerance", absolute=0.5, relative=0.1)

    within = one.compare(floats([10.0]), floats([11.5]))
    beyond = one.compare(floats([10.0]), floats([13.0]))

    assert (within.flipped, within.distance) == (0, pytest.approx(1.0))
    assert (beyond.flipped, beyond.distance) == (1, pytest.approx(2.0))


def test_without_any_tolerance_every_difference_is_infinitely_far():
    assert judge("tolerance").compare(floats([1.0]), floats([1.5])).distance == inf


@pytest.mark.parametrize("kind", ["exact", "tolerance", "argmax", "top_k", "cosine"])
def test_a_nan_in_one_answer_alone_is_a_difference(kind):
    found = judge(kind, absolute=1e9, least=-1.0).compare(floats([1, 2], [1, 2]), floats([1, 2], [1, nan]))

    assert found.flipped == 1
    assert kind == "exact" or isinf(found.distance)


def test_answers_of_different_shapes_differ_in_every_row():
    found = judge("exact").compare(floats([1], [2], [3]), floats([1], [2]))

    assert (found.rows, found.flipped, found.distance) == (3, 3, inf)


def test_an_output_without_free_dimension_is_one_row():
    found = judge("exact", batched=False).compare(floats(1, 2, 3), floats(1, 2, 4))

    assert (found.rows, found.flipped) == (1, 1)


def test_a_row_of_many_vectors_differs_where_one_of_them_does():
    stable = np.zeros((2, 4, 3), np.float32)
    candidate = stable.copy()
    candidate[1, 2, 2] = 1.0

    assert judge("argmax").compare(stable, candidate).flipped == 1


def test_one_number_a_row_is_compared_row_by_row():
    assert judge("argmax").compare(floats(1, 2, 3), floats(1, 9, 3)).rows == 3


def test_no_rows_are_no_difference():
    empty = np.zeros((0, 3), np.float32)

    assert judge("tolerance").compare(empty, empty).rows == 0


def test_text_is_compared_element_by_element():
    stable, candidate = np.array([b"a", b"b"], object), np.array([b"a", b"c"], object)

    assert judge("exact").compare(stable, candidate).flipped == 1


@given(st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3), min_size=1, max_size=5))
def test_a_difference_has_the_same_size_from_both_sides(rows):
    one, other = floats(*rows), floats(*rows[::-1])

    assert judge("argmax").compare(one, other).distance == judge("argmax").compare(other, one).distance


def test_without_words_the_meaning_decides_and_else_the_datatype():
    specs = (LABEL, SCORES, TEXT, PRICE)
    found = judges((), (specs, specs), {"scores": "probabilities", "label": "class", "price": "value"})

    assert [(one.output, one.kind) for one in found] == [
        ("label", "exact"), ("scores", "argmax"), ("text", "exact"), ("price", "tolerance"),
    ]  # fmt: skip
    assert [one.comparison.relative for one in found][3] == 0.01
    assert [one.kind for one in judges((), (specs, specs), {})] == ["exact", "tolerance", "exact", "tolerance"]


def test_what_is_named_goes_first_and_a_star_stands_for_the_rest():
    wanted = (Comparison("scores", "cosine"), Comparison("*", "top_k"))
    found = judges(wanted, ((LABEL, SCORES, TEXT), (TEXT, SCORES)), {})

    assert [(one.output, one.kind) for one in found] == [("scores", "cosine"), ("text", "exact")]


def test_no_more_outputs_are_compared_than_have_a_place():
    specs = tuple(TensorSpec(f"y{number}", "FP32", (-1,)) for number in range(40))

    assert len(judges((), (specs, specs), {})) == MAX_OUTPUTS


def test_an_output_that_was_not_asked_for_is_not_compared():
    chosen = judges((), ((LABEL, SCORES), (LABEL, SCORES)), {})
    labels = {"label": np.array([1])}

    assert [one is None for one in compare_all(chosen, labels, labels)] == [False, True]


@pytest.mark.parametrize(
    ("array", "finite"),
    [
        (floats([1, 2]), True),
        (floats([1, inf]), False),
        (floats([-inf, inf]), False),
        (floats([nan]), False),
        (floats([3e38, 1]), True),
        (np.full(9999, 1.0), True),
        (np.array([1.0] * 9999 + [nan]), False),
        (np.array([nan], np.float16), False),
        (floats([]), True),
        (np.array([1, 2]), True),
        (np.array([b"nan"], object), True),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_only_floats_can_be_not_finite(array, finite):
    assert all_finite([array]) is finite
