"""KServe's Python server on one ONNX model, in its own environment: `python kserve_app.py MODEL.onnx NAME`."""

import json
import logging
import os
import socket
import sys
import threading
import time
import urllib.request
from typing import TextIO
from uuid import uuid4

import kserve
import onnxruntime
from kserve import InferOutput, InferRequest, InferResponse

START_SECONDS = 60.0


class OnnxModel(kserve.Model):  # type: ignore[misc]
    """What its documentation shows for a model of one's own."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._datatypes = {"tensor(float)": "FP32", "tensor(int64)": "INT64"}
        self.ready = True

    async def predict(
        self, payload: InferRequest, headers: dict[str, str] | None = None, response_headers: object = None
    ) -> InferResponse:
        feeds = {given.name: given.as_numpy() for given in payload.inputs}
        specs = self._session.get_outputs()
        outputs = []
        for spec, array in zip(specs, self._session.run(None, feeds), strict=True):
            output = InferOutput(name=spec.name, shape=list(array.shape), datatype=self._datatypes[spec.type])
            output.set_data_from_numpy(array, binary_data=False)
            outputs.append(output)
        return InferResponse(response_id=payload.id or str(uuid4()), model_name=self.name, infer_outputs=outputs)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port: int = bound.getsockname()[1]
        return port


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


def main(path: str, name: str) -> None:
    out, port = own_output(), free_port()
    waiting = (f"http://127.0.0.1:{port}", f"/v2/models/{name}/ready", out)
    threading.Thread(target=announce, args=waiting, daemon=True).start()
    logging.disable(logging.INFO)  # it writes three lines for each request otherwise
    quiet = {"enable_grpc": False, "enable_latency_logging": False, "workers": 1}
    kserve.ModelServer(http_port=port, **quiet).start([OnnxModel(name, path)])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
