"""The committed sample models do what models/README.md says, seen by plain onnxruntime."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

MODELS = Path(__file__).parents[2] / "models"
VERSIONS = [("digits", 1), ("digits", 2), ("digits", 3), ("breast-cancer", 1), ("breast-cancer", 2)]
VERSIONS += [("diabetes", 1), ("diabetes", 2)]
CLASSIFIERS = [pair for pair in VERSIONS if pair[0] != "diabetes"]
SIGNATURES: dict[str, tuple[tuple[str, list[int | None]], dict[str, list[int | None]]]] = {
    "digits": (("pixels", [None, 64]), {"label": [None], "probabilities": [None, 10]}),
    "breast-cancer": (("features", [None, 30]), {"label": [None], "probabilities": [None, 2]}),
    "diabetes": (("features", [None, 10]), {"progression": [None, 1]}),
}
DTYPES = {"FP32": np.float32, "INT64": np.int64}


def path_of(model: str, version: int) -> Path:
    return MODELS / model / str(version) / "model.onnx"


def session(model: str, version: int) -> Any:
    return onnxruntime.InferenceSession(path_of(model, version), providers=["CPUExecutionProvider"])


def run(model: str, version: int, rows: Any) -> dict[str, Any]:
    loaded = session(model, version)
    names = [output.name for output in loaded.get_outputs()]
    return dict(zip(names, loaded.run(names, {SIGNATURES[model][0][0]: np.asarray(rows, np.float32)}), strict=True))


def read_json(model: str, name: str) -> Any:
    return json.loads((MODELS / model / name).read_text())


def read_manifest(model: str) -> dict[str, Any]:
    return tomllib.loads((MODELS / model / "model.toml").read_text())


def answers_and_truth(model: str, version: int) -> tuple[dict[str, Any], Any]:
    rows = read_json(model, "heldout.json")
    (inputs,), (truth,) = rows["inputs"].values(), rows["truth"].values()
    return run(model, version, inputs), np.asarray(truth)


def accuracy(model: str, version: int) -> float:
    answers, truth = answers_and_truth(model, version)
    return float(np.mean(answers["label"] == truth))


def squared_error(version: int) -> float:
    answers, truth = answers_and_truth("diabetes", version)
    return float(np.mean((answers["progression"].ravel() - truth) ** 2))


def test_the_list_here_names_every_committed_version() -> None:
    found = {(path.parts[-3], int(path.parts[-2])) for path in MODELS.glob("*/*/model.onnx")}
    assert found == set(VERSIONS)


def test_all_sample_files_together_stay_below_three_megabytes() -> None:
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) < 3_000_000


@pytest.mark.parametrize(("model", "version"), VERSIONS)
def test_a_version_has_the_signature_of_the_readme(model: str, version: int) -> None:
    loaded, (expected_input, expected_outputs) = session(model, version), SIGNATURES[model]
    assert [(tensor.name, tensor.shape) for tensor in loaded.get_inputs()] == [expected_input]
    assert {tensor.name: tensor.shape for tensor in loaded.get_outputs()} == expected_outputs


@pytest.mark.parametrize("rows", [0, 1, 7])
@pytest.mark.parametrize(("model", "version"), VERSIONS)
def test_a_version_takes_any_number_of_rows(model: str, version: int, rows: int) -> None:
    (_, (_, width)), outputs = SIGNATURES[model]
    answers = run(model, version, np.zeros((rows, width or 0)))
    assert {name: value.shape for name, value in answers.items()} == {
        name: (rows, *shape[1:]) for name, shape in outputs.items()
    }


@pytest.mark.parametrize(("model", "version"), VERSIONS)
def test_a_file_is_valid_and_carries_its_version_and_names(model: str, version: int) -> None:
    proto = onnx.load(path_of(model, version))
    onnx.checker.check_model(proto, full_check=True)
    texts = {entry.key: entry.value for entry in proto.metadata_props}
    assert proto.model_version == version
    assert len(json.loads(texts["columns"])) == SIGNATURES[model][0][1][1]
    assert json.loads(texts.get("labels", "[]")) == read_manifest(model).get("labels", [])


@pytest.mark.parametrize(("model", "version"), VERSIONS)
def test_golden_cases_hold(model: str, version: int) -> None:
    for case in read_json(model, "golden.json")["cases"]:
        (tensor,) = case["inputs"].values()
        answers = run(model, version, np.reshape(tensor["data"], tensor["shape"]))
        assert set(case["outputs"][str(version)]) == set(answers)
        for name, wanted in case["outputs"][str(version)].items():
            expected = np.asarray(wanted["data"], DTYPES[wanted["datatype"]]).reshape(wanted["shape"])
            np.testing.assert_allclose(answers[name], expected, rtol=wanted["rtol"], atol=wanted["atol"])


@pytest.mark.parametrize("model", SIGNATURES)
def test_the_manifest_describes_the_tensors_that_are_there(model: str) -> None:
    manifest, ((name, _), outputs) = read_manifest(model), SIGNATURES[model]
    assert manifest["default_version"] == 1
    assert set(manifest["inputs"]) == {name}
    assert set(manifest["outputs"]) == set(outputs) == set(manifest["reference"])


@pytest.mark.parametrize("model", SIGNATURES)
def test_every_held_out_value_lies_in_the_range_of_the_manifest(model: str) -> None:
    for name, about in read_manifest(model)["inputs"].items():
        rows = np.asarray(read_json(model, "heldout.json")["inputs"][name])
        low, high = about["range"]
        assert low <= rows.min() <= rows.max() <= high


@pytest.mark.parametrize("model", SIGNATURES)
def test_each_reference_histogram_has_one_count_more_than_rising_edges(model: str) -> None:
    for table in read_manifest(model)["reference"].values():
        edges = table.get("edges")
        assert edges is None or (np.all(np.diff(edges) > 0) and len(table["counts"]) == len(edges) + 1)


@pytest.mark.parametrize(("model", "rows"), [("digits", 1347), ("breast-cancer", 426), ("diabetes", 331)])
def test_each_reference_counts_every_training_row(model: str, rows: int) -> None:
    assert {sum(table["counts"]) for table in read_manifest(model)["reference"].values()} == {rows}


@pytest.mark.parametrize(("model", "version"), CLASSIFIERS)
def test_the_label_is_the_most_probable_class(model: str, version: int) -> None:
    answers, _ = answers_and_truth(model, version)
    chosen = np.take_along_axis(answers["probabilities"], answers["label"][:, None], axis=1).ravel()
    np.testing.assert_array_equal(chosen, answers["probabilities"].max(axis=1))
    np.testing.assert_allclose(answers["probabilities"].sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("model", ["digits", "breast-cancer"])
def test_version_two_classifies_better_than_version_one(model: str) -> None:
    assert accuracy(model, 2) > accuracy(model, 1) > 0.9


def test_version_two_of_diabetes_is_closer_to_the_truth_than_version_one() -> None:
    assert squared_error(2) < squared_error(1)


def test_digits_three_is_clearly_worse_yet_not_absurd() -> None:
    assert 0.8 < accuracy("digits", 3) < accuracy("digits", 1) - 0.05


def test_digits_three_shows_in_what_it_predicts_without_any_label() -> None:
    good, bad = answers_and_truth("digits", 1)[0], answers_and_truth("digits", 3)[0]
    assert np.sum(bad["label"] == 1) > 1.5 * np.sum(good["label"] == 1)
    assert np.median(bad["probabilities"].max(axis=1)) > 0.999 > np.median(good["probabilities"].max(axis=1))
