"""The reference: what any engineer writes to serve an ONNX model, about 30 lines of FastAPI, pydantic and onnxruntime.

It takes the same JSON as Serin, so that both get the same bytes; it knows no versions, no split, no counts. Two more
apps stand beside it: the same with `async def`, and one that answers any POST with fixed bytes and knows no model,
which is as quick as uvicorn can be.
"""

import argparse
import json
import socket
from collections.abc import Awaitable, Callable
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


FIXED = b'{"model_name":"fixed","outputs":[{"name":"label","datatype":"INT64","shape":[1],"data":[1]}]}'
Event = dict[str, Any]


def make_app(path: str, *, inline: bool = False) -> FastAPI:
    """An app that serves one model; in the server's threads, or `inline` on its event loop."""
    app = FastAPI()
    options = SessionOptions()
    options.intra_op_num_threads = 1  # it runs on one core; more threads would only slow it down
    session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def infer(model: str, request: Request) -> dict[str, Any]:
        feeds = {tensor.name: np.array(tensor.data, np.float32).reshape(tensor.shape) for tensor in request.inputs}
        outputs = zip(names, session.run(names, feeds), strict=True)
        return {
            "model_name": model,
            "outputs": [
                {"name": name, "shape": array.shape, "data": array.ravel().tolist()} for name, array in outputs
            ],
        }

    async def infer_inline(model: str, request: Request) -> dict[str, Any]:
        return infer(model, request)

    app.post("/v2/models/{model}/infer")(infer_inline if inline else infer)
    return app


async def fixed(
    scope: Event, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]
) -> None:
    """An ASGI app with one answer."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(FIXED))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": FIXED})


def main() -> None:
    """`python -m loadtests.reference MODEL.onnx`: serve on a free port, which is printed as JSON."""
    parser = argparse.ArgumentParser(prog="loadtests.reference")
    parser.add_argument("model")
    parser.add_argument("--endpoint", choices=("reference", "async", "fixed"), default="reference")
    told = parser.parse_args()
    app = fixed if told.endpoint == "fixed" else make_app(told.model, inline=told.endpoint == "async")
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as bound:
        print(json.dumps({"http": f"http://127.0.0.1:{bound.getsockname()[1]}"}), flush=True)
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[bound])


if __name__ == "__main__":
    main()
