"""The inference service as the protocol describes it, below client libraries: typed contents, and who says no."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tritonclient.grpc import service_pb2 as pb

from tests.conformance import grpcclient
from tests.conformance.doors import values
from tests.e2e.conftest import Running, eventually

SERVICE = "inference.GRPCInferenceService"
Change = Callable[[Any], None]


@pytest.fixture
def stub(serin: Running) -> Iterator[Any]:
    with grpcclient.stub(serin.seen["grpc"]) as found:
        yield found


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code().name, error.value.details()


# ---- typed contents ----


@pytest.mark.parametrize("datatype", grpcclient.FIELDS)
def test_typed_contents_come_back_typed_and_exact(stub: Any, datatype: str) -> None:
    sent = values(datatype)
    answer = stub.ModelInfer(grpcclient.typed_request(f"same_{datatype}", {"x": sent}, {"x": datatype}))
    assert not answer.raw_output_contents
    found = grpcclient.outputs_of(answer)["y"]
    assert found.dtype == sent.dtype
    assert found.tolist() == sent.tolist() if datatype == "BYTES" else found.tobytes() == sent.tobytes()


@pytest.mark.parametrize("datatype", ["FP32", "INT64", "BYTES"])
def test_a_typed_tensor_may_have_no_rows(stub: Any, datatype: str) -> None:
    empty = values(datatype)[:0]
    answer = stub.ModelInfer(grpcclient.typed_request(f"same_{datatype}", {"x": empty}, {"x": datatype}))
    assert list(answer.outputs[0].shape) == [0, 3]
    assert grpcclient.outputs_of(answer)["y"].shape == (0, 3)


def test_a_typed_tensor_may_have_no_dimensions(stub: Any) -> None:
    answer = stub.ModelInfer(grpcclient.typed_request("scalar", {"x": np.float32(2.5)}, {"x": "FP32"}))
    assert list(answer.outputs[0].shape) == []
    assert list(answer.outputs[0].contents.fp32_contents) == [2.5]


def test_typed_nan_and_infinities_stay_what_they_are(stub: Any) -> None:
    sent = np.array([[np.nan, np.inf, -np.inf]])
    answer = stub.ModelInfer(grpcclient.typed_request("same_FP64", {"x": sent}, {"x": "FP64"}))
    np.testing.assert_array_equal(grpcclient.outputs_of(answer)["y"], sent)


def mixed(request: Any) -> None:
    request.raw_input_contents.append(b"\0" * 16)


def too_few(request: Any) -> None:
    del request.inputs[0].contents.fp32_contents[0]


def wrong_field(request: Any) -> None:
    request.inputs[0].contents.ClearField("fp32_contents")
    request.inputs[0].contents.fp64_contents.extend([1, 2, 3, 4])


def two_fields(request: Any) -> None:
    request.inputs[0].contents.int_contents.append(1)


def negative_shape(request: Any) -> None:
    request.inputs[0].shape[0] = -1


def huge_shape(request: Any) -> None:
    request.inputs[0].shape[0] = 2**62


def unknown_datatype(request: Any) -> None:
    request.inputs[0].datatype = "FP99"


def long_id(request: Any) -> None:
    request.id = "x" * 2000


def long_rank(request: Any) -> None:
    del request.inputs[0].shape[:]
    request.inputs[0].shape.extend([1] * 65)


def wrong_timeout(request: Any) -> None:
    request.parameters["timeout"].string_param = "soon"


def wrong_priority(request: Any) -> None:
    request.parameters["priority"].int64_param = -1


def long_parameters(request: Any) -> None:
    request.parameters["mine"].string_param = "x" * 100_000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (mixed, "contents beside raw_input_contents"),
        (too_few, "3 elements in fp32_contents, the shape [2, 2] needs 4"),
        (wrong_field, "FP32 belongs in fp32_contents, but there is fp64_contents"),
        (two_fields, "FP32 belongs in fp32_contents"),
        (negative_shape, "negative dimension"),
        (huge_shape, "elements"),
        (unknown_datatype, "datatype must be one of"),
        (long_id, "id: longer than"),
        (long_rank, "more than 64 dimensions"),
        (wrong_timeout, "timeout"),
        (wrong_priority, "priority"),
        (long_parameters, "parameters: more than"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_message_that_contradicts_itself_is_refused(stub: Any, change: Change, words: str) -> None:
    request = grpcclient.typed_request("row", {"x": np.ones((2, 2), np.float32)}, {"x": "FP32"})
    change(request)
    code, text = refused(lambda: stub.ModelInfer(request))
    assert code == "INVALID_ARGUMENT"
    assert words in text


def test_raw_contents_are_for_all_inputs_or_for_none(stub: Any) -> None:
    feeds = {"a": np.ones((1, 2), np.float32), "b": np.ones((1, 2), np.int64)}
    request = grpcclient.raw_request("two", feeds, {"a": "FP32", "b": "INT64"})
    del request.raw_input_contents[1]
    code, text = refused(lambda: stub.ModelInfer(request))
    assert code == "INVALID_ARGUMENT"
    assert "2 inputs and 1 raw_input_contents" in text


@pytest.mark.parametrize("size", [0, 7, 9, 16])
def test_raw_contents_of_another_size_than_the_shape_are_refused(stub: Any, size: int) -> None:
    request = grpcclient.raw_request("row", {"x": np.ones((1, 2), np.float32)}, {"x": "FP32"})
    request.raw_input_contents[0] = b"\0" * size
    code, text = refused(lambda: stub.ModelInfer(request))
    assert (code, "needs 8" in text) == ("INVALID_ARGUMENT", True)


@pytest.mark.parametrize("number", [-129, 128, 300])
def test_a_number_outside_of_its_datatype_is_refused(stub: Any, number: int) -> None:
    request = grpcclient.typed_request("same_INT8", {"x": np.array([[number]])}, {"x": "INT8"})
    assert refused(lambda: stub.ModelInfer(request)) == ("INVALID_ARGUMENT", "input 'x': a value is outside of INT8")


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_floats_have_no_typed_form(stub: Any, datatype: str) -> None:
    request = pb.ModelInferRequest(model_name=f"same_{datatype}")
    request.inputs.add(name="x", datatype=datatype, shape=[1, 1]).contents.fp32_contents.append(1.0)
    code, text = refused(lambda: stub.ModelInfer(request))
    assert (code, "raw_input_contents" in text) == ("INVALID_ARGUMENT", True)


def test_bytes_that_are_no_message_are_refused(serin: Running) -> None:
    with grpc.insecure_channel(serin.seen["grpc"]) as channel:
        call = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        assert refused(lambda: call(b"\xff\xff\xff"))[0] == "INVALID_ARGUMENT"
        assert refused(lambda: channel.unary_unary(f"/{SERVICE}/Nonsense")(b""))[0] == "UNIMPLEMENTED"


# ---- routing ----


def test_metadata_keeps_a_caller_on_one_version(stub: Any, serin: Running) -> None:
    serin.serin("route", "set", "versions", "1=50", "2=50")
    try:
        request = grpcclient.raw_request("versions", {"x": np.ones((1, 2), np.float32)}, {"x": "FP32"})

        def version(key: str) -> str:
            return str(stub.ModelInfer(request, metadata=(("serin-routing-key", key),)).model_version)

        by_key = {key: {version(key) for _ in range(5)} for key in map(str, range(12))}
        assert all(len(found) == 1 for found in by_key.values())
        assert {"1", "2"} == set().union(*by_key.values())
        request.parameters["routing_key"].string_param = "7"
        assert {stub.ModelInfer(request).model_version for _ in range(5)} == by_key["7"]
    finally:
        serin.serin("route", "set", "versions", "2=100")


def test_calls_are_counted_with_those_over_http(stub: Any, serin: Running) -> None:
    import httpx

    def counted() -> dict[str, float]:
        lines = httpx.get(f"{serin.http}/metrics", timeout=30).text.splitlines()
        pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
        return {name: float(value) for name, value in pairs}

    ok = 'serin_requests_total{assignment="split",model="row",outcome="ok",variant="1",version="1"}'
    bad = 'serin_rejected_requests_total{reason="not_found"}'
    before = counted()
    request = grpcclient.raw_request("row", {"x": np.ones((1, 2), np.float32)}, {"x": "FP32"})
    for _ in range(3):
        stub.ModelInfer(request)
    request.model_name = "nobody"
    refused(lambda: stub.ModelInfer(request))
    after = counted()
    assert after[ok] - before.get(ok, 0) == 3
    assert after[bad] - before.get(bad, 0) == 1


# ---- health and reflection ----


@pytest.mark.parametrize("service", ["", SERVICE, "grpc.health.v1.Health"])
def test_the_health_service_says_serving(serin: Running, service: str) -> None:
    with grpc.insecure_channel(serin.seen["grpc"]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(health_pb2.HealthCheckRequest(service=service)).status == 1
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=20)
        assert next(watch).status == 1
        watch.cancel()


def test_the_health_of_an_unknown_service_is_not_found(serin: Running) -> None:
    with grpc.insecure_channel(serin.seen["grpc"]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="nobody")
        assert refused(lambda: stub.Check(request))[0] == "NOT_FOUND"
        watch = stub.Watch(request, timeout=20)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()


def test_reflection_describes_every_service_and_its_messages(serin: Running) -> None:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    with grpc.insecure_channel(serin.seen["grpc"]) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)

        def ask(**what: str) -> Any:
            (answer,) = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**what)]), timeout=20)
            return answer

        names = [service.name for service in ask(list_services="").list_services_response.service]
        assert names == ["grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection", SERVICE]
        for name in names:
            (found,) = ask(file_containing_symbol=name).file_descriptor_response.file_descriptor_proto
            file = FileDescriptorProto.FromString(found)
            assert name in [f"{file.package}.{service.name}" for service in file.service]


def test_an_idle_stream_keeps_nobody_from_being_served(serin: Running, stub: Any) -> None:
    import queue

    hold: queue.Queue[Any] = queue.Queue()
    waiting = stub.ModelStreamInfer(iter(hold.get, None))
    try:
        assert eventually(lambda: stub.ServerLive(pb.ServerLiveRequest()).live)
    finally:
        hold.put(None)
    assert list(waiting) == []
