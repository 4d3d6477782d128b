"""The reference: what any engineer writes to serve an ONNX model, about 30 lines of FastAPI, pydantic and onnxruntime.

It takes the same JSON as Serin, so that both get the same bytes; it knows no versions, no split, no counts.
"""

import json
import socket
import sys
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from onnxruntime import InferenceSession, SessionOptions
from pydantic import BaseModel


class Tensor(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class Request(BaseModel):
    inputs: list[Tensor]


def make_app(path: str) -> FastAPI:
    """An app that serves one model."""
    app = FastAPI()
    options = SessionOptions()
    options.intra_op_num_threads = 1  # it runs on one core; more threads would only slow it down
    session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    @app.post("/v2/models/{model}/infer")
    def infer(model: str, request: Request) -> dict[str, Any]:
        feeds = {tensor.name: np.array(tensor.data, np.float32).reshape(tensor.shape) for tensor in request.inputs}
        outputs = zip(names, session.run(names, feeds), strict=True)
        return {
            "model_name": model,
            "outputs": [
                {"name": name, "shape": array.shape, "data": array.ravel().tolist()} for name, array in outputs
            ],
        }

    return app


def main() -> None:
    """`python -m loadtests.reference MODEL.onnx`: serve on a free port, which is printed as JSON."""
    app = make_app(sys.argv[1])
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as bound:
        print(json.dumps({"http": f"http://127.0.0.1:{bound.getsockname()[1]}"}), flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[bound])


if __name__ == "__main__":
    main()
