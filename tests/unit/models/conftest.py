"""The script of the sample models is no package: it is imported from where it lies, as `python` itself would."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

MODELS = Path(__file__).parents[3] / "models"


@pytest.fixture(scope="session")
def train() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(MODELS)
        return importlib.import_module("train")
