"""The references of the sample models: rows that a model has not seen are no drift."""

import json
from pathlib import Path

import numpy as np
import pytest

from router.drift import Level, distances, level_of
from service.features import compile_lookout
from service.runtime.manifest import parse_manifest

MODELS = Path(__file__).parents[3] / "models"
SAMPLES = ("breast-cancer", "diabetes", "digits")


class Described:
    """What a sample's signature says of its only input."""

    def __init__(self, name):
        self.name, self.shape = name, (-1, -1)
        self.inputs = (self,)


@pytest.mark.parametrize("model", SAMPLES)
def test_held_out_rows_do_not_drift_from_the_training_rows(model):
    declared = parse_manifest((MODELS / model / "model.toml").read_bytes()).declared_features()
    ((name, data),) = json.loads((MODELS / model / "heldout.json").read_text())["inputs"].items()
    lookout = compile_lookout(declared, Described(name))
    found = {}
    for feature, (cells, _) in zip(
        lookout.features, lookout.look([{name: np.array(row)} for row in data]), strict=True
    ):
        live = tuple(np.bincount(cells, minlength=feature.bins).tolist())
        edges, features = feature.edges, len(lookout.features)
        found[feature.name] = distances(feature.kind, feature.reference, live, edges, features)
        # As often as `make demo` sends them: the rows stay few however often they come.
        often = distances(feature.kind, feature.reference, tuple(9 * count for count in live), edges, features)
        assert level_of(feature.kind, often) is not Level.ALARM, (feature.name, often.psi)
    assert len(found) >= 7
