"""Answers become cells: one a family for the first row, counted pairs for the rest."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from ml_dtypes import bfloat16

from service.watch import MAX_LABELS, MAX_WATCHED_OUTPUTS, OutputMeaning, Watch, compile_watch

DIGITS = tuple("0123456789")


@dataclass
class Output:
    name: str
    datatype: str
    shape: tuple[int, ...] | None


@dataclass
class Outputs:
    outputs: list[Output]


def watch(*meanings: OutputMeaning, **shapes: tuple[str, tuple[int, ...] | None]) -> Watch:
    return compile_watch(meanings, Outputs([Output(name, *said) for name, said in shapes.items()]))


def named(compiled: Watch, cells) -> list[str]:
    """The cells in words: output, kind and place within the family."""
    words = []
    for family in compiled.families:
        words += [
            f"{family.kind}:{family.labels[place] if family.labels else place}" for place in range(family.cell_count)
        ]
    return [words[cell] for cell in cells]


@pytest.mark.parametrize(
    ("labels", "answer", "word"),
    [
        (DIGITS, np.array([3]), "class:3"),
        (("2", "7"), np.array([7]), "class:7"),
        (("2", "7"), np.array([1]), "class:other"),
        (("benign", "malignant"), np.array([1]), "class:malignant"),
        (("benign", "malignant"), np.array([True]), "class:malignant"),
        (("benign", "malignant"), np.array([0.0], np.float32), "class:benign"),
        (("benign", "malignant"), np.array([np.nan], np.float32), "class:other"),
        (("benign", "malignant"), np.array([b"malignant"], object), "class:malignant"),
        (("benign", "malignant"), np.array(["benign"], object), "class:benign"),
        (("benign", "malignant"), np.array(["unheard of"], object), "class:other"),
        ((), np.array([9]), "class:9"),
        ((), np.array([10]), "class:other"),
    ],
)
def test_a_class_is_found_by_value_by_place_or_by_text(labels, answer, word):
    compiled = watch(OutputMeaning("label", "class", labels), label=("INT64", (-1,)))
    first, more = compiled.cells({"label": answer})
    assert named(compiled, first) == [word]
    assert more == ()


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (0.5, "value:0"),
        (1.0, "value:0"),
        (1.5, "value:1"),
        (99.0, "value:2"),
        (np.nan, "value:3"),
        (-np.inf, "value:3"),
    ],
)
def test_a_value_lies_at_or_below_its_edge_and_what_is_not_finite_lies_apart(value, word):
    compiled = watch(OutputMeaning("target", "value", edges=(1.0, 2.0)), target=("FP32", (-1, 1)))
    one, _ = compiled.cells({"target": np.array([[value]], np.float32)})
    first, more = compiled.cells({"target": np.array([[0.0], [value]], np.float32)})
    assert named(compiled, one) == [word]
    assert first == (0,)
    assert named(compiled, [cell for cell, _ in more]) == [word]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, bfloat16])
def test_probabilities_give_the_top_one_and_without_a_label_output_its_class(dtype):
    compiled = watch(OutputMeaning("p", "probabilities", ("a", "b"), edges=(0.5, 0.75)), p=("FP32", (-1, 2)))
    first, more = compiled.cells({"p": np.array([[0.25, 0.625], [0.875, 0.125], [0.875, np.nan]], dtype)})
    assert named(compiled, first) == ["confidence:1", "class:b"]
    assert Counter(named(compiled, [cell for cell, _ in more])) == Counter(
        ["confidence:2", "confidence:3", "class:a", "class:other"]
    )


def test_probabilities_beside_a_label_output_count_no_class_of_their_own():
    compiled = watch(
        OutputMeaning("label", "class", DIGITS),
        OutputMeaning("p", "probabilities"),
        label=("INT64", (-1,)),
        p=("FP32", (-1, 10)),
    )
    assert [family.kind for family in compiled.families] == ["class", "confidence"]


def test_a_class_output_without_labels_has_as_many_as_the_model_has_probabilities():
    compiled = watch(
        OutputMeaning("label", "class"),
        OutputMeaning("p", "probabilities"),
        label=("INT64", (-1,)),
        p=("FP32", (-1, 3)),
    )
    assert compiled.families[0].labels == ("0", "1", "2", "other")


@pytest.mark.parametrize("odd", [None, np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("names", [("label", "p", "target"), ("p", "target"), ("p",), ("target",), ("label",), ()])
def test_requests_that_ran_together_have_the_cells_that_each_has_alone(names, odd):
    rng = np.random.default_rng(8)
    outputs = {
        "label": rng.integers(-1, 12, 50),
        "p": rng.dirichlet(np.ones(4), 50).astype(np.float32),
        "target": rng.normal(0, 50, (50, 1)),
    }
    outputs["p"][7] = 0.25  # the first of several that are highest
    if odd is not None:
        outputs["p"][5, 2:] = outputs["target"][6] = odd
    meanings = {
        "label": OutputMeaning("label", "class", DIGITS),
        "p": OutputMeaning("p", "probabilities", edges=(0.25, 0.5, 0.7)),
        "target": OutputMeaning("target", "value"),
    }
    shapes = {"label": ("INT64", (-1,)), "p": ("FP32", (-1, 4)), "target": ("FP64", (-1, 1))}
    compiled = watch(*(meanings[name] for name in names), **shapes)

    together = compiled.cells_of_rows(list(outputs))(list(outputs.values()), 50)

    alone = [compiled.cells({name: array[row : row + 1] for name, array in outputs.items()})[0] for row in range(50)]
    assert together == alone


def test_many_rows_at_once_count_as_the_same_rows_alone():
    rng = np.random.default_rng(7)
    outputs = {
        "label": rng.integers(-1, 12, 200),
        "p": rng.dirichlet(np.ones(4), 200).astype(np.float32),
        "target": rng.normal(0, 50, (200, 1)),
    }
    outputs["p"][5, 2] = np.nan
    outputs["target"][6] = np.inf
    compiled = watch(
        OutputMeaning("label", "class", DIGITS),
        OutputMeaning("p", "probabilities", edges=(0.3, 0.5, 0.7)),
        OutputMeaning("target", "value"),
        label=("INT64", (-1,)),
        p=("FP32", (-1, 4)),
        target=("FP64", (-1, 1)),
    )
    first, more = compiled.cells(outputs)
    together = Counter(first) + Counter(dict(more))
    alone = Counter()
    for row in range(200):
        alone.update(compiled.cells({name: array[row : row + 1] for name, array in outputs.items()})[0])
    assert together == alone
    assert sum(together.values()) == 3 * 200


def test_rows_that_are_not_there_count_nothing():
    compiled = watch(
        OutputMeaning("label", "class", DIGITS),
        OutputMeaning("t", "value"),
        label=("INT64", (-1,)),
        t=("FP32", (-1, 1)),
    )
    assert compiled.cells({"label": np.zeros(0, np.int64)}) == ((), ())


def test_an_answer_without_a_free_first_dimension_is_one_row():
    compiled = watch(OutputMeaning("p", "probabilities", ("a", "b", "c")), p=("FP32", (3,)))
    first, more = compiled.cells({"p": np.array([0.1, 0.8, 0.1], np.float32)})
    assert named(compiled, first)[1] == "class:b"
    assert more == ()


def test_each_output_says_by_its_own_shape_whether_it_has_rows():
    compiled = watch(OutputMeaning("t", "value"), OutputMeaning("u", "value"), t=("FP32", (-1,)), u=("FP32", (3,)))
    first, more = compiled.cells({"t": np.ones(3, np.float32), "u": np.ones(3, np.float32)})
    assert len(first) == 2
    assert [count for _, count in more] == [2]


@pytest.mark.parametrize("shape", [(-1,), (), None])
def test_a_scalar_answer_is_one_row(shape):
    compiled = watch(OutputMeaning("t", "value", edges=(1.0,)), t=("FP32", shape))
    assert compiled.cells({"t": np.array(2.0, np.float32)}) == ((1,), ())


def test_what_is_watched_is_bounded_whatever_the_manifest_says():
    meanings = [OutputMeaning(f"o{i}", "class", tuple(map(str, range(5000)))) for i in range(50)]
    compiled = watch(*meanings, **{f"o{i}": ("INT64", (-1,)) for i in range(50)})
    assert len(compiled.families) == MAX_WATCHED_OUTPUTS
    assert all(family.cell_count == MAX_LABELS + 1 for family in compiled.families)


def test_outputs_that_do_not_exist_and_strings_as_numbers_are_left_out():
    compiled = watch(OutputMeaning("gone", "class"), OutputMeaning("text", "value"), text=("BYTES", (-1,)))
    assert compiled.families == ()
    assert compiled.cells({"text": np.array([b"x"], object)}) == ((), ())


def test_edges_of_a_reference_with_ties_are_put_in_order():
    compiled = watch(OutputMeaning("t", "value", edges=(5.0, 1.0, 1.0, float("nan"))), t=("FP32", (-1,)))
    assert compiled.families[0].edges == (1.0, 5.0)
