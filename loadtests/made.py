"""The models that are made for a run, by seeded code, and rows for them.

`tiny`: 4 features, a linear classifier; what a gateway costs beside a model that costs nothing. `tabular`: 200 boosted
trees over 30 features. `mlp`: 43 MB of weights for each row, so that the memory is the limit and a batch costs little
more than one row. `image`: three convolutions over [1, 3, 224, 224], a few milliseconds; what it costs to move 600 kB
of tensor. `wide`: 192 MiB of external weights, to see how often they are in memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from loadtests.requests import Floats, Input

OPSET, ML_OPSET, IR_VERSION, SEED = 17, 3, 8, 7
TREES, DEPTH, FEATURES = 200, 5, 30
WIDE = 4096
INPUT, LABEL, RESULT = "x", "label", "probabilities"

Generator = np.random.Generator
Build = Callable[[Generator], onnx.ModelProto]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is made. `shape`: of one row; `rows`: so many different ones are sent; `external`: weights beside."""

    build: Build
    shape: tuple[int, ...]
    rows: int = 32
    external: bool = False


def save(name: str, file: Path) -> None:
    """Write the model, and its weights beside it where they are external."""
    recipe = MADE[name]
    model = recipe.build(np.random.default_rng(SEED))
    onnx.checker.check_model(model)
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, file, save_as_external_data=recipe.external, location="weights.bin")


def rows_of(name: str) -> Input:
    """Rows for the model: as many as are worth being different, with one digit after the point as data often has."""
    recipe = MADE[name]
    rows = np.random.default_rng(SEED).uniform(0, 7, (recipe.rows, *recipe.shape))
    return Input(INPUT, (rows.round(1) if rows[0].size < 10_000 else rows / 7).astype(np.float32))


def _tiny(rng: Generator) -> onnx.ModelProto:
    return _classifier("tiny", _dense(rng, (4, 3)), (4,), 3)


def _mlp(rng: Generator) -> onnx.ModelProto:
    return _classifier("mlp", _dense(rng, (64, 4096, 2048, 1024, 10)), (64,), 10)


def _wide(rng: Generator) -> onnx.ModelProto:
    weights = {f"w{number}": _weights(rng, WIDE, WIDE) for number in range(3)}
    nodes, source = [], INPUT
    for number, name in enumerate(weights):
        nodes += [helper.make_node("MatMul", [source, name], [f"m{number}"])]
        nodes += [helper.make_node("Tanh", [f"m{number}"], [f"t{number}"])]
        source = f"t{number}"
    nodes.append(helper.make_node("ReduceMean", [source], ["mean"], axes=[1], keepdims=1))
    return _model("wide", (nodes, weights), (WIDE,), {"mean": (TensorProto.FLOAT, [None, 1])})


