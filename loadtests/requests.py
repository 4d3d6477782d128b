"""Inference requests as the bytes that go over the wire, built once before any clock runs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Input:
    """The one input of a model, and rows to fill it with: [n, ...], one request sends one row as [1, ...]."""

    name: str
    rows: Floats


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes; `version` is a number or an alias."""

    model: str
    version: str | None = None

    @property
    def path(self) -> str:
        version = f"/versions/{self.version}" if self.version else ""
        return f"/v2/models/{self.model}{version}/infer"


def build(target: Target, given: Input, *, encoding: str = "json", keys: Sequence[str | None] = (None,)) -> list[bytes]:
    """One request for each key (None: without), with the rows in turn. Encoding is "json" or "binary"."""
    write = {"json": json_request, "binary": binary_request}[encoding]
    return [write(target, given, number % len(given.rows), key) for number, key in enumerate(keys)]


def json_request(target: Target, given: Input, row: int, key: str | None = None) -> bytes:
    """One row as JSON, flat, as clients without numpy send it."""
    values = given.rows[row : row + 1]
    # The shortest text that is the same float32 again; whole numbers without a fraction.
    data = [int(value) if value.is_integer() else json.loads(str(value)) for value in values.ravel()]
    tensor = {"name": given.name, "shape": list(values.shape), "datatype": "FP32", "data": data}
    body = json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()
    return post(target.path, body, {"Content-Type": "application/json", **_keyed(key)})


def binary_request(target: Target, given: Input, row: int, key: str | None = None) -> bytes:
    """One row in the binary tensor extension, which is asked for in the answer too."""
    values = np.ascontiguousarray(given.rows[row : row + 1], dtype="<f4")
    size = {"binary_data_size": values.nbytes}
    tensor = {"name": given.name, "shape": list(values.shape), "datatype": "FP32", "parameters": size}
    told = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    text = json.dumps(told, separators=(",", ":")).encode()
    length = {"Inference-Header-Content-Length": str(len(text))}
    return post(
        target.path, text + values.tobytes(), {"Content-Type": "application/octet-stream", **length, **_keyed(key)}
    )


def post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """A whole HTTP/1.1 request."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in {**headers, "Content-Length": str(len(body))}.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _keyed(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Serin-Routing-Key": key}
