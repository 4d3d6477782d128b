"""What tritonclient has over gRPC alone: deadlines and cancellation, message limits, streams, asyncio."""

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
from tests.conformance.doors import values
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


# ---- requests ----


def test_a_raw_request_is_answered_raw(client: Any) -> None:
    answer = client.infer("row", [given(ROW, "FP32")]).get_response()
    assert len(answer.raw_output_contents) == 1
    assert not answer.outputs[0].HasField("contents")


@pytest.mark.parametrize(
    "how", [{"client_timeout": 20.0}, *({"compression_algorithm": c} for c in ("gzip", "deflate"))]
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