def _image(rng: Generator) -> onnx.ModelProto:
    channels = (3, 64, 128, 256)
    weights, nodes, source = {"weights": _weights(rng, channels[-1], 10)}, [], INPUT
    for number, (before, after) in enumerate(pairwise(channels)):
        weights[f"kernel{number}"] = _weights(rng, after, before, 3, 3) / np.float32(before)
        convolve: dict[str, Any] = {"strides": [2, 2], "pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
        nodes.append(helper.make_node("Conv", [source, f"kernel{number}"], [f"seen{number}"], **convolve))
        nodes.append(helper.make_node("Relu", [f"seen{number}"], [f"lit{number}"]))
        source = f"lit{number}"
    nodes.append(helper.make_node("GlobalAveragePool", [source], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    nodes.append(helper.make_node("Gemm", ["flat", "weights"], ["scores"]))
    return _classifier("image", (nodes, weights), (3, 224, 224), 10)


def _tabular(rng: Generator) -> onnx.ModelProto:
    """Full binary trees in heap order: node i has the children 2 i + 1 and 2 i + 2."""
    inner, all_nodes = 2**DEPTH - 1, 2 ** (DEPTH + 1) - 1
    place = np.tile(np.arange(all_nodes), TREES)
    tree = np.repeat(np.arange(TREES), all_nodes)
    branches = place < inner
    leaf_count = TREES * (all_nodes - inner)
    node = helper.make_node(
        "TreeEnsembleClassifier",
        [INPUT],
        [LABEL, RESULT],
        domain="ai.onnx.ml",
        nodes_treeids=tree.tolist(),
        nodes_nodeids=place.tolist(),
        nodes_featureids=np.where(branches, rng.integers(0, FEATURES, place.size), 0).tolist(),
        nodes_values=np.where(branches, rng.uniform(0, 7, place.size), 0.0).tolist(),
        nodes_modes=["BRANCH_LEQ" if branch else "LEAF" for branch in branches],
        nodes_truenodeids=np.where(branches, 2 * place + 1, 0).tolist(),
        nodes_falsenodeids=np.where(branches, 2 * place + 2, 0).tolist(),
        class_treeids=tree[~branches].tolist(),
        class_nodeids=place[~branches].tolist(),
        class_ids=[0] * leaf_count,
        class_weights=rng.normal(0, 0.1, leaf_count).tolist(),
        classlabels_int64s=[0, 1],
        post_transform="LOGISTIC",
    )
    outputs: Outputs = {LABEL: (TensorProto.INT64, [None]), RESULT: (TensorProto.FLOAT, [None, 2])}
    return _model("tabular", ([node], {}), (FEATURES,), outputs)


MADE: dict[str, Recipe] = {
    "tiny": Recipe(_tiny, (4,)),
    "tabular": Recipe(_tabular, (FEATURES,)),
    "mlp": Recipe(_mlp, (64,)),
    "image": Recipe(_image, (3, 224, 224), rows=4),
    "wide": Recipe(_wide, (WIDE,), rows=2, external=True),
}

Layers = tuple[list[onnx.NodeProto], dict[str, Floats]]
Outputs = dict[str, tuple[int, list[int | None]]]


def _dense(rng: Generator, widths: tuple[int, ...]) -> Layers:
    """Layers with ReLU between them, the last one named "scores"."""
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, Floats] = {}
    source, last = INPUT, len(widths) - 2
    for number, (before, after) in enumerate(pairwise(widths)):
        weights |= {f"w{number}": _weights(rng, before, after), f"b{number}": _weights(rng, after)}
        result = "scores" if number == last else f"layer{number}"
        nodes.append(helper.make_node("Gemm", [source, f"w{number}", f"b{number}"], [result]))
        if number < last:
            nodes.append(helper.make_node("Relu", [result], [f"lit{number}"]))
        source = f"lit{number}"
    return nodes, weights


def _classifier(name: str, layers: Layers, row: tuple[int, ...], classes: int) -> onnx.ModelProto:
    """What stands on "scores": probabilities and the label."""
    nodes, weights = layers
    ends = [
        helper.make_node("Softmax", ["scores"], [RESULT], axis=1),
        helper.make_node("ArgMax", [RESULT], [LABEL], axis=1, keepdims=0),
    ]
    outputs: Outputs = {LABEL: (TensorProto.INT64, [None]), RESULT: (TensorProto.FLOAT, [None, classes])}
    return _model(name, ([*nodes, *ends], weights), row, outputs)


def _model(name: str, layers: Layers, row: tuple[int, ...], outputs: Outputs) -> onnx.ModelProto:
    nodes, weights = layers
    given = [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, *row])]
    results = [helper.make_tensor_value_info(key, kind, shape) for key, (kind, shape) in outputs.items()]
    constants = [numpy_helper.from_array(value, key) for key, value in weights.items()]
    graph = helper.make_graph(nodes, name, given, results, constants)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def _weights(rng: Generator, *shape: int) -> Floats:
    return rng.normal(0, 0.3 / max(1.0, (shape[0] / 4) ** 0.5), shape).astype(np.float32)
