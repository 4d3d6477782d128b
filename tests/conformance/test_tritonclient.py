"""Unmodified tritonclient over HTTP and gRPC: what both of its clients can ask, and get the same answer to.

What one of them alone has is in `test_tritonclient_http` and `test_tritonclient_grpc`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.conformance.doors import DOORS, DTYPES, NAMES, Http, opened, values
from tests.e2e.conftest import Running

ROW = np.zeros((1, 2), np.float32)


@pytest.fixture(params=DOORS, ids=NAMES)
def door(request: pytest.FixtureRequest, serin: Running) -> Iterator[Http]:
    with opened(request.param, serin) as found:
        yield found


# ---- health and metadata ----


def test_the_server_is_live_and_ready(door: Http) -> None:
    assert door.client.is_server_live()
    assert door.client.is_server_ready()


@pytest.mark.parametrize(
    ("model", "version", "ready"),
    [
        ("digits", "", True),
        ("digits", "1", True),
        ("digits", "3", True),
        ("digits", "9", False),
        ("nobody", "", False),
        ("versions", "4", False),
        ("broken", "", False),
        ("a.b-c_D.9", "1", True),
    ],
)
def test_a_model_says_whether_it_is_ready(door: Http, model: str, version: str, ready: bool) -> None:
    assert door.client.is_model_ready(model, version) is ready


def test_the_server_tells_its_name_and_extensions(door: Http) -> None:
    found = door.server()
    assert found["name"] == "serin"
    assert "binary_tensor_data" in found["extensions"]


@pytest.mark.parametrize("version", ["", "1", "2"])
def test_a_model_tells_its_tensors(door: Http, version: str) -> None:
    found = door.metadata("digits", version)
    assert found["name"] == "digits"
    assert found["versions"] == ["1", "2", "3"]
    assert found["platform"] == "onnx_onnxv1"
    assert found["inputs"] == [{"name": "pixels", "datatype": "FP32", "shape": [-1, 64]}]
    assert {output["name"]: output["datatype"] for output in found["outputs"]} == {
        "label": "INT64",
        "probabilities": "FP32",
    }


@pytest.mark.parametrize(("model", "version"), [("nobody", ""), ("digits", "9"), ("digits", "never-an-alias")])
def test_metadata_of_what_is_not_there_is_refused(door: Http, model: str, version: str) -> None:
    assert door.refused(lambda: door.client.get_model_metadata(model, version))[0] == "404"


def test_shared_memory_is_refused_in_words(door: Http) -> None:
    tensor = door.module.InferInput("x", [1, 2], "FP32")
    tensor.set_shared_memory("mine", 8)
    output = door.module.InferRequestedOutput("y")
    output.set_shared_memory("mine", 8)
    calls = (
        door.client.get_system_shared_memory_status,
        door.client.get_cuda_shared_memory_status,
        lambda: door.client.register_system_shared_memory("mine", "/mine", 8),
        lambda: door.client.register_cuda_shared_memory("mine", b"bWluZQ==", 0, 8),
        door.client.unregister_system_shared_memory,
        door.client.unregister_cuda_shared_memory,
        lambda: door.client.infer("row", [tensor]),
        lambda: door.client.infer("row", [door.given(ROW)], outputs=[output]),
    )
    for call in calls:
        status, words = door.refused(call)
        assert status == "501"
        assert "shared memory" in words


# ---- data ----


@pytest.mark.parametrize("datatype", DTYPES)
def test_data_comes_back_bit_for_bit(door: Http, datatype: str) -> None:
    sent = values(datatype)
    found = door.client.infer(f"same_{datatype}", [door.given(sent, datatype)]).as_numpy("y")
    assert found.dtype == sent.dtype
    assert found.shape == sent.shape
    assert found.tobytes() == sent.tobytes() if datatype != "BYTES" else found.tolist() == sent.tolist()


def test_bfloat16_goes_in_and_out(door: Http) -> None:
    sent = np.array([[1.0, -2.5, 0.0], [3e38, 1e-38, 0.15625]], np.float32)
    cut = (sent.view(np.uint32) & 0xFFFF0000).view(np.float32)
    assert door.client.infer("same_BF16", [door.given(sent, "BF16")]).as_numpy("y").tolist() == cut.tolist()


def test_nan_and_infinities_stay_what_they_are(door: Http) -> None:
    sent = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    assert door.client.infer("same_FP32", [door.given(sent)]).as_numpy("y").tobytes() == sent.tobytes()


def test_bytes_that_are_not_text_come_back_bit_for_bit(door: Http) -> None:
    sent = np.array([[b"\xff\xfe", b"\xff\0"], [b"", b"\0" * 40 + b"\x80"]], object)
    assert door.client.infer("same_BYTES", [door.given(sent, "BYTES")]).as_numpy("y").tolist() == sent.tolist()


@pytest.mark.parametrize("datatype", ["FP32", "INT64", "BOOL", "BYTES"])
def test_a_batch_may_have_no_rows(door: Http, datatype: str) -> None:
    answer = door.client.infer(f"same_{datatype}", [door.given(np.empty((0, 3), DTYPES[datatype]), datatype)])
    assert answer.as_numpy("y").shape == (0, 3)


@pytest.mark.parametrize("model", ["scalar", "anyrank"])
def test_a_tensor_may_have_no_dimensions(door: Http, model: str) -> None:
    answer = door.client.infer(model, [door.given(np.array(2.5, np.float32))])
    assert door.shape(answer, "y") == []
    assert answer.as_numpy("y").shape == ()
    assert answer.as_numpy("y") == 2.5


@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 3), (2, 1, 1, 1, 2), (0,)])
def test_a_model_of_no_stated_rank_takes_any(door: Http, shape: tuple[int, ...]) -> None:
    sent = np.asarray(np.random.default_rng(1).random(shape).astype(np.float32))
    found = door.client.infer("anyrank", [door.given(sent)]).as_numpy("y")
    assert (found.shape, found.tobytes()) == (shape, sent.tobytes())


def test_a_model_without_inputs_answers(door: Http) -> None:
    assert door.client.infer("nothing_in", []).as_numpy("y").tolist() == [1, 2, 3]


def two(door: Http) -> list[Any]:
    a = np.arange(4, dtype=np.float32).reshape(2, 2)
    return [door.given(a, "FP32", "a"), door.given(np.ones((2, 2), np.int64), "INT64", "b")]


def test_several_inputs_and_outputs_keep_their_names_in_any_order(door: Http) -> None:
    answer = door.client.infer("two", list(reversed(two(door))))
    assert answer.as_numpy("sum").tolist() == [[1, 2], [3, 4]]
    assert answer.as_numpy("b_as_text").tolist() == [[b"1", b"1"], [b"1", b"1"]]
    assert door.head(answer)[3] == ["sum", "b_as_text"]


def test_only_requested_outputs_are_answered_in_the_order_asked(door: Http) -> None:
    wanted = [door.module.InferRequestedOutput(name) for name in ("b_as_text", "sum")]
    answer = door.client.infer("two", two(door), outputs=wanted)
    assert door.head(answer)[3] == ["b_as_text", "sum"]
    assert answer.as_numpy("sum").tolist() == [[1, 2], [3, 4]]
    assert door.client.infer("two", two(door), outputs=wanted[1:]).as_numpy("b_as_text") is None


def test_a_large_batch_comes_back_whole(door: Http) -> None:
    sent = np.random.default_rng(2).random((1000, 300)).astype(np.float32)
    assert door.client.infer("same_FP32", [door.given(sent)]).as_numpy("y").tobytes() == sent.tobytes()


# ---- ids, versions, parameters ----


@pytest.mark.parametrize("request_id", ["", "7", 'ünï-漢 "quoted"'])
def test_the_id_comes_back_when_there_is_one(door: Http, request_id: str) -> None:
    assert door.head(door.client.infer("row", [door.given(ROW)], request_id=request_id))[2] == request_id


@pytest.mark.parametrize(("version", "factor"), [("", 2), ("1", 1), ("2", 2), ("3", 3)])
def test_the_version_asked_for_answers(door: Http, version: str, factor: int) -> None:
    sent = np.array([[1, 2]], np.float32)
    answer = door.client.infer("versions", [door.given(sent)], model_version=version)
    assert answer.as_numpy("y").tolist() == (factor * sent).tolist()
    assert door.head(answer)[:2] == ("versions", str(factor))


def test_names_may_hold_dots_and_dashes(door: Http) -> None:
    answer = door.client.infer("a.b-c_D.9", [door.given(np.array([[1, 2]], np.float32))])
    assert answer.as_numpy("y").tolist() == [[5, 10]]


@pytest.mark.parametrize(
    "how",
    [
        {"sequence_id": 5, "sequence_start": True, "sequence_end": True},
        {"sequence_id": "five", "sequence_start": True},
        {"priority": 3},
        {"timeout": 5_000_000},
        {"parameters": {"routing_key": "ann", "mine": 1.5, "yes": True, "no": "no"}},
        {"headers": {"x-mine": "1", "serin-routing-key": "ann"}},
    ],
    ids=lambda how: next(iter(how)),
)
def test_what_a_client_may_say_besides_is_taken(door: Http, how: dict[str, Any]) -> None:
    sent = values("FP32")
    given = {name: dict(said) if isinstance(said, dict) else said for name, said in how.items()}  # clients write in it
    assert door.client.infer("same_FP32", [door.given(sent)], **given).as_numpy("y").tobytes() == sent.tobytes()


# ---- errors ----


def mistakes(door: Http) -> dict[str, tuple[str, str, list[Any], str, str]]:
    """Model, version and inputs, and the status and words that answer them."""
    row, integers = door.given(ROW), door.given(ROW.astype(np.int64), "INT64")
    wrong_name = door.given(ROW, "FP32", "z")
    return {
        "no model": ("nobody", "", [row], "404", "nobody"),
        "no version": ("row", "9", [row], "404", "no version 9"),
        "version 01": ("row", "01", [row], "404", "01"),
        "version 0": ("row", "0", [row], "404", "0"),
        "large version": ("row", "99999999999999999999", [row], "404", "99999"),
        "no alias": ("row", "stable", [row], "404", "stable"),
        "broken version": ("versions", "4", [row], "503", "4"),
        "broken model": ("broken", "", [row], "503", "broken"),
        "wrong input": ("row", "", [wrong_name], "400", "no input 'z'; it has 'x'"),
        "no input": ("row", "", [], "400", "missing: input 'x'"),
        "twice": ("row", "", [row, row], "400", "given twice"),
        "one too many": ("row", "", [row, wrong_name], "400", "no input 'z'"),
        "FP64": ("row", "", [door.given(ROW.astype(np.float64), "FP64")], "400", "FP64, the model expects FP32"),
        "INT64": ("row", "", [integers], "400", "the model expects FP32"),
        "columns": ("row", "", [door.given(ROW[:, :1])], "400", "shape [1, 1], the model expects [-1, 2]"),
        "rank": ("row", "", [door.given(ROW[0])], "400", "shape [2], the model expects [-1, 2]"),
        "fixed": ("fixed", "", [door.given(np.zeros((3, 2), np.float32))], "400", "the model expects [2, 3]"),
        "scalar": ("scalar", "", [door.given(ROW[0, :1])], "400", "shape [1], the model expects []"),
        "the graph": ("picky", "", [door.given(np.zeros(3, np.float32))], "400", "Reshape"),
        "no data": ("row", "", [door.module.InferInput("x", [1, 2], "FP32")], "400", "x"),
        "no datatype": ("row", "", [door.module.InferInput("x", [1, 2], "FP99")], "400", "datatype must be one of"),
    }


def test_a_mistake_is_refused_with_its_reason(door: Http, subtests: pytest.Subtests) -> None:
    for name, (model, version, inputs, status, words) in mistakes(door).items():
        with subtests.test(name):
            found, message = door.refused(
                lambda model=model, inputs=inputs, version=version: door.client.infer(
                    model, inputs, model_version=version
                )
            )
            assert found == status
            assert words in message
    assert door.client.infer("row", [door.given(ROW)]).as_numpy("y").tolist() == [[0, 0]]


def test_an_output_that_the_model_does_not_have_is_refused(door: Http) -> None:
    wanted = [door.module.InferRequestedOutput("z")]
    status, words = door.refused(lambda: door.client.infer("row", [door.given(ROW)], outputs=wanted))
    assert status == "400"
    assert "no output 'z'; it has 'y'" in words


def test_the_parameter_timeout_ends_a_request(door: Http) -> None:
    endless = [door.given(np.array(2**40), "INT64", "n")]
    status, words = door.refused(lambda: door.client.infer("patient", endless, timeout=200_000))
    assert (status, "deadline" in words) == ("504", True)
