"""tritonclient's two clients in the same words, so that one check serves for both."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from tests.e2e.conftest import Running

DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}
STATUSES = {
    "INVALID_ARGUMENT": "400",
    "NOT_FOUND": "404",
    "FAILED_PRECONDITION": "409",
    "RESOURCE_EXHAUSTED": "429",
    "UNIMPLEMENTED": "501",
    "UNAVAILABLE": "503",
    "DEADLINE_EXCEEDED": "504",
}


class Http:
    """tritonclient.http."""

    module: Any = triton_http

    def __init__(self, running: Running) -> None:
        self.running = running
        self.client: Any = triton_http.InferenceServerClient(running.http.removeprefix("http://"), concurrency=4)

    def given(self, array: np.ndarray, datatype: str = "FP32", name: str = "x", **how: Any) -> Any:
        """An input."""
        tensor = self.module.InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array, **how)
        return tensor

    def refused(self, call: Callable[[], Any]) -> tuple[str, str]:
        """The status with which it is refused, as HTTP has it, and the reason."""
        with pytest.raises(InferenceServerException) as error:
            call()
        return self.status(str(error.value.status())), error.value.message()

    def status(self, said: str) -> str:
        """Of what an error says."""
        return said

    def head(self, answer: Any) -> tuple[str, str, str, list[str]]:
        """Model, version, id ("" where there is none) and names of the outputs of an answer."""
        said = answer.get_response()
        names = [output["name"] for output in said["outputs"]]
        return said["model_name"], said["model_version"], said.get("id", ""), names

    def shape(self, answer: Any, name: str) -> list[int]:
        """As the answer says it."""
        return list(answer.get_output(name)["shape"])

    def server(self) -> dict[str, Any]:
        """Metadata of the server."""
        return dict(self.client.get_server_metadata())

    def metadata(self, *asked: str) -> dict[str, Any]:
        """Metadata of a model."""
        return dict(self.client.get_model_metadata(*asked))

    def statistics(self, *asked: str) -> list[dict[str, Any]]:
        """Of a model, a version or all."""
        return list(self.client.get_inference_statistics(*asked)["model_stats"])

    def config(self, *asked: str) -> dict[str, Any]:
        """Of a model."""
        return dict(self.client.get_model_config(*asked))

    def index(self) -> list[dict[str, Any]]:
        """Of the repository."""
        return list(self.client.get_model_repository_index())


class Grpc(Http):
    """tritonclient.grpc; its JSON writes 64-bit numbers as text."""

    module: Any = triton_grpc

    def __init__(self, running: Running) -> None:
        self.running = running
        self.client = triton_grpc.InferenceServerClient(running.seen["grpc"])

    def status(self, said: str) -> str:
        code = said.removeprefix("StatusCode.")
        return STATUSES.get(code, code)

    def head(self, answer: Any) -> tuple[str, str, str, list[str]]:
        said = answer.get_response()
        return said.model_name, said.model_version, said.id, [output.name for output in said.outputs]

    def shape(self, answer: Any, name: str) -> list[int]:
        return list(answer.get_output(name).shape)

    def server(self) -> dict[str, Any]:
        return dict(self.client.get_server_metadata(as_json=True))

    def metadata(self, *asked: str) -> dict[str, Any]:
        found = self.client.get_model_metadata(*asked, as_json=True)
        for tensor in (*found["inputs"], *found["outputs"]):
            tensor["shape"] = [int(size) for size in tensor["shape"]]
        return dict(found)

    def statistics(self, *asked: str) -> list[dict[str, Any]]:
        found = self.client.get_inference_statistics(*asked, as_json=True).get("model_stats", [])
        return [_plain(entry) for entry in found]

    def config(self, *asked: str) -> dict[str, Any]:
        return dict(_plain(self.client.get_model_config(*asked, as_json=True)["config"]))

    def index(self) -> list[dict[str, Any]]:
        return list(self.client.get_model_repository_index(as_json=True).get("models", []))


DOORS = (Http, Grpc)
NAMES = ("http", "grpc")


def values(datatype: str) -> np.ndarray:
    """[2, 3] of a datatype, its extremes among them."""
    dtype = DTYPES[datatype]
    if datatype == "BYTES":
        return np.array([[b"", "zürich 東京".encode(), b'"\\\n\t'], [b"x" * 300, b"0", b"a b"]], object)
    if datatype == "BOOL":
        return np.array([[True, False, True], [False, False, True]])
    if datatype.startswith(("INT", "UINT")):
        about: Any = np.iinfo(dtype)
        return np.array([[about.min, about.max, 0], [1, about.max - 1, 7]], dtype)
    about = np.finfo(dtype)
    return np.array([[about.max, about.min, about.tiny], [0.1, -0.0, 1 / 3]], dtype)


@contextlib.contextmanager
def opened(kind: type[Http], running: Running) -> Iterator[Http]:
    """One of them, closed at the end."""
    found = kind(running)
    try:
        yield found
    finally:
        found.client.close()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, str) and value.isdigit() else value
