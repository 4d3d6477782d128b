"""The contract gate: identical, compatible or breaking, and every difference in words."""

from typing import Any

import pytest

from router.assessor import Contract, ContractKind
from router.contract import compare_versions, renumbered
from router.reports import InventoryVersion, VersionState

IDENTICAL, COMPATIBLE, BREAKING = ContractKind.IDENTICAL, ContractKind.COMPATIBLE, ContractKind.BREAKING
PIXELS = ("pixels", "FP32", [-1, 64])
LABEL, PROBABILITIES = ("label", "INT64", [-1]), ("probabilities", "FP32", [-1, 10])
Tensor = tuple[str, str, list[int] | None]


def version(
    inputs: tuple[Tensor, ...] = (PIXELS,), outputs: tuple[Tensor, ...] = (LABEL, PROBABILITIES), **more: Any
) -> InventoryVersion:
    signature = {
        part: [{"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape in tensors]
        for part, tensors in (("inputs", inputs), ("outputs", outputs))
    }
    return InventoryVersion(VersionState.READY, signature=signature, **more)


def meaning(**said: Any) -> InventoryVersion:
    return version(meaning=said)


def golden(**said: Any) -> InventoryVersion:
    return version(golden={"applicable": True, "non_finite": [], **said})


def test_a_version_keeps_its_own_contract() -> None:
    assert compare_versions(version(), version()) == Contract(IDENTICAL)


def test_without_a_signature_nothing_is_known() -> None:
    bare = InventoryVersion(VersionState.READY)
    assert compare_versions(version(), bare) == Contract(ContractKind.UNKNOWN, ("the candidate has no signature",))
    assert compare_versions(bare, version()).differences == ("stable has no signature",)


@pytest.mark.parametrize(
    ("candidate", "kind", "difference"),
    [
        (
            version(inputs=(PIXELS, ("mask", "BOOL", [-1]))),
            BREAKING,
            "input 'mask' is new, and every input must be given",
        ),
        (version(inputs=()), BREAKING, "input 'pixels' is gone"),
        (version(inputs=(("pixels", "FP64", [-1, 64]),)), BREAKING, "input 'pixels' is FP64, was FP32"),
        (version(inputs=(("pixels", "FP32", [1, 64]),)), BREAKING, "input 'pixels' has shape [1, 64], was [-1, 64]"),
        (
            version(inputs=(("pixels", "FP32", [-1, -1]),)),
            COMPATIBLE,
            "input 'pixels' has shape [-1, -1], was [-1, 64]",
        ),
        (
            version(inputs=(("pixels", "FP32", [-1, 8, 8]),)),
            BREAKING,
            "input 'pixels' has shape [-1, 8, 8], was [-1, 64]",
        ),
        (version(inputs=(("pixels", "FP32", None),)), COMPATIBLE, "input 'pixels' has shape of any rank, was [-1, 64]"),
        (version(outputs=(LABEL,)), BREAKING, "output 'probabilities' is gone"),
        (version(outputs=(LABEL, PROBABILITIES, ("score", "FP32", [-1]))), COMPATIBLE, "output 'score' is new"),
        (version(outputs=(("label", "INT32", [-1]), PROBABILITIES)), BREAKING, "output 'label' is INT32, was INT64"),
        (
            version(outputs=(("label", "INT64", [1]), PROBABILITIES)),
            COMPATIBLE,
            "output 'label' has shape [1], was [-1]",
        ),
        (
            version(outputs=(LABEL, ("probabilities", "FP32", [-1, 11]))),
            BREAKING,
            "output 'probabilities' has shape [-1, 11], was [-1, 10]",
        ),
        (version(outputs=(PROBABILITIES, LABEL)), COMPATIBLE, "the outputs are in another order"),
    ],
)
def test_a_difference_of_signatures_is_named(candidate: InventoryVersion, kind: ContractKind, difference: str) -> None:
    assert compare_versions(version(), candidate) == Contract(kind, (difference,))


@pytest.mark.parametrize(
    ("stable", "candidate", "kind", "difference"),
    [
        (
            {"labels": {"label": ["malignant", "benign"]}},
            {"labels": {"label": ["benign", "malignant"]}},
            BREAKING,
            "the classes of output 'label' are in another order: number 0 is 'benign', was 'malignant'",
        ),
        (
            {"labels": {"label": ["a", "b"]}},
            {"labels": {"label": ["a", "c"]}},
            BREAKING,
            "the classes of output 'label' are others: number 1 is 'c', was 'b'",
        ),
        (
            {"labels": {"label": ["a"]}},
            {"labels": {"label": ["a", "b"]}},
            COMPATIBLE,
            "output 'label' knows more classes: b",
        ),
        ({"units": {"y": "m"}}, {"units": {"y": "ft"}}, BREAKING, "'y' is in 'ft', was in 'm'"),
        (
            {"columns": ["age", "sex"]},
            {"columns": ["sex", "age"]},
            BREAKING,
            "the columns are in another order: number 0 is 'sex', was 'age'",
        ),
        (
            {"columns": ["age", "sex"]},
            {"columns": ["age"]},
            BREAKING,
            "the columns are others: number 1 is nothing, was 'sex'",
        ),
    ],
)
def test_numbers_that_mean_something_else_are_named(
    stable: dict[str, Any], candidate: dict[str, Any], kind: ContractKind, difference: str
) -> None:
    assert compare_versions(meaning(**stable), meaning(**candidate)) == Contract(kind, (difference,))


def test_what_only_one_of_both_says_is_not_compared() -> None:
    assert compare_versions(meaning(labels={"label": ["a"]}), version()).kind is IDENTICAL
    assert compare_versions(version(), meaning(units={"y": "m"})).kind is IDENTICAL


def test_what_breaks_is_said_first() -> None:
    candidate = version(outputs=(("score", "FP32", [-1]), PROBABILITIES))
    found = compare_versions(version(), candidate)
    assert found.kind is BREAKING
    assert found.differences == ("output 'label' is gone", "output 'score' is new")


def test_golden_rows_that_give_no_numbers_break() -> None:
    found = compare_versions(golden(), golden(non_finite=["probabilities"]))
    assert found == Contract(BREAKING, ("golden rows: not finite: probabilities",))
    assert compare_versions(golden(non_finite=["p"]), golden(non_finite=["p"])).kind is IDENTICAL


def test_golden_rows_that_do_not_fit_break() -> None:
    assert compare_versions(golden(), golden(applicable=False)).kind is BREAKING


def test_a_swapped_class_order_is_seen_in_the_answers() -> None:
    found = compare_versions(golden(answers={"label": [0, 0, 1]}), golden(answers={"label": [1, 1, 0]}))
    assert found.kind is BREAKING
    assert found.differences == (
        "golden rows: the classes of output 'label' seem to have changed places: 0 became 1, 1 became 0",
    )


@pytest.mark.parametrize(
    ("stable", "candidate", "moved"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], {}),
        ([0, 1, 2, 3], [0, 2, 1, 3], {1: 2, 2: 1}),
        ([0, 1, 2, 3], [0, 1, 2, 1], {}),
        ([0, 1, 2], [1, 2, 3], {0: 1, 1: 2, 2: 3}),
        ([0, 1, 2, 0], [1, 2, 0, 1], {0: 1, 1: 2, 2: 0}),
        ([0, 0, 1, 1], [1, 0, 0, 1], {}),
        ([0, 0, 0], [1, 1, 1], {}),
        (["cat", "dog"], ["dog", "cat"], {"cat": "dog", "dog": "cat"}),
        ([], [], {}),
    ],
)
def test_classes_that_changed_places_are_told_from_mistakes(stable: Any, candidate: Any, moved: Any) -> None:
    assert renumbered(stable, candidate) == moved
