"""ONNX's own backend test cases as a model repository, and what plain ONNX Runtime answers to them.

`python -m tests.conformance.onnx_corpus DIR [NAME...]` is the child that runs the cases in process: a case that kills
it is booked as crashed and a new child goes on behind it.
"""

import json
import math
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
BFLOAT16 = TensorProto.BFLOAT16
DATATYPE_OF = {
    TensorProto.BOOL: "BOOL",
    TensorProto.UINT8: "UINT8",
    TensorProto.UINT16: "UINT16",
    TensorProto.UINT32: "UINT32",
    TensorProto.UINT64: "UINT64",
    TensorProto.INT8: "INT8",
    TensorProto.INT16: "INT16",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.FLOAT16: "FP16",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.FLOAT: "FP32",
    TensorProto.DOUBLE: "FP64",
    TensorProto.STRING: "BYTES",
}
RUNTIME_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(float16)": "FP16",
    "tensor(bfloat16)": "BF16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
} | {f"tensor({sign}int{bits})": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


@dataclass
class Call:
    """One data set of a case: what goes in by name, and what onnxruntime answered to it, by output name."""

    feeds: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


@dataclass
class Case:
    """A case after plain ONNX Runtime has seen it. `reason`: why it is not to be sent; empty when it is."""

    name: str
    datatypes: dict[str, str]
    calls: list[Call]
    reason: str = ""
    stable: bool = True


def write_cases(directory: Path, keep: Any = None, kinds: Sequence[str] = KINDS) -> list[str]:
    """Write DIR/models/<name>/1/model.onnx and DIR/data/<name>.pickle for each case; the names.

    `keep(name)` chooses. What ONNX Runtime makes of a case is not known yet.
    """
    names = []
    (directory / "data").mkdir(parents=True)
    for kind in kinds:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            cases = load_model_tests(kind=kind)
        for case in cases:
            if keep is not None and not keep(case.name):
                continue
            file = directory / "models" / case.name / "1" / "model.onnx"
            file.parent.mkdir(parents=True)
            if case.model is not None:
                file.write_bytes(case.model.SerializeToString())
                data = [([_packed(x) for x in ins], [_packed(y) for y in outs]) for ins, outs in case.data_sets]
            else:
                file.write_bytes((Path(case.model_dir) / "model.onnx").read_bytes())
                data = list(_data_sets(Path(case.model_dir)))
            about = {"data": data, "rtol": case.rtol, "atol": case.atol}
            (directory / "data" / f"{case.name}.pickle").write_bytes(pickle.dumps(about))
            names.append(case.name)
    return sorted(names)


def _packed(value: Any) -> Any:
    """Arrays and protobufs as they are, in a form that can be pickled; None for what is no tensor."""
    if isinstance(value, onnx.TensorProto):
        return ("proto", value.SerializeToString())
    if isinstance(value, (list, dict)) or value is None:
        return None
    return np.asarray(value)


def _data_sets(directory: Path) -> Iterator[tuple[list[Any], list[Any]]]:
    for data in sorted(directory.glob("test_data_set_*")):
        yield tuple(
            [
                ("proto", (data / f"{part}_{number}.pb").read_bytes())
                for number in range(len(list(data.glob(f"{part}_*.pb"))))
            ]
            for part in ("input", "output")
        )


def run_all(directory: Path, names: Iterable[str], seconds: float = 900) -> dict[str, Case]:
    """What onnxruntime makes of each case, run in a child that may die of one."""
    results = directory / "results"
    results.mkdir(exist_ok=True)
    left = list(names)
    while left:
        (directory / "todo.json").write_text(json.dumps(left))
        command = [sys.executable, "-W", "ignore", "-m", "tests.conformance.onnx_corpus", str(directory)]
        subprocess.run(command, cwd=ROOT, capture_output=True, timeout=seconds)
        behind = [name for name in left if not (results / f"{name}.pickle").exists()]
        if behind:
            _keep(results, Case(behind[0], {}, [], "onnxruntime itself dies of it"))
        left = behind[1:]
    return {name: read_case(directory, name) for name in names}


def read_case(directory: Path, name: str) -> Case:
    """What `run_all` found out about one case."""
    found = pickle.loads((directory / "results" / f"{name}.pickle").read_bytes())
    return Case(**found | {"calls": [Call(**call) for call in found["calls"]]})


def _keep(results: Path, case: Case) -> None:
    # Plain values: a class of __main__ could not be read by the parent. Renamed, so that a death leaves no half file.
    part = results / f".{case.name}"
    part.write_bytes(pickle.dumps(asdict(case)))
    part.rename(results / f"{case.name}.pickle")


def main(directory: Path) -> None:
    """The child: run what todo.json names."""
    onnxruntime.set_default_logger_severity(4)
    for name in json.loads((directory / "todo.json").read_text()):
        _keep(directory / "results", _examined(directory, name))


def _examined(directory: Path, name: str) -> Case:
    file = directory / "models" / name / "1" / "model.onnx"
    about = pickle.loads((directory / "data" / f"{name}.pickle").read_bytes())
    try:
        session = onnxruntime.InferenceSession(str(file), _options(), providers=["CPUExecutionProvider"])
    except Exception as error:
        return Case(name, {}, [], f"onnxruntime cannot load it: {_short(error)}")
    nodes = [*session.get_inputs(), *session.get_outputs()]
    strange = sorted({node.type for node in nodes if node.type not in RUNTIME_DATATYPES})
    if strange:
        return Case(name, {}, [], f"V2 cannot carry {', '.join(strange)}")
    datatypes = {node.name: RUNTIME_DATATYPES[node.type] for node in nodes}
    case = Case(name, datatypes, [])
    for inputs, expected in about["data"]:
        try:
            feeds = {node.name: _array(value) for node, value in zip(session.get_inputs(), inputs, strict=True)}
            outputs = _run(session, feeds, datatypes)
            _compare([_array(value) for value in expected], list(outputs.values()), about)
            again = _run(session, feeds, datatypes)
        except Exception as error:
            case.reason = f"plain onnxruntime does not pass it: {_short(error)}"
            return case
        case.stable = case.stable and all(same(outputs[key], again[key]) for key in outputs)
        case.calls.append(Call(feeds, outputs))
    if not case.calls:
        case.reason = "it has no data"
    return case


def _options() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return options


def _array(value: Any) -> np.ndarray:
    if value is None:
        raise ValueError("a value that is no tensor")
    array = value
    if isinstance(value, tuple):
        proto = onnx.TensorProto()
        proto.ParseFromString(value[1])
        array = numpy_helper.to_array(proto)
    if array.dtype.kind in "US":
        array = array.astype(object)
    return array


def _run(session: Any, feeds: dict[str, np.ndarray], datatypes: dict[str, str]) -> dict[str, np.ndarray]:
    names = [node.name for node in session.get_outputs()]
    if "BF16" not in datatypes.values():
        return dict(zip(names, session.run(names, feeds), strict=True))
    # numpy has no bfloat16 that the plain call knows.
    make = onnxruntime.OrtValue
    values = {
        name: make.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), BFLOAT16)
        if datatypes[name] == "BF16"
        else make.ortvalue_from_numpy(array)
        for name, array in feeds.items()
    }
    outputs = session.run_with_ort_values(names, values)
    return {name: _of_value(value, datatypes[name]) for name, value in zip(names, outputs, strict=True)}


