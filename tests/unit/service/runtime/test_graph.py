"""The reader of shapes against onnx's own, and against damage."""

from pathlib import Path

import pytest
from onnx import TensorProto, helper

from service.runtime.graph import shapeless
from tests.unit.service.runtime.tiny import identity, model, value

MIXED = model(
    [helper.make_node("Identity", [a], [b]) for a, b in (("a", "A"), ("b", "B"), ("c", "C"))],
    [value("a", shape=None), value("b", shape=[]), value("c", shape=["N", None, 3])],
    [value("A", shape=None), value("B", shape=[]), value("C")],
    initializer=[helper.make_tensor("w", TensorProto.FLOAT, [1000], [1.0] * 1000)],
)


def names(tmp_path: Path, content: bytes) -> set[str]:
    (tmp_path / "model.onnx").write_bytes(content)
    return shapeless(str(tmp_path / "model.onnx"))


def test_only_tensors_without_a_shape_are_found(tmp_path: Path) -> None:
    assert names(tmp_path, MIXED) == {"a", "A"}
    assert names(tmp_path, identity()) == set()


@pytest.mark.parametrize("length", range(0, len(MIXED), 97))
def test_a_file_that_is_cut_is_no_trouble(tmp_path: Path, length: int) -> None:
    assert names(tmp_path, MIXED[:length]) <= {"a", "A", "b", "B", "c", "C"}


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 50, b"<html></html>", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
)
def test_what_is_no_protobuf_says_nothing(tmp_path: Path, content: bytes) -> None:
    assert names(tmp_path, content) == set()


def test_a_missing_file_says_nothing(tmp_path: Path) -> None:
    assert shapeless(str(tmp_path / "none")) == set()
