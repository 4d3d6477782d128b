"""Hostile calls over gRPC: the code that fits, in our words, and the next good call is answered."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.hostile.case import MARK
from tests.hostile.conftest import LIMIT_BYTES, LIMIT_SECONDS, House
from tests.hostile.test_corpus import FEW_BYTES, LEAKS

SERVICE = "/inference.GRPCInferenceService/"
INVALID = frozenset({grpc.StatusCode.INVALID_ARGUMENT})
NOT_FOUND = frozenset({grpc.StatusCode.NOT_FOUND})
TOO_MUCH = frozenset({grpc.StatusCode.RESOURCE_EXHAUSTED})
ABSENT = frozenset({grpc.StatusCode.UNIMPLEMENTED})


@dataclass(frozen=True, slots=True)
class HostileCall:
    """`make`: the message, as bytes; a function, so that the large ones live only while they are sent."""

    name: str
    make: Callable[[], bytes]
    codes: frozenset[grpc.StatusCode] = INVALID
    method: str = "ModelInfer"
    metadata: tuple[tuple[str, str], ...] = ()


def request(**members: Any) -> Any:
    """A good one but for these members of its only input."""
    described = {"name": "x", "datatype": "FP32", "shape": [1, 2], **members}
    return pb.ModelInferRequest(
        model_name="floats", inputs=[described], raw_input_contents=[b"\0\0\xc0\x3f\0\0\x20\x40"]
    )


def typed(datatype: str, model: str, **contents: Any) -> Any:
    tensor = {"name": "x", "datatype": datatype, "shape": [1, 2], "contents": contents}
    return pb.ModelInferRequest(model_name=model, inputs=[tensor])


def with_raw(*blobs: bytes, model: str = "floats", **members: Any) -> Any:
    message = request(**members)
    message.model_name = model
    del message.raw_input_contents[:]
    message.raw_input_contents.extend(blobs)
    return message


SHAPES = {
    "2_31": [2**31],
    "2_62": [2**62],
    "2_62_and_1": [2**62 + 1],
    "nothing_times_2_62": [0, 2**62],
    "wraps_to_32": [2**4, 2**60 + 2],
    "wraps_to_nothing": [2**32, 2**32],
    "minus_one": [-1, 2],
    "least": [-(2**63)],
    "many_dimensions": [1] * 1000,
}
GARBAGE = {
    "nothing": b"",
    "zeros": bytes(1000),
    "ones": b"\xff" * 1000,
    "json": b'{"inputs":[]}',
    "cut_short": b"\x0a\x06floats\x2a\x7f",
    "endless_length": b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    "endless_number": b"\x08" + b"\x80" * 100,
    "groups": b"\x2b" * 100_000,
    "not_utf_8": b"\x0a\x02\xff\xfe",
}


def calls() -> Iterator[HostileCall]:
    for name, body in GARBAGE.items():
        yield HostileCall(f"garbage-{name}", lambda body=body: body, INVALID | NOT_FOUND)  # type: ignore[misc]
    for name, shape in SHAPES.items():
        yield HostileCall(f"shape-{name}", request(shape=shape).SerializeToString)
    wrong = {
        "no_input": pb.ModelInferRequest(model_name="floats"),
        "unknown_input": request(name=MARK),
        "unknown_datatype": request(datatype=MARK),
        "long_name": request(name="a" * 1_000_000),
        "short_blob": with_raw(bytes(7)),
        "long_blob": with_raw(bytes(9)),
        "no_blob": with_raw(),
        "two_blobs": with_raw(bytes(8), bytes(8)),
        "a_million_blobs": with_raw(*[b""] * 1_000_000),
        "both_forms": request(contents={"fp32_contents": [1, 2]}),
        "wrong_form": typed("FP32", "floats", int_contents=[1, 2]),
        "few": typed("FP32", "floats", fp32_contents=[1]),
        "length_beyond": with_raw(b"\xff\xff\xff\xff", model="words", datatype="BYTES"),
        "cut_in_an_element": with_raw(b"\x05\0\0\0ab\0\0\0\0", model="words", datatype="BYTES"),
        "a_million_strings": with_raw(bytes(4_000_004), model="words", datatype="BYTES", shape=[1, 1_000_001]),
    }
    for name, message in wrong.items():
        yield HostileCall(name, message.SerializeToString)
    twice = request()
    twice.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    yield HostileCall("an_input_twice", twice.SerializeToString)
    many = request()
    for number in range(20_000):
        many.inputs.add(name=f"x{number}", datatype="FP32", shape=[1])
    yield HostileCall("many_inputs", many.SerializeToString)
    wanted = request()
    for number in range(100_000):
        wanted.outputs.add(name=f"y{number}")
    yield HostileCall("many_outputs", wanted.SerializeToString)
    yield HostileCall("above_the_limit", lambda: with_raw(bytes(LIMIT_BYTES + 1)).SerializeToString(), TOO_MUCH)
    yield HostileCall("much_metadata", request().SerializeToString, TOO_MUCH, metadata=(("x", "a" * 1_000_000),))
    yield from _others()


def _others() -> Iterator[HostileCall]:
    for name in ("../../etc/passwd", MARK, "a\nb", "", "a" * 100_000):
        asked = pb.ModelInferRequest(model_name=name)
        yield HostileCall(f"model-{name[:20]!r}", asked.SerializeToString, NOT_FOUND | INVALID)
        described = pb.ModelMetadataRequest(name=name)
        yield HostileCall(f"metadata-{name[:20]!r}", described.SerializeToString, NOT_FOUND | INVALID, "ModelMetadata")
        loaded = pb.RepositoryModelLoadRequest(model_name=name)
        yield HostileCall(f"load-{name[:20]!r}", loaded.SerializeToString, NOT_FOUND | INVALID, "RepositoryModelLoad")
    for name in ("uri", "config", "file:1/model.onnx"):
        message = pb.RepositoryModelLoadRequest(model_name="floats")
        message.parameters[name].string_param = "file:///etc/passwd"
        yield HostileCall(f"load_with-{name}", message.SerializeToString, INVALID | ABSENT, "RepositoryModelLoad")
    for method in ("SystemSharedMemoryRegister", "CudaSharedMemoryRegister", "Nothing", "../../etc/passwd"):
        yield HostileCall(f"method-{method}", lambda: b"\xff" * 100, ABSENT, method)


def call(channel: Any, one: HostileCall) -> Any:
    return channel.unary_unary(SERVICE + one.method)(one.make(), timeout=LIMIT_SECONDS, metadata=one.metadata)


@pytest.fixture(scope="module")
def channel(house: House) -> Iterator[Any]:
    room = [("grpc.max_send_message_length", -1), ("grpc.max_metadata_size", 2_000_000)]
    with grpc.insecure_channel(str(house.running.seen["grpc"]), room) as opened:
        yield opened


@pytest.mark.parametrize("one", [pytest.param(one, id=one.name) for one in calls()])
def test_a_hostile_call_is_refused_and_the_next_good_one_is_answered(one: HostileCall, channel: Any) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        call(channel, one)
    assert refused.value.code() in one.codes, refused.value
    details = str(refused.value.details()).encode()
    assert not LEAKS.search(details), details
    assert MARK.encode() not in details
    assert len(details) < FEW_BYTES

    answer = pb.ModelInferResponse.FromString(call(channel, HostileCall("good", request().SerializeToString)))
    assert answer.raw_output_contents[0] == request().raw_input_contents[0]


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 100, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff" * 9]
)
def test_what_is_no_http_2_ends_its_connection_only(said: bytes, house: House, channel: Any) -> None:
    host, _, port = str(house.running.seen["grpc"]).rpartition(":")
    with socket.create_connection((host, int(port)), LIMIT_SECONDS) as connection:
        connection.sendall(said)
        while connection.recv(65536):
            pass
    call(channel, HostileCall("good", request().SerializeToString))


def test_after_all_of_them_the_worker_is_the_same_and_its_memory_is_back(house: House, channel: Any) -> None:
    for one in calls():  # once more: what each round leaves behind adds up
        with pytest.raises(grpc.RpcError):
            call(channel, one)
    house.assert_serves()
    house.assert_unharmed()
    house.assert_memory_is_back()
