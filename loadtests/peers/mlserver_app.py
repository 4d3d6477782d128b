"""MLServer on one ONNX model, in its own environment: `python mlserver_app.py MODEL.onnx NAME`.

One process without a worker pool, which was its fastest set-up; metrics as they are by default.
"""

import asyncio
import json
import os
import socket
import sys
import threading
import time
import urllib.request
from typing import TextIO

import mlserver
import onnxruntime
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters, ModelSettings, Settings
from mlserver.types import InferenceRequest, InferenceResponse, MetadataTensor

START_SECONDS = 60.0


DATATYPES = {"tensor(float)": "FP32", "tensor(int64)": "INT64"}


def tensor(node: onnxruntime.NodeArg) -> MetadataTensor:
    shape = [size if isinstance(size, int) else -1 for size in node.shape]
    return MetadataTensor(name=node.name, datatype=DATATYPES[node.type], shape=shape)


class OnnxModel(mlserver.MLModel):  # type: ignore[misc]
    """What its documentation shows for a model of one's own."""

    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            self.settings.parameters.uri, options, providers=["CPUExecutionProvider"]
        )
        self._names = [output.name for output in self._session.get_outputs()]
        # Who asks for its metadata is to learn what it takes; MLServer cannot know that by itself.
        self.inputs = [tensor(node) for node in self._session.get_inputs()]
        self.outputs = [tensor(node) for node in self._session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        feeds = {given.name: NumpyCodec.decode_input(given) for given in payload.inputs}
        outputs = zip(self._names, self._session.run(self._names, feeds), strict=True)
        encoded = [NumpyCodec.encode_output(name, array) for name, array in outputs]
        return InferenceResponse(model_name=self.name, outputs=encoded)


def free_ports(count: int) -> list[int]:
    """Ports that are free now; MLServer binds them itself."""
    bound = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in bound]
    for one in bound:
        one.close()
    return ports


def announce(url: str, ready: str, out: TextIO) -> None:
    """Print the address when it answers."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(url + ready, timeout=1):
                print(json.dumps({"http": url}), file=out, flush=True)
                return
        except OSError:
            time.sleep(0.1)


def own_output() -> TextIO:
    """Standard output for our one line; whatever else the server prints goes to standard error."""
    kept = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return kept


async def serve(path: str, name: str) -> None:
    out = own_output()
    http, grpc, metrics = free_ports(3)
    ports = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    settings = Settings(host="127.0.0.1", parallel_workers=0, debug=False, **ports)
    model = ModelSettings(name=name, implementation=OnnxModel, parameters=ModelParameters(uri=path))
    waiting = (f"http://127.0.0.1:{http}", f"/v2/models/{name}/ready", out)
    threading.Thread(target=announce, args=waiting, daemon=True).start()
    await mlserver.MLServer(settings).start([model])


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2]))
