"""Sessions over tiny models in a temporary directory."""

import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from ml_dtypes import bfloat16
from onnx import TensorProto, helper

from router.errors import Cancelled, FailedPrecondition, Internal, InvalidArgument
from service.protocol.tensors import DATATYPES, TensorSpec
from service.runtime.session import Session, SessionOptions
from tests.unit.service.runtime.tiny import BF16, FLOAT, STRING, identity, model, times, value

Load = Callable[[bytes], Session]
ONE_ROW = np.array([[1, 2]], dtype=np.float32)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def write_and_load(content: bytes) -> Session:
        (tmp_path / "model.onnx").write_bytes(content)
        return Session(str(tmp_path / "model.onnx"), SessionOptions())

    return write_and_load


def test_a_model_runs(load: Load) -> None:
    assert load(times(3)).run({"x": ONE_ROW})[0].tolist() == [[3.0, 6.0]]


def test_outputs_come_in_the_order_asked_for(load: Load) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["same"]), helper.make_node("Neg", ["x"], ["less"])]
    session = load(model(nodes, [value("x")], [value("same"), value("less")]))
    assert [array.item(0) for array in session.run({"x": ONE_ROW})] == [1.0, -1.0]
    assert [array.item(0) for array in session.run({"x": ONE_ROW}, ["less", "same"])] == [-1.0, 1.0]


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name != "BYTES"])
def test_every_datatype_goes_through_unchanged(load: Load, datatype: str) -> None:
    kinds = {"FP16": "FLOAT16", "FP32": "FLOAT", "FP64": "DOUBLE", "BF16": "BFLOAT16"}
    session = load(identity(getattr(TensorProto, kinds.get(datatype, datatype)), ["N", 2]))
    given = np.array([[0, 1], [1, 1]]).astype(DATATYPES[datatype].dtype)
    (answer,) = session.run({"x": given})
    assert session.signature.inputs == (TensorSpec("x", datatype, (-1, 2)),)
    assert answer.dtype == given.dtype
    assert answer.tolist() == given.tolist()


def test_zero_rows_are_an_answer(load: Load) -> None:
    assert load(times(3)).run({"x": ONE_ROW[:0]})[0].shape == (0, 2)
    assert load(identity(BF16)).run({"x": ONE_ROW[:0].astype(bfloat16)})[0].shape == (0, 2)


def test_bfloat16_that_is_not_contiguous_is_not_mixed_up(load: Load) -> None:
    given = np.array([[1, 2], [3, 4]]).astype(bfloat16).T
    assert load(identity(BF16)).run({"x": given})[0].tolist() == given.tolist()


def test_bfloat16_inputs_of_a_model_that_answers_otherwise(load: Load) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=FLOAT), helper.make_node("Identity", ["t"], ["u"])]
    session = load(model(nodes, [value("x", BF16), value("t", STRING, [1])], [value("y"), value("u", STRING, [1])]))
    answers = session.run({"x": ONE_ROW.astype(bfloat16), "t": np.array([b"a"], dtype=object)})
    assert [array.tolist() for array in answers] == [[[1.0, 2.0]], ["a"]]


def test_text_and_bfloat16_go_through_one_model(load: Load) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["t"], ["u"])]
    session = load(model(nodes, [value("x", BF16), value("t", STRING)], [value("y", BF16), value("u", STRING)]))
    numbers, text = session.run({"x": ONE_ROW.astype(bfloat16), "t": np.array([["a", b"\xff"]], object)})
    assert numbers.tolist() == [[1, 2]]
    assert text.tolist() == [["a", b"\xff"]]


@pytest.mark.parametrize("item", [b"a", "a", "é".encode(), b"", b"a\0b", b"a\0"])
def test_text_goes_in_as_bytes_or_str_and_comes_out_as_str(load: Load, item: bytes | str) -> None:
    (answer,) = load(identity(STRING)).run({"x": np.array([[item, b"z"]], dtype=object)})
    assert answer.tolist() == [[item.decode() if isinstance(item, bytes) else item, "z"]]


