"""Unmodified tritonclient.grpc against the gateway: its raw mode, streams, errors and limits."""

import queue
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.conformance.conftest import LIMIT_BYTES
from tests.conformance.test_tritonclient import DTYPES, values
from tests.e2e.conftest import Running

ROW = np.zeros((1, 2), np.float32)


@pytest.fixture
def client(serin: Running) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(serin.seen["grpc"]) as client:
        yield client


def given(array: np.ndarray, datatype: str, name: str = "x") -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def refused(error: pytest.ExceptionInfo[InferenceServerException]) -> tuple[str, str]:
    return error.value.status().removeprefix("StatusCode."), error.value.message()


# ---- health and metadata ----


def test_the_server_is_live_and_ready(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()


@pytest.mark.parametrize(
    ("model", "version", "ready"),
    [
        ("digits", "", True),
        ("digits", "3", True),
        ("digits", "9", False),
        ("versions", "4", False),
        ("broken", "", False),
        ("nobody", "", False),
    ],
)
def test_a_model_says_whether_it_is_ready(client: Any, model: str, version: str, ready: bool) -> None:
    assert client.is_model_ready(model, version) is ready


@pytest.mark.parametrize(("model", "version"), [("nobody", ""), ("digits", "9")])
def test_metadata_of_what_is_not_there_is_not_found(client: Any, model: str, version: str) -> None:
    with pytest.raises(InferenceServerException) as error:
        client.get_model_metadata(model, version)
    assert refused(error)[0] == "NOT_FOUND"


def test_the_server_tells_its_name_and_extensions(client: Any) -> None:
    found = client.get_server_metadata(as_json=True)
    assert found["name"] == "serin"
    assert "binary_tensor_data" in found["extensions"]


@pytest.mark.parametrize("version", ["", "1", "2"])
def test_a_model_tells_its_tensors(client: Any, version: str) -> None:
    found = client.get_model_metadata("digits", version)
    assert list(found.versions) == ["1", "2", "3"]
    assert found.platform == "onnx_onnxv1"
    assert [(t.name, t.datatype, list(t.shape)) for t in found.inputs] == [("pixels", "FP32", [-1, 64])]
    assert {t.name: t.datatype for t in found.outputs} == {"label": "INT64", "probabilities": "FP32"}


# ---- data ----


@pytest.mark.parametrize("datatype", DTYPES)
def test_raw_data_comes_back_bit_for_bit(client: Any, datatype: str) -> None:
    sent = values(datatype)
    answer = client.infer(f"same_{datatype}", [given(sent, datatype)])
    found = answer.as_numpy("y")
    assert len(answer.get_response().raw_output_contents) == 1
    assert found.dtype == sent.dtype
    assert found.tolist() == sent.tolist() if datatype == "BYTES" else found.tobytes() == sent.tobytes()


def test_bfloat16_goes_in_and_out(client: Any) -> None:
    sent = np.array([[1.0, -2.5, 0.0], [3e38, 1e-38, 0.15625]], np.float32)
    cut = (sent.view(np.uint32) & 0xFFFF0000).view(np.float32)
    assert client.infer("same_BF16", [given(sent, "BF16")]).as_numpy("y").tolist() == cut.tolist()


def test_nan_and_infinities_stay_what_they_are(client: Any) -> None:
    sent = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    assert client.infer("same_FP32", [given(sent, "FP32")]).as_numpy("y").tobytes() == sent.tobytes()


def test_bytes_that_are_not_text_come_back_bit_for_bit(client: Any) -> None:
    sent = np.array([[b"\xff\xfe", b"\xff\0"], [b"", b"\0" * 40 + b"\x80"]], object)
    assert client.infer("same_BYTES", [given(sent, "BYTES")]).as_numpy("y").tolist() == sent.tolist()


@pytest.mark.parametrize("datatype", ["FP32", "INT64", "BOOL", "BYTES"])
def test_a_batch_may_have_no_rows(client: Any, datatype: str) -> None:
    answer = client.infer(f"same_{datatype}", [given(np.empty((0, 3), DTYPES[datatype]), datatype)])
    assert answer.as_numpy("y").shape == (0, 3)


@pytest.mark.parametrize("model", ["scalar", "anyrank"])
def test_a_tensor_may_have_no_dimensions(client: Any, model: str) -> None:
    answer = client.infer(model, [given(np.array(2.5, np.float32), "FP32")])
    assert list(answer.get_output("y").shape) == []
    assert answer.as_numpy("y").shape == ()
    assert answer.as_numpy("y") == 2.5


def test_a_model_without_inputs_answers(client: Any) -> None:
    assert client.infer("nothing_in", []).as_numpy("y").tolist() == [1, 2, 3]


def two() -> list[triton.InferInput]:
    a = np.arange(4, dtype=np.float32).reshape(2, 2)
    return [given(a, "FP32", "a"), given(np.ones((2, 2), np.int64), "INT64", "b")]


def test_several_inputs_and_outputs_keep_their_names_in_any_order(client: Any) -> None:
    answer = client.infer("two", list(reversed(two())))
    assert answer.as_numpy("sum").tolist() == [[1, 2], [3, 4]]
    assert answer.as_numpy("b_as_text").tolist() == [[b"1", b"1"], [b"1", b"1"]]
    assert [output.name for output in answer.get_response().outputs] == ["sum", "b_as_text"]


def test_only_requested_outputs_are_answered_in_the_order_asked(client: Any) -> None:
    wanted = [triton.InferRequestedOutput("b_as_text"), triton.InferRequestedOutput("sum")]
    answer = client.infer("two", two(), outputs=wanted)
    assert [output.name for output in answer.get_response().outputs] == ["b_as_text", "sum"]
    assert client.infer("two", two(), outputs=wanted[1:]).as_numpy("b_as_text") is None


def test_a_large_batch_comes_back_whole(client: Any) -> None:
    sent = np.random.default_rng(2).random((1000, 300)).astype(np.float32)
    assert client.infer("same_FP32", [given(sent, "FP32")]).as_numpy("y").tobytes() == sent.tobytes()


# ---- ids, versions, parameters, metadata, compression ----


@pytest.mark.parametrize("request_id", ["", "7", 'ünï-漢 "quoted"'])
def test_the_id_comes_back(client: Any, request_id: str) -> None:
    answer = client.infer("row", [given(ROW, "FP32")], request_id=request_id)
    assert answer.get_response().id == request_id


@pytest.mark.parametrize(("version", "factor"), [("", 2), ("1", 1), ("2", 2), ("3", 3)])
def test_the_version_asked_for_answers(client: Any, version: str, factor: int) -> None:
    sent = np.array([[1, 2]], np.float32)
    answer = client.infer("versions", [given(sent, "FP32")], model_version=version)
    assert answer.as_numpy("y").tolist() == (factor * sent).tolist()
    response = answer.get_response()
    assert (response.model_name, response.model_version) == ("versions", str(factor))


@pytest.mark.parametrize(
    "how",
    [
        {"sequence_id": 5, "sequence_start": True, "sequence_end": True},
        {"sequence_id": "five", "sequence_start": True},
        {"priority": 3},
        {"timeout": 5_000_000},
        {"parameters": {"routing_key": "ann", "mine": 1.5, "yes": True, "no": "no"}},
        {"headers": {"x-mine": "1", "serin-routing-key": "ann"}},
        {"client_timeout": 20.0},
        {"compression_algorithm": "gzip"},
        {"compression_algorithm": "deflate"},
    ],
    ids=lambda how: next(iter(how)),
)
def test_what_a_client_may_say_besides_is_taken(client: Any, how: dict[str, Any]) -> None:
    sent = values("FP32")
    assert client.infer("same_FP32", [given(sent, "FP32")], **how).as_numpy("y").tobytes() == sent.tobytes()


def test_requests_may_be_sent_side_by_side(client: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    arrays = {str(number): np.full((1, 2), number, np.float32) for number in range(40)}
    for name, array in arrays.items():
        client.async_infer(
            "row", [given(array, "FP32")], lambda result, error: answers.put(error or result), request_id=name
        )
    found = [answers.get(timeout=30) for _ in arrays]
    assert {answer.get_response().id for answer in found} == set(arrays)
    for answer in found:
        assert answer.as_numpy("y").tolist() == arrays[answer.get_response().id].tolist()


# ---- errors and limits ----


@pytest.mark.parametrize(
    ("model", "version", "inputs", "code", "words"),
    [
        ("nobody", "", [given(ROW, "FP32")], "NOT_FOUND", "nobody"),
        ("row", "9", [given(ROW, "FP32")], "NOT_FOUND", "no version 9"),
        ("row", "stable", [given(ROW, "FP32")], "NOT_FOUND", "stable"),
        ("versions", "4", [given(ROW, "FP32")], "UNAVAILABLE", "4"),
        ("broken", "", [given(ROW, "FP32")], "UNAVAILABLE", "broken"),
        ("row", "", [given(ROW, "FP32", "z")], "INVALID_ARGUMENT", "no input 'z'; it has 'x'"),
        ("row", "", [], "INVALID_ARGUMENT", "missing: input 'x'"),
        ("row", "", [given(ROW, "FP32"), given(ROW, "FP32")], "INVALID_ARGUMENT", "given twice"),
        ("row", "", [given(ROW.astype(np.float64), "FP64")], "INVALID_ARGUMENT", "FP64, the model expects FP32"),
        ("row", "", [given(np.zeros((1, 3), np.float32), "FP32")], "INVALID_ARGUMENT", "[1, 3], the model expects"),
        ("scalar", "", [given(np.zeros(1, np.float32), "FP32")], "INVALID_ARGUMENT", "shape [1], the model expects []"),
        ("picky", "", [given(np.zeros(3, np.float32), "FP32")], "INVALID_ARGUMENT", "Reshape"),
    ],
)
def test_a_mistake_is_refused_with_its_reason(
    client: Any, model: str, version: str, inputs: list[Any], code: str, words: str
) -> None:
    with pytest.raises(InferenceServerException) as error:
        client.infer(model, inputs, model_version=version)
    assert refused(error)[0] == code
    assert words in refused(error)[1]


def test_shared_memory_is_refused_in_words(client: Any) -> None:
    tensor = triton.InferInput("x", [1, 2], "FP32")
    tensor.set_shared_memory("mine", 8)
    calls = (
        lambda: client.infer("row", [tensor]),
        client.get_system_shared_memory_status,
        client.get_cuda_shared_memory_status,
        lambda: client.register_system_shared_memory("mine", "/mine", 8),
        client.unregister_system_shared_memory,
        client.unregister_cuda_shared_memory,
    )
    for call in calls:
        with pytest.raises(InferenceServerException, match="shared memory") as error:
            call()
        assert refused(error)[0] == "UNIMPLEMENTED"


def test_the_parameter_timeout_ends_a_request(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="deadline") as error:
        client.infer("patient", [given(np.array(2**40), "INT64", "n")], timeout=200_000)
    assert refused(error)[0] == "DEADLINE_EXCEEDED"


def test_the_callers_deadline_ends_a_request_and_frees_its_place(client: Any, serin: Running) -> None:
    for _ in range(4):  # more than run side by side
        with pytest.raises(InferenceServerException) as error:
            client.infer("patient", [given(np.array(2**40), "INT64", "n")], client_timeout=0.3)
        assert refused(error)[0] == "DEADLINE_EXCEEDED"
    assert client.infer("patient", [given(np.array(3), "INT64", "n")], client_timeout=20).as_numpy("y") == 3


def test_a_cancelled_request_frees_its_place(client: Any) -> None:
    for _ in range(4):
        ended = threading.Event()
        call = client.async_infer(
            "patient", [given(np.array(2**40), "INT64", "n")], lambda result, error, ended=ended: ended.set()
        )
        call.cancel()
        assert ended.wait(20)
    assert client.infer("patient", [given(np.array(3), "INT64", "n")], client_timeout=20).as_numpy("y") == 3


def test_a_message_above_the_limit_is_refused_before_it_is_taken(client: Any) -> None:
    sent = np.zeros((1, LIMIT_BYTES // 4 + 1), np.float32)
    for compression in (None, "gzip"):
        with pytest.raises(InferenceServerException, match="larger than max") as error:
            client.infer("same_FP32", [given(sent, "FP32")], compression_algorithm=compression)
        assert refused(error)[0] == "RESOURCE_EXHAUSTED"
    assert client.infer("row", [given(ROW, "FP32")]).as_numpy("y").tolist() == [[0, 0]]


# ---- streams ----


def streamed(client: Any, calls: list[dict[str, Any]]) -> list[Any]:
    """What comes back on one stream for these calls: results and errors, in the order in which they come."""
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put(error or result))
    try:
        for call in calls:
            client.async_stream_infer(**call)
        return [answers.get(timeout=30) for _ in calls]
    finally:
        client.stop_stream()


def test_a_stream_answers_each_message_in_order(client: Any) -> None:
    arrays = [np.full((1, 2), number, np.float32) for number in range(30)]
    calls = [
        {"model_name": "row", "inputs": [given(array, "FP32")], "request_id": str(number)}
        for number, array in enumerate(arrays)
    ]
    answers = streamed(client, calls)
    assert [answer.get_response().id for answer in answers] == [str(number) for number in range(30)]
    assert [answer.as_numpy("y").tolist() for answer in answers] == [array.tolist() for array in arrays]
    parameters = answers[0].get_response().parameters
    assert parameters["triton_final_response"].bool_param
    assert parameters["serin-version"].string_param == "1"


def test_an_error_in_a_stream_ends_its_message_and_not_the_stream(client: Any) -> None:
    good = {"model_name": "row", "inputs": [given(ROW, "FP32")]}
    bad = {"model_name": "row", "inputs": [given(ROW, "FP32", "z")], "request_id": "bad"}
    first, second, third = streamed(client, [good, bad, good])
    assert isinstance(second, InferenceServerException)
    assert "no input 'z'" in second.message()
    assert first.as_numpy("y").tolist() == third.as_numpy("y").tolist() == [[0, 0]]


def test_streams_of_several_models_share_a_connection(client: Any) -> None:
    calls = [
        {"model_name": "versions", "inputs": [given(np.ones((1, 2), np.float32), "FP32")], "model_version": version}
        for version in ("1", "2", "3")
    ]
    assert [answer.as_numpy("y").tolist() for answer in streamed(client, calls)] == [[[1, 1]], [[2, 2]], [[3, 3]]]


# ---- asyncio ----


async def test_the_asyncio_client_infers_streams_and_reads_errors(serin: Running) -> None:
    import tritonclient.grpc.aio as aio

    async with aio.InferenceServerClient(serin.seen["grpc"]) as client:
        assert await client.is_server_ready()
        assert (await client.get_model_metadata("digits")).name == "digits"
        answer = await client.infer("row", [given(ROW, "FP32")])
        assert answer.as_numpy("y").tolist() == [[0, 0]]
        with pytest.raises(InferenceServerException, match="nobody"):
            await client.infer("nobody", [given(ROW, "FP32")])

        async def calls() -> Any:
            for number in range(3):
                yield {"model_name": "row", "inputs": [given(ROW, "FP32")], "request_id": str(number)}

        found = [result.get_response().id async for result, error in client.stream_infer(calls()) if error is None]
        assert found == ["0", "1", "2"]


# ---- what tells who answered ----


def test_trailing_metadata_tells_who_answered_and_the_request_id(serin: Running) -> None:
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    request = service_pb2.ModelInferRequest(model_name="versions", model_version="3")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    tensor.contents.fp32_contents.extend([1.0, 2.0])
    with grpc.insecure_channel(serin.seen["grpc"]) as channel:
        infer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
        answer, call = infer.with_call(request, metadata=(("x-request-id", "mine-1"),))
        told = dict(call.trailing_metadata())
        assert told["serin-version"] == "3"
        assert told["x-request-id"] == "mine-1"
        assert int(told["serin-revision"]) >= 1
        assert list(answer.outputs[0].contents.fp32_contents) == [3.0, 6.0]
        request.inputs[0].name = "z"
        with pytest.raises(grpc.RpcError) as error:
            infer(request, metadata=(("x-request-id", "mine-2"),))
        told = dict(error.value.trailing_metadata())
        assert (told["serin-version"], told["x-request-id"]) == ("3", "mine-2")
