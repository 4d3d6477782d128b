"""A repository of tiny models, one for each thing that the protocol has to carry or refuse."""

from pathlib import Path
from typing import Any

from onnx import TensorProto, helper

from tests.unit.service.runtime.tiny import FLOAT, identity, model, place, times, value

KINDS = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
POLICIES = ("null", "string", "token", "error")


def build(models_dir: Path) -> None:
    """Write all of them.

    `same_<datatype>`: y = x of shape [N, M]; `scalar`: y = x of shape []; `anyrank`: y = x of no stated rank; `fixed`:
    y = x of shape [2, 3]; `row`: [N, 2]; `two`: sum [N, 2] = a + b, and b_as_text [N, 2]; `nothing_in`: no input;
    `divide_<policy>`: y = a / b [N]; `versions`: y = 1, 2 or 3 times x by version, version 4 is broken; `broken`: not
    ONNX; `picky`: [N] must be a multiple of 2, which its signature does not say; `patient`: counts
    to n []; `a.b-c_D.9`: y = 5 x.
    """
    for datatype, kind in KINDS.items():
        place(models_dir, f"same_{datatype}", 1, identity(kind, ("N", "M")))
    place(models_dir, "scalar", 1, identity(FLOAT, ()))
    place(models_dir, "anyrank", 1, identity(FLOAT, None))
    place(models_dir, "anyrank_text", 1, identity(TensorProto.STRING, None))
    place(models_dir, "fixed", 1, identity(FLOAT, (2, 3)))
    place(models_dir, "row", 1, identity(FLOAT, ("N", 2)))
    place(models_dir, "one_text", 1, identity(TensorProto.STRING, (1,)))
    place(models_dir, "two", 1, _two())
    place(models_dir, "nothing_in", 1, _nothing_in())
    place(models_dir, "picky", 1, _picky())
    place(models_dir, "patient", 1, _patient())
    (models_dir / "patient" / "model.toml").write_text('[execution]\nmode = "thread"\n')
    place(models_dir, "a.b-c_D.9", 1, times(5))
    place(models_dir, "broken", 1, b"this is no model")
    for version in (1, 2, 3):
        place(models_dir, "versions", version, times(version))
    place(models_dir, "versions", 4, b"this is no model")
    (models_dir / "versions" / "model.toml").write_text("default_version = 2\n")
    for policy in POLICIES:
        place(models_dir, f"divide_{policy}", 1, _divide())
        (models_dir / f"divide_{policy}" / "model.toml").write_text(f'non_finite = "{policy}"\n')


def _two() -> bytes:
    nodes = [
        helper.make_node("Cast", ["b"], ["b_as_float"], to=FLOAT),
        helper.make_node("Add", ["a", "b_as_float"], ["sum"]),
        helper.make_node("Cast", ["b"], ["b_as_text"], to=TensorProto.STRING),
    ]
    inputs = [value("a"), value("b", TensorProto.INT64)]
    return model(nodes, inputs, [value("sum"), value("b_as_text", TensorProto.STRING)])


def _nothing_in() -> bytes:
    constant = helper.make_tensor("c", FLOAT, [3], [1.0, 2.0, 3.0])
    return model([helper.make_node("Constant", [], ["y"], value=constant)], [], [value("y", FLOAT, (3,))])


def _divide() -> bytes:
    inputs: list[Any] = [value("a", FLOAT, ("N",)), value("b", FLOAT, ("N",))]
    return model([helper.make_node("Div", ["a", "b"], ["y"])], inputs, [value("y", FLOAT, ("N",))])


def _picky() -> bytes:
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 2])
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    return model(nodes, [value("x", FLOAT, ("N",))], [value("y", FLOAT, ("M", 2))], initializer=[shape])


def _patient() -> bytes:
    """As long as the request says, so that loading it is quick."""
    number, flag = TensorProto.INT64, TensorProto.BOOL
    steps = [
        helper.make_node("Identity", ["going"], ["goes_on"]),
        helper.make_node("Add", ["sum", "one"], ["sum_out"]),
    ]
    body = helper.make_graph(
        steps,
        "body",
        [value("i", number, []), value("going", flag, []), value("sum", number, [])],
        [value("goes_on", flag, []), value("sum_out", number, [])],
    )
    nodes = [
        helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("c", flag, [], [True])),
        helper.make_node("Constant", [], ["one"], value=helper.make_tensor("d", number, [], [1])),
        helper.make_node("Constant", [], ["zero"], value=helper.make_tensor("e", number, [], [0])),
        helper.make_node("Loop", ["n", "yes", "zero"], ["y"], body=body),
    ]
    return model(nodes, [value("n", number, [])], [value("y", number, [])])