def test_a_text_scalar_keeps_its_shape(load: Load) -> None:
    given = np.empty((), dtype=object)
    given[()] = b"a"
    assert load(identity(STRING, [])).run({"x": given})[0].shape == ()


def test_bytes_that_are_not_utf8_reach_a_model_that_does_not_answer_with_them(load: Load) -> None:
    nodes = [helper.make_node("Shape", ["x"], ["y"])]
    session = load(model(nodes, [value("x", STRING)], [value("y", TensorProto.INT64, [2])]))
    assert session.run({"x": np.array([[b"\xff", b"abc"]], dtype=object)})[0].tolist() == [1, 2]


def test_text_that_is_not_unicode_is_the_callers_mistake(load: Load) -> None:
    with pytest.raises(InvalidArgument):
        load(identity(STRING)).run({"x": np.array([["\udcff", b"z"]], dtype=object)})


@pytest.mark.parametrize("item", [b"\xff", b"\xff\0", b"\0\xff\0", b"\xfe" * 15, b"\xfe" * 16, b"\xfe" * 5000])
def test_bytes_that_are_not_utf8_come_back_whole(load: Load, item: bytes) -> None:
    session = load(identity(STRING))
    assert session.run({"x": np.array([[item, b"z"]], dtype=object)})[0].tolist() == [[item, "z"]]
    assert session.run({"x": np.array([["a", b"z"]], dtype=object)})[0].tolist() == [["a", "z"]]


def test_a_model_that_answers_bytes_of_its_own_is_run_once_a_request(load: Load) -> None:
    constant = helper.make_tensor("c", STRING, [2], [b"\xff", "é".encode()])
    session = load(
        model([helper.make_node("Identity", ["c"], ["y"])], [], [value("y", STRING, [2])], initializer=[constant])
    )
    assert session.run({})[0].tolist() == [b"\xff", "é"]
    session._run = None
    assert session.run({})[0].tolist() == [b"\xff", "é"]


