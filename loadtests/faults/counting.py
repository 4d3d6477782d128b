"""The model `count`: it answers the number that it was asked with, plus 10¹² for each version, so that every answer
says which request and which version it belongs to, whatever its headers claim.
"""

import json
from pathlib import Path

from onnx import TensorProto, helper

from loadtests.requests import post

MODEL = "count"
STEP = 10**12
OPSET, IR_VERSION = 17, 8


def document(version: int) -> bytes:
    """The ONNX file of a version."""
    constant = helper.make_tensor("step", TensorProto.INT64, [1], [version * STEP])
    node = helper.make_node("Add", ["x", "step"], ["y"])
    given, told = (helper.make_tensor_value_info(name, TensorProto.INT64, [None, 1]) for name in ("x", "y"))
    graph = helper.make_graph([node], MODEL, [given], [told], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


def place(models: Path, version: int) -> Path:
    """Put a version into a model repository, whole at once."""
    folder = models / MODEL / str(version)
    coming = models / MODEL / f".coming-{version}"
    coming.mkdir(parents=True)
    (coming / "model.onnx").write_bytes(document(version))
    coming.rename(folder)
    return folder


def request(number: int, *, version: int | None = None, key: str | None = None) -> bytes:
    """Ask with a number: by the split, or a version by its name."""
    path = f"/v2/models/{MODEL}{f'/versions/{version}' if version else ''}/infer"
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "INT64", "data": [number]}]}).encode()
    return post(path, body, {"Content-Type": "application/json"} | ({"Serin-Routing-Key": key} if key else {}))


def answered(body: bytes) -> tuple[int, int]:
    """The version and the number that an answer holds; (0, -1) where it holds none."""
    try:
        [output] = json.loads(body)["outputs"]
        [value] = output["data"]
    except (ValueError, LookupError, TypeError):
        return 0, -1
    version, number = divmod(int(value), STEP)
    return version, number
