"""MLflow's tables: which column goes where, and what is refused."""

import numpy as np
import pytest

from service.protocol.errors import BadRequest
from service.protocol.limits import Limits
from service.protocol.messages import InferResponse, OutputTensor
from service.protocol.table_codec import Places, Spoken, read_csv, read_invocation
from service.protocol.tensors import Signature, TensorSpec

ONE = Signature((TensorSpec("x", "FP32", (-1, 2)),), ())
NAMED = Signature((TensorSpec("age", "FP32", (-1, 1)), TensorSpec("town", "BYTES", (-1,))), ())
NOWHERE: Places = {}
PLACES: Places = {"x": {"age": 0, "bmi": 1}}


def json_form(text: str, places: Places = NOWHERE) -> Spoken:
    return read_invocation(text.encode(), Limits(), places)


def csv_form(text: str, places: Places = NOWHERE) -> Spoken:
    return read_csv(text.encode(), Limits(), places)


def fed(spoken: Spoken, signature: Signature = ONE) -> dict[str, object]:
    assert spoken.request.form is not None
    return {name: array.tolist() for name, array in spoken.request.form.feeds(signature).items()}


ROWS = {"x": [[1, 2], [3, 4]]}


@pytest.mark.parametrize(
    "text",
    [
        '{"dataframe_split":{"columns":["age","bmi"],"index":[0,1],"data":[[1,2],[3,4]]}}',
        '{"dataframe_split":{"columns":[0,1],"data":[[1,2],[3,4]]}}',
        '{"dataframe_split":{"data":[[1,2],[3,4]]}}',
        '{"dataframe_records":[{"age":1,"bmi":2},{"bmi":4,"age":3}]}',
        '{"dataframe_records":[{"0":1,"1":2},{"0":3,"1":4}]}',
        '{"instances":[[1,2],[3,4]]}',
        '{"inputs":[[1,2],[3,4]]}',
        '{"inputs":{"x":[[1,2],[3,4]]},"params":{}}',
    ],
)
def test_each_json_form_says_the_same(text):
    assert fed(json_form(text)) == ROWS


@pytest.mark.parametrize(
    "text", ["age,bmi\n1,2\n3,4\n", "1,2\n3,4", "0,1\r\n1,2\r\n3,4\r\n", '"age","bmi"\n1,2\n"3",4']
)
def test_csv_with_and_without_a_line_of_names(text):
    assert fed(csv_form(text)) == ROWS


def test_columns_that_are_inputs_go_there_by_name():
    expected = {"town": [b"Bern", b"007"], "age": [[31.5], [40]]}
    assert fed(csv_form("town,age\nBern,31.5\n007,40\n"), NAMED) == expected
    text = '{"dataframe_split":{"columns":["town","age"],"data":[["Bern",31.5],["007",40]]}}'
    assert fed(json_form(text), NAMED) == expected


def test_names_that_model_toml_knows_are_put_in_their_place():
    assert fed(csv_form("bmi,age\n2,1\n4,3\n", PLACES)) == ROWS


def test_a_known_column_in_a_wrong_place_is_refused_where_others_are_not_known():
    with pytest.raises(BadRequest, match=r"'age' stands at 1, and model.toml has it at 0 of input 'x'"):
        fed(csv_form("height,age\n2,1\n", PLACES))


def test_what_is_missing_is_nan_for_floats_and_refused_for_whole_numbers():
    assert str(fed(csv_form("a,b\n1,\nnan,inf\n"))["x"]) == "[[1.0, nan], [nan, inf]]"
    assert str(fed(json_form('{"dataframe_records":[{"a":1},{"a":2,"b":null}]}'))["x"]) == "[[1.0, nan], [2.0, nan]]"
    with pytest.raises(BadRequest, match="whole numbers"):
        fed(csv_form("a,b\n1,\n"), Signature((TensorSpec("x", "INT64", (-1, 2)),), ()))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "exactly one of"),
        ('{"instances":[[1]],"inputs":[[1]]}', "this one has 2"),
        ('{"columns":["a"],"data":[[1]]}', "exactly one of"),
        ('{"dataframe_split":[1]}', "dataframe_split: must be an object"),
        ('{"dataframe_split":{"data":[1]}}', "dataframe_split: must be an object"),
        ('{"dataframe_records":[1]}', "must be objects"),
        ('{"inputs":[1],"params":{"a":[1]}}', "params: 'a'"),
        ("nonsense", "not valid JSON"),
    ],
)
def test_other_json_is_refused_with_the_reason(text, reason):
    with pytest.raises(BadRequest, match=reason):
        json_form(text)


@pytest.mark.parametrize(("text", "reason"), [("", "no line"), ('a,b\n"1,2', "not valid CSV")])
def test_other_csv_is_refused_with_the_reason(text, reason):
    with pytest.raises(BadRequest, match=reason):
        csv_form(text)


def test_rows_of_another_width_and_cells_that_are_no_numbers_are_named():
    with pytest.raises(BadRequest, match="row 1 has 1 values, and there are 2 columns"):
        fed(csv_form("a,b\n1,2\n3\n"))
    with pytest.raises(BadRequest, match="'Bern' is no number"):
        fed(csv_form("a,b\n1,Bern\n"))
    with pytest.raises(BadRequest, match="must be the inputs of the model: 'age', 'town'"):
        fed(csv_form("a,b\n1,2\n"), NAMED)


def test_params_are_the_parameters_of_the_request():
    assert json_form('{"inputs":[[1,2]],"params":{"routing_key":"u1","none":null}}').request.parameters == {
        "routing_key": "u1"
    }


def test_predictions_follow_the_model_where_they_are_not_finite():
    output = OutputTensor("y", "FP32", np.array([np.nan, 1.0], np.float32))
    spoken = csv_form("1,2")
    assert spoken.write(InferResponse("m", "1", [output]), spoken.request, "null").body == b'{"predictions":[null,1.0]}'
    assert spoken.write(InferResponse("m", "1", [output]), spoken.request, "token").body == b'{"predictions":[NaN,1.0]}'


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (read_csv, b"1,2,3,4\n"),
        (read_csv, b"1\n2\n3\n4\n"),
        (read_invocation, b'{"dataframe_split":{"data":[[1,2,3,4]]}}'),
        (read_invocation, b'{"dataframe_records":[{"a":1,"b":2,"c":3}]}'),
        (read_invocation, b'{"dataframe_records":[{"a":1},{"b":2}]}'),
    ],
)
def test_tables_of_too_many_cells_are_refused(read, text):
    with pytest.raises(BadRequest, match=r"send whole tensors|too many objects"):
        read(text, Limits(max_strings=2), NOWHERE)
