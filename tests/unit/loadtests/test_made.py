"""Models that are made for a run: always the same ones, and they answer their rows."""

from pathlib import Path

import numpy as np
import pytest

from loadtests.made import MADE, rows_of, save
from loadtests.subjects import NoSuchModel, prepare
from service.runtime.session import Session, SessionOptions

SMALL = sorted(MADE.keys() - {"wide"})


@pytest.mark.parametrize("name", SMALL)
def test_a_made_model_answers_its_rows_with_finite_numbers(tmp_path: Path, name: str) -> None:
    save(name, tmp_path / "model.onnx")
    given = rows_of(name)
    label, probabilities = Session(str(tmp_path / "model.onnx"), SessionOptions()).run({given.name: given.rows})
    assert label.shape == (len(given.rows),)
    assert np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    assert probabilities.min() < 0.9  # else all rows would look the same


def test_a_made_model_is_always_the_same_to_the_byte(tmp_path: Path) -> None:
    for file in ("a", "b"):
        save("tabular", tmp_path / file)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_model_may_be_called_otherwise_and_bring_a_manifest(tmp_path: Path) -> None:
    prepare("tiny", tmp_path, name="other", manifest='description = "x"\n')
    assert (tmp_path / "other" / "1" / "model.onnx").exists()
    assert (tmp_path / "other" / "model.toml").read_text() == 'description = "x"\n'


def test_a_model_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoSuchModel, match=r"nothing: not in .* tabular"):
        prepare("nothing", tmp_path)
