"""MLServer's types and codecs as a client: what they write is taken, and what comes back they can read."""

import asyncio
import sys
import tempfile
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
from checks import Address, main, refusal
from mlserver.codecs import Base64Codec, NumpyCodec, NumpyRequestCodec, PandasCodec, StringCodec
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataServerResponse,
    RepositoryIndexResponse,
)

ROWS = np.array([[1.5, -2.0], [3.25, 4.0]], np.float32)


def ask(at: Address, path: str, body: str | None = None) -> bytes:
    data = None if body is None else body.encode()
    asked = urllib.request.Request(at.http + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return bytes(answer.read())


def infer(at: Address, model: str, request: InferenceRequest) -> InferenceResponse:
    text = request.model_dump_json(exclude_none=True)
    return InferenceResponse.model_validate_json(ask(at, f"/v2/models/{model}/infer", text))


async def numpy_goes_there_and_back(at: Address) -> None:
    request = InferenceRequest(id="7", inputs=[NumpyCodec.encode_input("x", ROWS)])
    answer = infer(at, "row", request)
    assert (answer.id, answer.model_name, answer.model_version) == ("7", "row", "1")
    assert np.array_equal(NumpyCodec.decode_output(answer.outputs[0]), ROWS)


async def its_content_types_do_no_harm(at: Address) -> None:
    request = NumpyRequestCodec.encode_request(ROWS)
    request.inputs[0].name = "x"
    answer = infer(at, "row", request)
    assert np.array_equal(NumpyRequestCodec.decode_response(answer), ROWS)


async def strings_go_there_and_back(at: Address) -> None:
    request = InferenceRequest(inputs=[StringCodec.encode_input("x", ["é", "b"], use_bytes=False)])
    assert request.inputs[0].shape == [2, 1]
    answer = infer(at, "same_BYTES", request)
    assert StringCodec.decode_output(answer.outputs[0]) == ["é", "b"]


async def a_data_frame_is_one_input_a_column(at: Address) -> None:
    frame = pd.DataFrame({"a": [1.5, 2.5], "b": [3, 4]})
    request = PandasCodec.encode_request(frame)
    assert [one.name for one in request.inputs] == ["a", "b"]
    error = await refusal(asyncio.to_thread(infer, at, "two", request))
    assert error.code == 400, error  # its columns are [2, 1] in FP64; the model says what it wants
    assert b"the model expects" in error.read()


async def bytes_go_as_base64_and_come_back_so(at: Address) -> None:
    octets = [b"\xff\x00", b"abc"]
    request = InferenceRequest(inputs=[Base64Codec.encode_input("x", octets, use_bytes=False)])
    answer = infer(at, "same_BYTES", request)
    assert Base64Codec.decode_output(answer.outputs[0]) == octets
    raw = InferenceRequest(inputs=[StringCodec.encode_input("x", ["é", "b"], use_bytes=True)])
    assert StringCodec.decode_output(infer(at, "same_BYTES", raw).outputs[0]) == ["é", "b"]


async def its_batch_program_asks_for_a_file_of_requests(at: Address) -> None:
    request = InferenceRequest(inputs=[NumpyCodec.encode_input("x", ROWS)])
    program = Path(sys.executable).parent / "mlserver"
    with tempfile.TemporaryDirectory() as directory:
        given, found = Path(directory) / "in", Path(directory) / "out"
        given.write_text(3 * (request.model_dump_json(exclude_none=True) + "\n"))
        address = at.http.removeprefix("http://")
        words = ["infer", "-u", address, "-m", "row", "-i", str(given), "-o", str(found), "--batch-size", "2"]
        asked = await asyncio.create_subprocess_exec(program, *words, stdout=sys.stderr)
        assert await asyncio.wait_for(asked.wait(), 50) == 0
        answers = [InferenceResponse.model_validate_json(line) for line in found.read_text().splitlines()]
    assert len(answers) == 3
    assert all(np.array_equal(NumpyCodec.decode_output(one.outputs[0]), ROWS) for one in answers)


async def metadata_and_the_index_are_what_its_types_say(at: Address) -> None:
    server = MetadataServerResponse.model_validate_json(ask(at, "/v2"))
    assert server.name == "serin"
    model = MetadataModelResponse.model_validate_json(ask(at, "/v2/models/row"))
    assert [one.name for one in model.inputs or ()] == ["x"]
    index = RepositoryIndexResponse.model_validate_json(ask(at, "/v2/repository/index", "{}"))
    assert {str(getattr(one.state, "value", one.state)) for one in index.root} <= {
        "READY",
        "UNAVAILABLE",
        "LOADING",
        "UNLOADING",
        "UNKNOWN",
    }


if __name__ == "__main__":
    main(
        numpy_goes_there_and_back,
        its_content_types_do_no_harm,
        strings_go_there_and_back,
        bytes_go_as_base64_and_come_back_so,
        a_data_frame_is_one_input_a_column,
        its_batch_program_asks_for_a_file_of_requests,
        metadata_and_the_index_are_what_its_types_say,
    )
