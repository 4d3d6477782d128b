"""Real tiny models, examined in this process."""

import json
from pathlib import Path
from typing import Any

import pytest
from onnx import helper

from service.runtime.session import Session, SessionOptions
from service.runtime.verdict import Rules, Verdict, examine, read_rules
from tests.unit.service.runtime.tiny import counting, identity, model, place, times, value


def examined(models: Path, content: bytes, version: int = 1) -> Verdict:
    file = place(models, "m", version, content)
    return examine(str(file.parent), version, read_rules(models, "m"), SessionOptions())


def keep_golden(models: Path, *data: object, key: str = "1", shape: Any = (1, 2)) -> None:
    inputs = {"x": {"datatype": "FP32", "shape": shape, "data": [1, 2]}}
    case = {"inputs": inputs, "outputs": {key: {"y": {"data": data}}}}
    (models / "m").mkdir(exist_ok=True)
    (models / "m" / "model.toml").write_text("[golden]")
    (models / "m" / "golden.json").write_text(json.dumps({"cases": [case]}))


def test_a_good_model_passes_with_signature_and_timing(tmp_path: Path) -> None:
    verdict = examined(tmp_path, times(3))
    assert verdict.passed
    assert verdict.reason == ""
    assert verdict.signature == {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
    }
    assert verdict.load_seconds is not None
    assert verdict.run_seconds is not None


def test_golden_rows_that_are_met_pass(tmp_path: Path) -> None:
    keep_golden(tmp_path, 3, 6)
    verdict = examined(tmp_path, times(3))
    assert verdict.passed
    assert verdict.golden == {"cases": 1, "compared": 1, "non_finite": [], "applicable": True, "answers": {}}


def test_golden_rows_that_are_missed_do_not_pass(tmp_path: Path) -> None:
    keep_golden(tmp_path, 3, 6)
    verdict = examined(tmp_path, times(4))
    assert verdict == Verdict(
        False, "golden rows of version 1: case 0: output 'y' differs in 2 of 2 values, first at 0"
    )


def test_a_version_of_which_the_golden_rows_say_nothing_passes(tmp_path: Path) -> None:
    keep_golden(tmp_path, 3, 6)
    verdict = examined(tmp_path, times(4), version=2)
    assert verdict.passed
    assert verdict.golden is not None
    assert verdict.golden["compared"] == 0


def test_a_version_with_other_inputs_passes_with_a_note(tmp_path: Path) -> None:
    keep_golden(tmp_path, 3, 6, shape=(2, 1))
    verdict = examined(tmp_path, times(4), version=2)
    assert verdict.passed
    assert verdict.reason == "the golden rows do not fit its inputs"
    assert not examined(tmp_path, times(3)).passed


def test_answers_that_are_not_finite_are_noted(tmp_path: Path) -> None:
    keep_golden(tmp_path, 3, 6)
    nodes = [helper.make_node("Sub", ["x", "x"], ["zero"]), helper.make_node("Div", ["x", "zero"], ["y"])]
    verdict = examined(tmp_path, model(nodes, [value("x")], [value("y")]), version=2)
    assert verdict.passed
    assert verdict.reason == "golden rows: not finite: y"


def test_keys_of_model_toml_that_speak_of_nothing_are_noted(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.toml").write_text("[outputs.label]\nkind = 'class'")
    verdict = examined(tmp_path, times(3))
    assert verdict.passed
    assert verdict.reason == "model.toml speaks of what this version does not have: outputs.label"


@pytest.mark.parametrize("content", [b"<html></html>", times(3)[:60]])
def test_a_damaged_file_does_not_pass(tmp_path: Path, content: bytes) -> None:
    verdict = examined(tmp_path, content)
    assert not verdict.passed
    assert verdict.reason.startswith("ONNX Runtime cannot load it")


def test_rules_change_their_key_with_every_file(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    keys = [read_rules(tmp_path, "m").key]
    (tmp_path / "m" / "model.toml").write_text("[golden]")
    (tmp_path / "m" / "golden.json").write_text('{"cases": []}')
    keys.append(read_rules(tmp_path, "m").key)
    (tmp_path / "m" / "golden.json").write_text('{"cases": [] }')
    keys.append(read_rules(tmp_path, "m").key)
    assert len(set(keys)) == 3


def test_golden_rows_that_cannot_be_read_do_not_pass(tmp_path: Path) -> None:
    keep_golden(tmp_path, 3, 6)
    (tmp_path / "m" / "golden.json").write_text("{")
    rules: Rules = read_rules(tmp_path, "m")
    assert rules.error is None
    assert "golden rows" in examined(tmp_path, times(3)).reason


def test_what_crashes_on_any_rows_but_zeros_crashes_where_it_is_examined(tmp_path: Path) -> None:
    """Workers try it on such rows when they load it."""
    seen: list[bool] = []

    class Watched(Session):
        def run(self, feeds: Any, names: Any = None, stop: Any = None) -> Any:
            seen.extend(bool(array.any()) for array in feeds.values())
            return super().run(feeds, names, stop)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("service.runtime.verdict.Session", Watched)
        assert examined(tmp_path, times(3)).passed
    assert True in seen


def test_a_run_that_does_not_end_is_a_reason(tmp_path: Path) -> None:
    file = place(tmp_path, "m", 1, counting(2_000_000_000))
    verdict = examine(str(file.parent), 1, read_rules(tmp_path, "m"), SessionOptions(), run_seconds=0.05)
    assert verdict == Verdict(False, "one of its first runs did not end within 0.05 s")


def test_an_input_of_more_dimensions_than_there_can_be_is_no_failure_of_ours(tmp_path: Path) -> None:
    assert examined(tmp_path, identity(shape=("N", *[2] * 70))).passed
