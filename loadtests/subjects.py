"""The models that loads run on: the samples with their held-out rows, and two that are made for the run.

`tiny` (4 features, a linear classifier) shows what a gateway costs beside a model that costs nothing; `image`
(three convolutions over [1, 3, 224, 224], a few milliseconds) what it costs to move 600 kB of tensor.
"""

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from loadtests.processes import ROOT
from loadtests.requests import Floats, Input

SAMPLES = ROOT / "models"
OPSET, IR_VERSION, SEED = 17, 8, 7
TINY_ROWS, IMAGE_ROWS = 32, 4


class NoSuchModel(Exception):
    """Neither a sample nor made here."""


def prepare(model: str, folder: Path) -> None:
    """Put the model into a model repository, if it is not there yet. Raises NoSuchModel."""
    target = folder / model
    if target.exists():
        return
    if model in MADE:
        (target / "1").mkdir(parents=True)
        onnx.save(MADE[model](), target / "1" / "model.onnx")
    elif (SAMPLES / model).is_dir():
        shutil.copytree(SAMPLES / model, target)
    else:
        raise NoSuchModel(f"{model}: not in {SAMPLES}, and not one of {', '.join(MADE)}")


def file_of(model: str, version: str | None, folder: Path) -> Path:
    """The file the reference serves: of the version named, else of the one that the model starts with."""
    return folder / model / (version or "1") / "model.onnx"


def input_of(model: str) -> Input:
    """The input of a model, with rows for it."""
    rng = np.random.default_rng(SEED)
    if model == "tiny":
        return Input("x", rng.uniform(0, 7, (TINY_ROWS, 4)).round(1).astype(np.float32))
    if model == "image":
        return Input("x", rng.random((IMAGE_ROWS, 3, 224, 224)).astype(np.float32))
    held_out = json.loads((SAMPLES / model / "heldout.json").read_text())["inputs"]
    [(name, rows)] = held_out.items()
    return Input(name, np.asarray(rows, np.float32))


def _tiny() -> onnx.ModelProto:
    rng = np.random.default_rng(SEED)
    nodes = [
        helper.make_node("Gemm", ["x", "weights", "bias"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    weights = {"weights": _floats(rng, 4, 3), "bias": _floats(rng, 3)}
    return _model("tiny", nodes, (("x", [None, 4]), ("probabilities", [None, 3])), weights)


def _image() -> onnx.ModelProto:
    rng = np.random.default_rng(SEED)
    channels = (3, 64, 128, 256)
    nodes, weights, source = [], {"weights": _floats(rng, channels[-1], 10)}, "x"
    for number, (before, after) in enumerate(pairwise(channels)):
        weights[f"kernel{number}"] = _floats(rng, after, before, 3, 3) / np.float32(before)
        convolve: dict[str, Any] = {"strides": [2, 2], "pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
        nodes.append(helper.make_node("Conv", [source, f"kernel{number}"], [f"seen{number}"], **convolve))
        nodes.append(helper.make_node("Relu", [f"seen{number}"], [f"lit{number}"]))
        source = f"lit{number}"
    nodes += [
        helper.make_node("GlobalAveragePool", [source], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    return _model("image", nodes, (("x", [None, 3, 224, 224]), ("probabilities", [None, 10])), weights)


MADE: dict[str, Callable[[], onnx.ModelProto]] = {"tiny": _tiny, "image": _image}


def _model(
    name: str,
    nodes: list[onnx.NodeProto],
    ends: tuple[tuple[str, list[int | None]], tuple[str, list[int | None]]],
    weights: dict[str, Floats],
) -> onnx.ModelProto:
    (source, shape), (result, classes) = ends
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
        helper.make_tensor_value_info(result, TensorProto.FLOAT, classes),
    ]
    inputs = [helper.make_tensor_value_info(source, TensorProto.FLOAT, shape)]
    constants = [numpy_helper.from_array(value, key) for key, value in weights.items()]
    graph = helper.make_graph(nodes, name, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


def _floats(rng: np.random.Generator, *shape: int) -> Floats:
    return rng.normal(0, 0.3, shape).astype(np.float32)
