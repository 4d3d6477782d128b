"""Tiny ONNX models and repositories for tests."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnx import TensorProto, helper

FLOAT, STRING, BF16 = TensorProto.FLOAT, TensorProto.STRING, TensorProto.BFLOAT16


def value(name: str, kind: int = FLOAT, shape: Sequence[Any] | None = ("N", 2)) -> Any:
    """An input or output; `shape` None is an unknown rank."""
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes: list[Any], inputs: list[Any], outputs: list[Any], *, opset: int = 18, **more: Any) -> bytes:
    """A serialized model; `more` goes to make_graph."""
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, **more)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    content: bytes = made.SerializeToString()
    return content


def identity(kind: int = FLOAT, shape: Sequence[Any] | None = ("N", 2)) -> bytes:
    """y = x"""
    return model([helper.make_node("Identity", ["x"], ["y"])], [value("x", kind, shape)], [value("y", kind, shape)])


def times(factor: float) -> bytes:
    """y = factor * x, two numbers a row."""
    constant = helper.make_tensor("c", FLOAT, [1], [factor])
    nodes = [helper.make_node("Mul", ["x", "c"], ["y"])]
    return model(nodes, [value("x")], [value("y")], initializer=[constant])


def counting(rounds: int) -> bytes:
    """y = x after so many empty rounds of a loop: slow, and can be stopped between rounds."""
    keep = helper.make_node("Identity", ["going"], ["goes_on"])
    add = helper.make_node("Identity", ["sum"], ["sum_out"])
    scalar = TensorProto.BOOL
    body = helper.make_graph(
        [keep, add],
        "body",
        [value("i", TensorProto.INT64, []), value("going", scalar, []), value("sum", FLOAT, ["N", 2])],
        [value("goes_on", scalar, []), value("sum_out", FLOAT, ["N", 2])],
    )
    nodes = [
        helper.make_node("Constant", [], ["trips"], value=helper.make_tensor("t", TensorProto.INT64, [], [rounds])),
        helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("c", scalar, [], [True])),
        helper.make_node("Loop", ["trips", "yes", "x"], ["y"], body=body),
    ]
    return model(nodes, [value("x")], [value("y")])


def filled(count: int) -> bytes:
    """y = x + 0, where the zero is the sum of so many: as much memory for a file of a few bytes."""
    constant = helper.make_tensor("n", TensorProto.INT64, [1], [count])
    nodes = [
        helper.make_node("ConstantOfShape", ["n"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["zero"], keepdims=0),
        helper.make_node("Add", ["x", "zero"], ["y"]),
    ]
    return model(nodes, [value("x")], [value("y")], initializer=[constant])


def place(models_dir: Path, name: str, version: int | str, content: bytes) -> Path:
    """Write models_dir/name/version/model.onnx; its path."""
    file = models_dir / name / str(version) / "model.onnx"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def touch(file: Path, mtime_ns: int) -> None:
    """Set a modification time without waiting for one."""
    os.utime(file, ns=(mtime_ns, mtime_ns))
