"""V1 and TensorFlow Serving bodies: rows, columns, names, and their answers."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from router.errors import InvalidArgument
from service.protocol.errors import BadRequest, NonFiniteOutput
from service.protocol.limits import Limits
from service.protocol.messages import InferResponse, OutputTensor
from service.protocol.rows_codec import Spoken, read_v1
from service.protocol.tensors import DATATYPES, Signature, TensorSpec

ONE = Signature((TensorSpec("x", "FP32", (-1, 2)),), ())
TWO = Signature((TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "INT64", (-1,))), ())


def read(text: str) -> Spoken:
    return read_v1(text.encode(), Limits())


def feeds(text: str, signature: Signature) -> dict[str, object]:
    form = read(text).request.form
    assert form is not None
    return {name: array.tolist() for name, array in form.feeds(signature).items()}


def answer(text: str, outputs: Sequence[OutputTensor], policy: str = "null") -> bytes:
    spoken = read(text)
    return spoken.write(InferResponse("m", "1", outputs), spoken.request, policy).body


ROWS, COLUMNS = '{"instances":[[1,2]]}', '{"inputs":[[1,2]]}'
LABEL = OutputTensor("label", "INT64", np.array([3, 4], np.longlong))  # as the runtime gives them
SHARES = OutputTensor("shares", "FP32", np.array([[0.5, np.nan], [np.inf, 0.25]], np.float32))


@pytest.mark.parametrize(
    ("text", "signature", "expected"),
    [
        ('{"instances":[[1,2],[3,4]]}', ONE, {"x": [[1, 2], [3, 4]]}),
        ('{"instances":[{"x":[1,2]},{"x":[3,4]}]}', ONE, {"x": [[1, 2], [3, 4]]}),
        ('{"instances":[{"a":[1,2],"b":5},{"b":6,"a":[3,4]}]}', TWO, {"a": [[1, 2], [3, 4]], "b": [5, 6]}),
        ('{"inputs":[[1,2]],"signature_name":"serving_default"}', ONE, {"x": [[1, 2]]}),
        ('{"inputs":{"x":[[1,2]]}}', ONE, {"x": [[1, 2]]}),
        ('{"inputs":{"a":[[1,2]],"b":[5]}}', TWO, {"a": [[1, 2]], "b": [5]}),
    ],
)
def test_rows_and_columns_with_and_without_names(text, signature, expected):
    assert feeds(text, signature) == expected


def test_bare_words_and_base64_are_taken():
    assert str(feeds('{"instances":[[NaN,-Infinity]]}', ONE)["x"]) == "[[nan, -inf]]"
    octets = Signature((TensorSpec("s_bytes", "BYTES", (-1,)),), ())
    assert feeds('{"instances":[{"b64":"AP8="}]}', octets) == {"s_bytes": [b"\x00\xff"]}
    assert feeds('{"instances":[{"s_bytes":{"b64":"AP8="}}]}', octets) == {"s_bytes": [b"\x00\xff"]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "either `instances`"),
        ('{"instances":[],"inputs":[]}', "either `instances`"),
        ("[1]", "body"),
        ("{", "not valid JSON"),
        ('{"instances":5}', "must be a list"),
        ('{"instances":[{"a":1},{"b":1}]}', "same inputs as the first"),
        ('{"instances":[{"a":1},2]}', "must be objects"),
        ('{"inputs":[1],"signature_name":"other"}', "Serving signature name: 'other'"),
    ],
)
def test_a_body_that_is_neither_is_refused_with_the_reason(text, reason):
    with pytest.raises(BadRequest, match=reason):
        read(text)


def test_names_that_the_model_does_not_have_are_told():
    with pytest.raises(BadRequest, match="no input 'y'; it has 'x'"):
        feeds('{"instances":[{"y":[1,2]}]}', ONE)
    with pytest.raises(BadRequest, match="missing: input 'b'"):
        feeds('{"inputs":{"a":[[1,2]]}}', TWO)
    with pytest.raises(BadRequest, match="2 inputs"):
        feeds('{"instances":[[1,2]]}', TWO)


def test_one_output_is_not_named_and_several_are():
    assert json.loads(answer(ROWS, [LABEL])) == {"predictions": [3, 4]}
    assert json.loads(answer(COLUMNS, [LABEL])) == {"outputs": [3, 4]}
    both = OutputTensor("other", "BOOL", np.array([[True], [False]]))
    assert json.loads(answer(ROWS, [LABEL, both])) == {
        "predictions": [{"label": 3, "other": [True]}, {"label": 4, "other": [False]}]
    }
    assert json.loads(answer(COLUMNS, [LABEL, both])) == {"outputs": {"label": [3, 4], "other": [[True], [False]]}}


def test_what_is_not_finite_is_a_bare_word_unless_the_model_says_otherwise():
    assert answer(ROWS, [SHARES]) == b'{"predictions":[[0.5,NaN],[Infinity,0.25]]}'
    assert answer(ROWS, [LABEL, SHARES]).startswith(b'{"predictions":[{"label":3,"shares":[0.5,NaN]},{"label":4,')
    assert answer(COLUMNS, [SHARES], "string") == b'{"outputs":[[0.5,"NaN"],["Infinity",0.25]]}'
    with pytest.raises(NonFiniteOutput, match="'shares'"):
        answer(ROWS, [SHARES], "error")


def test_bytes_that_are_no_text_or_are_called_so_are_base64():
    words = OutputTensor("words", "BYTES", np.array([b"null", b"\xff"], object))
    named = OutputTensor("raw_bytes", "BYTES", np.array(["a", "b"], object))
    assert json.loads(answer(ROWS, [words])) == {"predictions": ["null", {"b64": "/w=="}]}
    assert json.loads(answer(ROWS, [named])) == {"predictions": [{"b64": "YQ=="}, {"b64": "Yg=="}]}


def test_outputs_without_a_row_for_each_instance_are_for_columns():
    scalar = OutputTensor("sum", "FP32", np.array(2.5, np.float32))
    with pytest.raises(InvalidArgument, match="send `inputs`"):
        answer(ROWS, [LABEL, scalar])
    assert json.loads(answer(COLUMNS, [LABEL, scalar])) == {"outputs": {"label": [3, 4], "sum": 2.5}}


@pytest.mark.parametrize("dtype", ["FP16", "FP32", "FP64", "BF16", "INT8", "UINT64", "BOOL"])
def test_every_datatype_is_written_in_rows_and_columns(dtype):
    output = OutputTensor("y", dtype, np.array([[1], [0]]).astype(DATATYPES[dtype].dtype))
    named = OutputTensor("z", dtype, output.array)
    assert json.loads(answer(ROWS, [output])) == {"predictions": [[1], [0]]}
    assert json.loads(answer(ROWS, [output, named])) == {"predictions": [{"y": [1], "z": [1]}, {"y": [0], "z": [0]}]}
    flat = OutputTensor("y", dtype, output.array.reshape(2))
    assert json.loads(answer(ROWS, [flat, named])) == {"predictions": [{"y": 1, "z": [1]}, {"y": 0, "z": [0]}]}


def test_more_values_than_a_parser_should_make_objects_of_are_refused():
    with pytest.raises(BadRequest, match="send whole tensors"):
        read_v1(b'{"instances":[{"a":1,"b":2,"c":3}]}', Limits(max_strings=2))
