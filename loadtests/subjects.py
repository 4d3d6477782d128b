"""The models that loads run on: the samples with their held-out rows, and those that are made for the run."""

import json
import shutil
from pathlib import Path

import numpy as np

from loadtests.made import MADE, rows_of, save
from loadtests.processes import ROOT
from loadtests.requests import Input

SAMPLES = ROOT / "models"


class NoSuchModel(Exception):
    """Neither a sample nor made here."""


def prepare(model: str, folder: Path, *, name: str = "", manifest: str = "", versions: int = 1) -> None:
    """Put the model into a model repository, if it is not there yet. Raises NoSuchModel.

    `name`: what it is called there, else as here. Of one that is made: `manifest` is the text of its model.toml, and
    there are so many `versions`, all alike.
    """
    target = folder / (name or model)
    if target.exists():
        return
    if model in MADE:
        for version in range(1, versions + 1):
            save(model, target / str(version) / "model.onnx")
        if manifest:
            (target / "model.toml").write_text(manifest)
    elif (SAMPLES / model).is_dir():
        shutil.copytree(SAMPLES / model, target)
    else:
        raise NoSuchModel(f"{model}: not in {SAMPLES}, and not one of {', '.join(MADE)}")


def file_of(model: str, version: str | None, folder: Path) -> Path:
    """The file the reference serves: of the version named, else of the one that the model starts with."""
    return folder / model / (version or "1") / "model.onnx"


def input_of(model: str) -> Input:
    """The input of a model, with rows for it."""
    if model in MADE:
        return rows_of(model)
    held_out = json.loads((SAMPLES / model / "heldout.json").read_text())["inputs"]
    [(name, rows)] = held_out.items()
    return Input(name, np.asarray(rows, np.float32))
