"""What a version's numbers mean: its own metadata first, then model.toml."""

import numpy as np
import pytest

from service.protocol.tensors import Signature, TensorSpec
from service.runtime.manifest import Manifest, parse_manifest
from service.runtime.meaning import answers_of, meaning_of

SIGNATURE = Signature(
    (TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("label", "INT64", (-1,)), TensorSpec("p", "FP32", (-1, 2)))
)
TOML = b"""
labels = ["a", "b"]
[inputs.x]
units = "m"
[outputs.label]
kind = "class"
[outputs.p]
kind = "probabilities"
"""


def manifest(text: bytes = TOML) -> Manifest:
    return parse_manifest(text)


def test_model_toml_speaks_where_the_file_is_silent() -> None:
    found = meaning_of(manifest(), {}, SIGNATURE)
    assert found == {"labels": {"label": ["a", "b"], "p": ["a", "b"]}, "units": {"x": "m"}}


def test_the_files_own_word_comes_first() -> None:
    metadata = {"labels": '["b", "a"]', "labels.p": '["c", "d"]', "units.x": "ft", "columns": '["age", 2]'}
    assert meaning_of(manifest(), metadata, SIGNATURE) == {
        "labels": {"label": ["b", "a"], "p": ["c", "d"]},
        "units": {"x": "ft"},
        "columns": ["age", "2"],
    }


@pytest.mark.parametrize("text", ["", "nonsense", '{"a": 1}', "[" * 100_000, "3"])
def test_metadata_that_is_no_list_says_nothing(text: str) -> None:
    assert meaning_of(manifest(b""), {"labels": text, "columns": text}, SIGNATURE) == {}


def test_long_lists_are_cut_and_still_told_apart() -> None:
    many = [str(number) for number in range(500)]
    one = meaning_of(manifest(b""), {"columns": str(many).replace("'", '"')}, SIGNATURE)["columns"]
    other = meaning_of(manifest(b""), {"columns": str([*many[:-1], "x"]).replace("'", '"')}, SIGNATURE)["columns"]
    assert len(one) == 101
    assert one != other


def test_answers_are_the_class_of_each_row() -> None:
    outputs = [np.array([1, 0]), np.array([[0.1, 0.9], [0.8, 0.2]], np.float32)]
    assert answers_of(manifest(), ["label", "p"], outputs) == {"label": [1, 0], "p": [1, 0]}


def test_what_is_no_class_gives_no_answers() -> None:
    assert answers_of(manifest(b""), ["label"], [np.array([1])]) == {}
    assert answers_of(manifest(), ["label"], [np.array([], np.int64)]) == {}
    assert answers_of(manifest(), ["label"], [np.array([b"cat"])]) == {"label": ["b'cat'"]}
