"""The same protocol over gRPC, with the messages of tritonclient: nothing of Serin's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from tests.conformance import v2client

FIELDS = {
    "BOOL": "bool_contents",
    **{f"INT{bits}": "int_contents" for bits in (8, 16, 32)},
    **{f"UINT{bits}": "uint_contents" for bits in (8, 16, 32)},
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
ROOM = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@contextmanager
def stub(address: str) -> Iterator[Any]:
    """The service at `host:port`, on a connection of its own."""
    with grpc.insecure_channel(address, [*ROOM, ("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield GRPCInferenceServiceStub(channel)


def raw_request(model: str, feeds: v2client.Feeds, datatypes: dict[str, str], version: str = "") -> Any:
    """All tensors as bytes."""
    request = pb.ModelInferRequest(model_name=model, model_version=version)
    for name, array in feeds.items():
        request.inputs.add(name=name, datatype=datatypes[name], shape=array.shape)
        request.raw_input_contents.append(v2client.pack(array, datatypes[name]))
    return request


def typed_request(model: str, feeds: v2client.Feeds, datatypes: dict[str, str], version: str = "") -> Any:
    """All tensors as numbers."""
    request = pb.ModelInferRequest(model_name=model, model_version=version)
    for name, array in feeds.items():
        tensor = request.inputs.add(name=name, datatype=datatypes[name], shape=array.shape)
        values = array.reshape(-1).tolist()
        if datatypes[name] == "BYTES":
            values = [value if isinstance(value, bytes) else str(value).encode() for value in values]
        getattr(tensor.contents, FIELDS[datatypes[name]]).extend(values)
    return request


def outputs_of(answer: Any) -> v2client.Feeds:
    """The outputs of an answer by name, raw or typed; it is one of the two as a whole."""
    raw, found = answer.raw_output_contents, {}
    assert len(raw) in (0, len(answer.outputs))
    for number, output in enumerate(answer.outputs):
        shape = list(output.shape)
        if raw:
            assert not output.HasField("contents")
            found[output.name] = v2client.unpack(raw[number], output.datatype, shape)
            continue
        values = list(getattr(output.contents, FIELDS[output.datatype]))
        array = np.empty(len(values), v2client.DTYPES[output.datatype])
        array[:] = values
        found[output.name] = array.reshape(shape)
    return found
