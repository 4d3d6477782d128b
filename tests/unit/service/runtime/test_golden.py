"""Pure."""

import json
from typing import Any

import numpy as np
import pytest

from service.runtime.golden import GoldenError, differences, expectation, non_finite, parse_golden

X = {"datatype": "FP32", "shape": [1, 2], "data": [1, 2]}


def golden(**outputs: Any) -> bytes:
    return json.dumps({"cases": [{"inputs": {"x": X}, "outputs": outputs}]}).encode()


def y(*data: object, **more: Any) -> dict[str, Any]:
    return {"y": {"data": list(data), **more}}


def test_inputs_become_arrays() -> None:
    (case,) = parse_golden(golden(), 1)
    assert case.feeds["x"].dtype == np.float32
    assert case.feeds["x"].tolist() == [[1.0, 2.0]]
    assert case.expected == {}


def test_text_inputs_become_bytes() -> None:
    content = b'{"cases": [{"inputs": {"x": {"datatype": "BYTES", "shape": [1], "data": ["\xc3\xa9"]}}}]}'
    assert parse_golden(content, 1)[0].feeds["x"].tolist() == ["é".encode()]


def test_a_version_is_compared_with_its_own_answers_and_else_with_those_of_all() -> None:
    content = golden(**{"1": y(1.0), "*": y(9.0)})
    assert parse_golden(content, 1)[0].expected["y"].values.tolist() == [1.0]
    assert parse_golden(content, 2)[0].expected["y"].values.tolist() == [9.0]


def test_versions_of_which_the_same_is_expected_have_the_same_expectation() -> None:
    content = golden(**{"1": y(1.0), "2": y(2.0), "3": y(1.0)})
    of = {version: expectation(content, version) for version in (1, 2, 3, 4)}
    assert of[1] == of[3] != of[2]
    assert of[4] == "" != of[2]
    assert expectation(golden(**{"*": y(1.0)}), 7) == of[1]


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"cases": []}', b'{"cases": [{"inputs": {}}]}', b"\xff"])
def test_nothing_is_expected_where_nothing_can_be_read(content: bytes | None) -> None:
    assert expectation(content, 1) == ""


@pytest.mark.parametrize(
    ("expected", "found", "problem"),
    [
        (y(1.0, atol=0.1, rtol=0), np.array([1.09]), None),
        (y(1.0, atol=0.1, rtol=0), np.array([1.11]), "differs in 1 of 1 values, first at 0"),
        (y(100.0, atol=0, rtol=0.1), np.array([109.0]), None),
        (y(1, 2, atol=0, rtol=0), np.array([1, 3]), "differs in 1 of 2 values, first at 1"),
        (y(1.0, 2.0), np.array([[1.0, 2.0]]), None),
        (y(1.0, 2.0, shape=[2]), np.array([[1.0, 2.0]]), "has shape [1, 2] instead of [2]"),
        (y(1.0), np.array([1.0, 2.0]), "has 2 elements instead of 1"),
        (y(None), np.array([np.nan]), None),
        (y(1.0), np.array([np.nan]), "differs in 1 of 1 values, first at 0"),
        (y("a", "b"), np.array(["a", "b"], dtype=object), None),
        (y("a"), np.array(["b"], dtype=object), "differs in 1 of 1 values, first at 0"),
        (y(True), np.array([True]), None),
    ],
)
def test_answers_are_compared_within_tolerance(
    expected: dict[str, Any], found: np.ndarray[Any, Any], problem: str | None
) -> None:
    (case,) = parse_golden(golden(**{"1": expected}), 1)
    assert differences(case, ["y"], [found]) == ([f"output 'y' {problem}"] if problem else [])


def test_a_missing_output_is_a_difference() -> None:
    (case,) = parse_golden(golden(**{"1": y(1.0)}), 1)
    assert differences(case, ["z"], [np.array([1.0])]) == ["there is no output 'y'"]


def test_outputs_that_are_not_finite_are_named() -> None:
    arrays = [np.array([1.0]), np.array([np.inf]), np.array(["nan"], dtype=object), np.array([1])]
    assert non_finite(["a", "b", "c", "d"], arrays) == ["b"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"cases": [{"inputs": {"x": {"datatype": "FP31", "shape": [1], "data": [1]}}}]}',
        b'{"cases": [{"inputs": {"x": {"datatype": "FP32", "shape": [2], "data": [1]}}}]}',
        b'{"cases": [{"inputs": {"x": {"datatype": "FP32", "data": [1]}}}]}',
        b'{"cases": [{"inputs": {"x": {"datatype": "UINT8", "shape": [1], "data": [300]}}}]}',
        b'{"cases": [{"inputs": {"x": {"datatype": "FP32", "shape": [1], "data": ["a"]}}}]}',
        b'{"cases": [], "more": 1}',
        b"[" * 100_000,
    ],
)
def test_a_bad_file_is_named_and_not_believed(content: bytes) -> None:
    with pytest.raises(GoldenError, match="golden rows"):
        parse_golden(content, 1)
