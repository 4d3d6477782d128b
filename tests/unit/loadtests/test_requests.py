"""Requests as bytes: what the gateway's own protocol code reads out of them is what went in."""

import numpy as np
import pytest

from loadtests.requests import Input, Target, build
from service.protocol.check import bind
from service.protocol.codec import decode
from service.protocol.tensors import Signature, TensorSpec

ROWS = np.array([[0.1, 2, 1e-8], [3.4028235e38, -7, 16]], np.float32)
GIVEN = Input("x", ROWS)
SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 3)),), ())


def taken_apart(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first, dict(line.split(": ", 1) for line in lines), body


@pytest.mark.parametrize("encoding", ["json", "binary"])
def test_the_gateway_reads_the_row_bit_for_bit(encoding: str) -> None:
    for request, row in zip(build(Target("m"), GIVEN, encoding=encoding, keys=[None] * 2), ROWS, strict=True):
        _, headers, body = taken_apart(request)
        length = headers.get("Inference-Header-Content-Length")
        array = bind(decode(body, int(length) if length else None), SIGNATURE)["x"]
        assert array.tobytes() == row.tobytes()


def test_binary_requests_ask_for_binary_answers() -> None:
    _, headers, body = taken_apart(build(Target("m"), GIVEN, encoding="binary")[0])
    assert decode(body, int(headers["Inference-Header-Content-Length"])).binary_output


def test_rows_go_in_turn_and_each_request_has_its_key() -> None:
    requests = [taken_apart(request) for request in build(Target("m"), GIVEN, keys=["a", "b", "c"])]
    assert [headers["Serin-Routing-Key"] for _, headers, _ in requests] == ["a", "b", "c"]
    assert requests[0][2] == requests[2][2] != requests[1][2]


def test_the_length_is_that_of_the_body() -> None:
    _, headers, body = taken_apart(build(Target("m"), GIVEN)[0])
    assert headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize(
    ("target", "path"),
    [(Target("m"), "/v2/models/m/infer"), (Target("m", "2"), "/v2/models/m/versions/2/infer")],
)
def test_a_version_is_named_in_the_path(target: Target, path: str) -> None:
    assert taken_apart(build(target, GIVEN)[0])[0] == f"POST {path} HTTP/1.1"
