"""The messages: written from the present `.proto`, in a pool of their own, and on the wire what other programs send."""

from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from tritonclient.grpc import model_config_pb2, service_pb2

from service.pb.descriptors import SERIALIZED
from service.pb.messages import MESSAGES, POOL, SERVICE
from tests.unit.service.pb import generate

THEIRS: dict[str, Any] = {
    message.full_name: message
    for file in (service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR)
    for message in file.message_types_by_name.values()
}


def fields(message: Descriptor) -> dict[int, tuple[str, int, bool, str]]:
    """Number -> name, wire type, repeated, and the message or enum in it."""
    return {
        field.number: (
            field.name,
            field.type,
            field.is_repeated,
            getattr(field.message_type or field.enum_type, "full_name", ""),
        )
        for field in message.fields
    }


def test_the_descriptors_are_those_of_the_proto_file() -> None:
    assert generate.serialized() == SERIALIZED
    assert generate.text() == generate.TARGET.read_text()


@pytest.mark.parametrize("name", [name for name in MESSAGES if "." not in name])
def test_each_field_is_on_the_wire_what_tritonclient_sends_and_reads(name: str) -> None:
    ours, theirs = POOL.FindMessageTypeByName(f"inference.{name}"), THEIRS[f"inference.{name}"]
    both = [(ours, theirs), *((n, theirs.nested_types_by_name[n.name]) for n in ours.nested_types)]
    for mine, other in both:
        assert fields(mine).items() <= fields(other).items()


def test_each_method_takes_and_gives_what_tritonclient_expects() -> None:
    def methods(service: Any) -> dict[str, tuple[str, str, bool, bool]]:
        return {
            method.name: (
                method.input_type.full_name,
                method.output_type.full_name,
                method.client_streaming,
                method.server_streaming,
            )
            for method in service.methods
        }

    theirs = methods(service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"])
    ours = methods(POOL.FindServiceByName(SERVICE))
    assert ours.items() <= theirs.items()
    assert all("SharedMemory" in name for name in theirs.keys() - ours.keys())


def test_the_messages_of_a_client_in_the_same_process_are_others() -> None:
    sent = service_pb2.ModelInferRequest(model_name="digits", raw_input_contents=[b"1"]).SerializeToString()
    assert type(MESSAGES["ModelInferRequest"]()) is not service_pb2.ModelInferRequest
    assert MESSAGES["ModelInferRequest"].FromString(sent).SerializeToString() == sent