def test_where_strings_cannot_be_read_bytes_are_refused_and_text_is_not(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.runtime.session._octets_can_be_read", lambda: False)
    session = load(identity(STRING))
    with pytest.raises(InvalidArgument, match="not UTF-8"):
        session.run({"x": np.array([[b"\xff", b"z"]], object)})
    assert session.run({"x": np.array([["a", "z"]], object)})[0].tolist() == [["a", "z"]]


def test_a_scalar_and_an_unknown_rank_are_told_apart(load: Load) -> None:
    nodes = [helper.make_node("Identity", ["a"], ["c"]), helper.make_node("Identity", ["b"], ["d"])]
    session = load(
        model(nodes, [value("a", shape=[]), value("b", shape=None)], [value("c", shape=[]), value("d", shape=None)])
    )
    assert [spec.shape for spec in session.signature.inputs] == [(), None]
    assert [spec.shape for spec in session.signature.outputs] == [(), None]


def test_free_dimensions_are_minus_one(load: Load) -> None:
    session = load(identity(shape=["batch", 3, None]))
    assert session.signature.inputs[0].shape == (-1, 3, -1)


@pytest.mark.parametrize(
    "feeds",
    [
        {},
        {"x": ONE_ROW, "z": ONE_ROW},
        {"z": ONE_ROW},
        {"x": ONE_ROW.astype(np.float64)},
        {"x": np.ones((1, 3), dtype=np.float32)},
    ],
)
def test_inputs_that_do_not_fit_are_the_callers_mistake(load: Load, feeds: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        load(times(3)).run(feeds)


def test_shapes_that_the_signature_allows_and_the_graph_does_not_are_the_callers_mistake(load: Load) -> None:
    nodes = [helper.make_node("MatMul", ["a", "b"], ["y"])]
    session = load(model(nodes, [value("a", shape=["N", "K"]), value("b", shape=["L", "M"])], [value("y", shape=None)]))
    with pytest.raises(InvalidArgument, match="dimension mismatch"):
        session.run({"a": ONE_ROW, "b": np.ones((3, 1), dtype=np.float32)})


def test_a_failure_that_no_caller_can_cause_is_ours(load: Load) -> None:
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [3])
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    session = load(model(nodes, [value("x", shape=[2])], [value("y", shape=None)], initializer=[shape]))
    with pytest.raises(Internal) as caught:
        session.run({"x": np.ones(2, dtype=np.float32)})
    assert "/" not in caught.value.message


def test_an_error_is_one_short_line_without_paths(load: Load, tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        load(b"<html>not found</html>")
    assert caught.value.message == "ONNX Runtime cannot load it: Protobuf parsing failed."
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("content", [b"", identity()[:40], b"\0" * 100, b"<html></html>", os.urandom(500)])
def test_a_damaged_file_is_refused(load: Load, content: bytes) -> None:
    with pytest.raises(FailedPrecondition, match="ONNX Runtime cannot load it"):
        load(content)


def test_names_that_are_not_text_are_a_reason(load: Load) -> None:
    named = identity(FLOAT, ("N", 2)).replace(b"\x01y", b"\x01\xff")
    with pytest.raises(FailedPrecondition, match="not UTF-8 text"):
        load(named)


def test_a_name_of_any_length_costs_no_time_to_complain_of(load: Load) -> None:
    longest = "a" * 100_000
    node = helper.make_node("Identity", ["x"], [longest])
    begun = perf_counter()
    with pytest.raises(FailedPrecondition) as caught:
        load(model([node], [value("x")], [value(longest, TensorProto.INT8)]))
    assert perf_counter() - begun < 5.0  # the time it took was that of a search through all parts of all parts of it
    assert len(caught.value.message) < 500


def test_a_newer_opset_is_refused_with_what_is_known(load: Load) -> None:
    with pytest.raises(FailedPrecondition, match="Opset 99"):
        load(model([helper.make_node("Identity", ["x"], ["y"])], [value("x")], [value("y")], opset=99))


def test_an_unknown_operator_is_named(load: Load) -> None:
    with pytest.raises(FailedPrecondition, match="Nope"):
        load(model([helper.make_node("Nope", ["x"], ["y"])], [value("x")], [value("y")]))


def test_what_v2_cannot_carry_is_refused_with_its_type(load: Load) -> None:
    sequence = helper.make_tensor_sequence_value_info("y", FLOAT, None)
    with pytest.raises(FailedPrecondition, match=r"output 'y' is seq\(tensor\(float\)\)"):
        load(model([helper.make_node("SequenceConstruct", ["x"], ["y"])], [value("x")], [sequence]))


@pytest.mark.parametrize("location", ["../model.onnx", "/etc/hostname", "missing.bin"])
def test_external_data_from_elsewhere_is_refused_without_saying_where(
    load: Load, location: str, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = helper.make_tensor("c", FLOAT, [1], [1.0])
    weights.ClearField("float_data")
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", location
    nodes = [helper.make_node("Mul", ["x", "c"], ["y"])]
    with pytest.raises(FailedPrecondition) as caught:
        load(model(nodes, [value("x")], [value("y")], initializer=[weights]))
    assert "/etc" not in caught.value.message
    assert "/tmp" not in caught.value.message
    assert capfd.readouterr() == ("", "")


def test_a_switch_that_was_thrown_stops_the_run(load: Load) -> None:
    session = load(times(3))
    switch = session.switch()
    switch.stop()
    with pytest.raises(Cancelled):
        session.run({"x": ONE_ROW}, None, switch)
    assert session.run({"x": ONE_ROW}, None, session.switch())[0].tolist() == [[3.0, 6.0]]