def _of_value(value: Any, datatype: str) -> np.ndarray:
    if datatype != "BF16":
        return value.numpy()
    import ctypes

    shape = tuple(value.shape())
    size = math.prod(shape) * 2
    content = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(content, ml_dtypes.bfloat16).reshape(shape)


def _compare(expected: list[np.ndarray], found: list[np.ndarray], about: dict[str, Any]) -> None:
    """As onnx.backend.test.runner does."""
    assert len(expected) == len(found), "another number of outputs"
    for wanted, given in zip(expected, found, strict=True):
        assert wanted.shape == given.shape, f"shape {given.shape} instead of {wanted.shape}"
        if wanted.dtype == object:
            assert [_text(x) for x in wanted.ravel()] == [_text(x) for x in given.ravel()]
            continue
        assert wanted.dtype == given.dtype, f"{given.dtype} instead of {wanted.dtype}"
        rtol = about["rtol"]
        if wanted.dtype == ml_dtypes.bfloat16:
            wanted, given, rtol = wanted.astype(np.float32), given.astype(np.float32), max(rtol, 2**-6)
        np.testing.assert_allclose(given, wanted, rtol=rtol, atol=about["atol"])


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Bit for bit: shape, dtype and content."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype == object:
        return [_text(x) for x in one.ravel()] == [_text(x) for x in other.ravel()]
    return np.ascontiguousarray(one).tobytes() == np.ascontiguousarray(other).tobytes()


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
