"""The Open Inference Protocol V2 as a client writes and reads it, from the specification alone: nothing of Serin's."""

import json
import math
import struct
from typing import Any

import httpx
import ml_dtypes
import numpy as np

DTYPES: dict[str, Any] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
FLOATS = ("FP16", "BF16", "FP32", "FP64")
LENGTH = "Inference-Header-Content-Length"
Feeds = dict[str, np.ndarray]


def tensor(name: str, array: np.ndarray, datatype: str, **more: Any) -> dict[str, Any]:
    """The head of an input: everything but its data."""
    return {"name": name, "shape": list(array.shape), "datatype": datatype, **more}


def json_data(array: np.ndarray, datatype: str, nested: bool = False) -> Any:
    """Values as Python's json writes them: NaN and infinities as bare words, text as it is."""
    if datatype == "BYTES":
        array = np.array([_text(x) for x in array.ravel()], object).reshape(array.shape)
    elif datatype == "BF16":
        array = array.astype(np.float32)
    return (array if nested else array.reshape(-1)).tolist()


def json_request(feeds: Feeds, datatypes: dict[str, str], nested: bool = False, **more: Any) -> dict[str, Any]:
    """A request whose tensors are all in JSON."""
    inputs = [
        tensor(name, array, datatypes[name], data=json_data(array, datatypes[name], nested))
        for name, array in feeds.items()
    ]
    return {"inputs": inputs, **more}


def binary_request(feeds: Feeds, datatypes: dict[str, str], **more: Any) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request whose tensors are all binary, and whose answer shall be."""
    blobs = [pack(array, datatypes[name]) for name, array in feeds.items()]
    inputs = [
        tensor(name, array, datatypes[name], parameters={"binary_data_size": len(blob)})
        for (name, array), blob in zip(feeds.items(), blobs, strict=True)
    ]
    document = {"inputs": inputs, "parameters": {"binary_data_output": True}, **more}
    return framed(document, *blobs)


def framed(document: dict[str, Any], *blobs: bytes) -> tuple[bytes, dict[str, str]]:
    """JSON and the binary parts behind it, with the header that says where one ends."""
    text = json.dumps(document).encode()
    return b"".join((text, *blobs)), {LENGTH: str(len(text)), "Content-Type": "application/octet-stream"}


def pack(array: np.ndarray, datatype: str) -> bytes:
    """Little-endian, row-major; BYTES with the length before each element."""
    if datatype != "BYTES":
        return np.ascontiguousarray(array, DTYPES[datatype]).tobytes()
    elements = [x if isinstance(x, bytes) else str(x).encode() for x in array.ravel()]
    return b"".join(struct.pack("<I", len(x)) + x for x in elements)


def unpack(blob: bytes, datatype: str, shape: list[int]) -> np.ndarray:
    """The reverse of `pack`; BYTES become `bytes`."""
    if datatype != "BYTES":
        return np.frombuffer(blob, DTYPES[datatype]).reshape(shape)
    values, at = [], 0
    while at < len(blob):
        (size,) = struct.unpack_from("<I", blob, at)
        values.append(blob[at + 4 : at + 4 + size])
        at += 4 + size
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)


def outputs_of(answer: httpx.Response) -> dict[str, np.ndarray]:
    """The outputs of an answer in either encoding, by name. In JSON, null becomes NaN. Checks the layout on the way."""
    assert answer.status_code == 200, answer.text[:500]
    length = answer.headers.get(LENGTH)
    text = answer.content if length is None else answer.content[: int(length)]
    rest = b"" if length is None else answer.content[int(length) :]
    document = json.loads(text)
    found = {}
    for output in document["outputs"]:
        assert math.prod(output["shape"]) == np.prod(output["shape"], dtype=np.int64)
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            found[output["name"]] = from_json(output)
            continue
        assert "data" not in output
        assert size <= len(rest), "the answer is shorter than it says"
        found[output["name"]] = unpack(rest[:size], output["datatype"], output["shape"])
        rest = rest[size:]
    assert not rest, "the answer is longer than it says"
    return found


def from_json(output: dict[str, Any]) -> np.ndarray:
    """A JSON output as an array of its datatype; flat data only, as servers answer it."""
    datatype, data = output["datatype"], output["data"]
    assert len(data) == math.prod(output["shape"])
    assert not any(isinstance(value, list) for value in data), "nested data in an answer"
    if datatype == "BYTES":
        array = np.empty(len(data), object)
        array[:] = [value.encode() for value in data]
        return array.reshape(output["shape"])
    if datatype in FLOATS:
        data = [math.nan if value is None else float(value) for value in data]
        return np.array(data, np.float64).astype(DTYPES[datatype]).reshape(output["shape"])
    wanted = bool if datatype == "BOOL" else int
    assert all(type(value) is wanted for value in data)
    return np.array(data, DTYPES[datatype]).reshape(output["shape"])


def alike(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Bit for bit, text by its UTF-8; of NaN only that it is one, where `found` came in JSON."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    if wanted.dtype == object:
        return [_text(x) for x in found.ravel()] == [_text(x) for x in wanted.ravel()]
    if wanted.dtype.kind in "fV":
        strange = np.isnan(wanted.astype(np.float64))
        if not np.array_equal(strange, np.isnan(found.astype(np.float64))):
            return False
        found, wanted = (np.where(strange, np.zeros((), wanted.dtype), array) for array in (found, wanted))
    return np.ascontiguousarray(found).tobytes() == np.ascontiguousarray(wanted).tobytes()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
