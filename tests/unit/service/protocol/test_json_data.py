"""The data of JSON tensors: what each datatype takes, what it refuses, short and long."""

import json
import math
import random
from typing import Any

import msgspec
import numpy as np
import pytest

from service.protocol import json_data
from service.protocol.errors import BadRequest
from service.protocol.json_data import number_array, parse, rows_array
from service.protocol.messages import InputTensor
from service.protocol.tensors import DATATYPES, Array

INF = math.inf


def array(datatype: str, data: str, shape: tuple[int, ...] | None = None, base64: bool = False) -> Array:
    """`data`: JSON text, a list of one dimension unless a shape is given."""
    shape = (data.count(",") + 1,) if shape is None else shape
    raw = msgspec.Raw(data.encode())
    return parse(InputTensor("x", datatype, shape, math.prod(shape), raw, base64), raw)


@pytest.fixture(params=["short", "in pieces"], autouse=True)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here holds on both paths: the direct one, and the one for long data, cut after each few bytes."""
    if request.param == "in pieces":
        monkeypatch.setattr(json_data, "SHORT_BYTES", 0)
        monkeypatch.setattr(json_data, "PIECE_BYTES", 3)


@pytest.mark.parametrize(
    ("datatype", "data", "values"),
    [
        ("BOOL", "[true, false]", [True, False]),
        ("INT8", "[-128,127]", [-128, 127]),
        ("UINT8", "[ 0, 255 ]", [0, 255]),
        ("INT64", "[-9223372036854775808,9223372036854775807]", [-(2**63), 2**63 - 1]),
        ("UINT64", "[0,18446744073709551615]", [0, 2**64 - 1]),
        ("INT32", "[-0]", [0]),
        ("FP32", "[1,2.5,-1e-3]", [1, 2.5, np.float32(-0.001)]),
        ("FP16", "[65519.99]", [65504]),
        ("BF16", "[1.0,3]", [1, 3]),
        ("FP64", "[1e308,5e-324]", [1e308, 5e-324]),
        ("FP32", "[3.4028235677973362e38]", [np.finfo(np.float32).max]),
        ("FP32", "[123456789012345678901234567890]", [np.float32(123456789012345678901234567890)]),
        ("BYTES", '["a","","é","\\u0000"]', [b"a", b"", "é".encode(), b"\0"]),
        ("BYTES", '["]","[["]', [b"]", b"[["]),
        ("BYTES", '["a\\",\\\\"]', None),
    ],
)
def test_a_datatype_takes_its_values(datatype: str, data: str, values: list[Any] | None) -> None:
    if values is None:
        values = [value.encode() for value in json.loads(data)]
    assert array(datatype, data, (len(values),)).tolist() == values


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP32", "FP64"])
def test_nan_and_infinities_are_taken_bare_and_as_strings(datatype: str) -> None:
    found = array(datatype, '[ 1,NaN,"NaN", Infinity ,"Infinity",-Infinity,"-Infinity"]').tolist()
    assert [str(float(value)) for value in found] == ["1.0", "nan", "nan", "inf", "inf", "-inf", "-inf"]


@pytest.mark.parametrize(
    ("datatype", "data", "reason"),
    [
        ("BOOL", "[1]", "true or false"),
        ("BOOL", '["true"]', "true or false"),
        ("INT8", "[128]", "out of the range of INT8"),
        ("INT8", "[-129]", "out of the range of INT8"),
        ("UINT8", "[-1]", "out of the range of UINT8"),
        ("UINT32", "[4294967296]", "out of the range of UINT32"),
        ("UINT64", "[18446744073709551616]", "out of the range of UINT64"),
        ("INT64", "[9223372036854775808]", "out of the range of INT64"),
        ("INT64", "[1" + "0" * 5000 + "]", "INT64"),
        ("INT32", "[1.0]", "whole numbers"),
        ("INT32", "[1.5]", "whole numbers"),
        ("INT32", "[1e3]", "whole numbers"),
        ("INT32", "[true]", "whole numbers"),
        ("INT32", '["1"]', "whole numbers"),
        ("INT32", "[null]", "whole numbers"),
        ("INT32", '["NaN"]', "whole numbers"),
        ("INT32", "[NaN]", "whole numbers"),
        ("FP32", "[true]", "numbers"),
        ("FP32", '["1.5"]', "numbers"),
        ("FP32", '["nan"]', "numbers"),
        ("FP32", '["inf"]', "numbers"),
        ("FP32", "[null]", "numbers"),
        ("FP32", "[{}]", "numbers"),
        ("FP32", "[1e39]", "out of the range of FP32"),
        ("FP32", "[-1e39,NaN]", "out of the range of FP32"),
        ("FP32", "[3.4028235677973367e38]", "out of the range of FP32"),
        ("FP16", "[65520]", "out of the range of FP16"),
        ("BF16", "[3.4e38]", "out of the range of BF16"),
        ("FP64", "[1e400]", "FP64"),
        ("FP64", "[1" + "0" * 400 + "]", "FP64"),
        ("BYTES", "[1]", "strings"),
        ("BYTES", "[null]", "strings"),
        ("BYTES", "[{}]", "strings"),
        ("BYTES", '["\\ud800"]', "strings"),
    ],
)
def test_other_values_are_refused(datatype: str, data: str, reason: str) -> None:
    with pytest.raises(BadRequest, match=f"input 'x': .*{reason}") as caught:
        array(datatype, data)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("text", [b'["\xff"]', b'["\xed\xa0\x80"]'])
def test_strings_that_are_not_utf8_are_refused(text: bytes) -> None:
    with pytest.raises(BadRequest, match="input 'x': BYTES"):
        parse(InputTensor("x", "BYTES", (1,), 1, msgspec.Raw(text)), msgspec.Raw(text))


@pytest.mark.parametrize(("datatype", "value"), [("FP32", "1.5"), ("INT8", "1"), ("BOOL", "true"), ("BYTES", '"a"')])
class TestShape:
    """What is the same for every datatype."""

    @pytest.mark.parametrize(
        ("nesting", "shape"),
        [
            ("[v,v,v,v,v,v]", (2, 3)),
            ("[[v,v,v],[v,v,v]]", (2, 3)),
            ("[ [ v , v , v ] , [ v , v , v ] ]", (2, 3)),
            ("[[[v]]]", (1, 1, 1)),
            ("[v]", ()),
            ("v", ()),
            ("[]", (0,)),
            ("[]", (0, 4)),
            ("[]", (2, 0)),
            ("[[],[]]", (2, 0)),
            ("[[[],[]]]", (1, 2, 0)),
            ("[[]]", (1, 0, 9)),
        ],
    )
    def test_flat_and_nested_data_are_taken(
        self, datatype: str, value: str, nesting: str, shape: tuple[int, ...]
    ) -> None:
        found = array(datatype, nesting.replace("v", value), shape)
        assert found.shape == shape
        assert set(found.reshape(-1).tolist()) <= {1.5, 1, b"a"}

    @pytest.mark.parametrize(
        ("nesting", "shape"),
        [
            ("[v,v]", (3,)),
            ("[v,v,v,v]", (3,)),
            ("[]", (3,)),
            ("[v]", (0,)),
            ("[v,v]", (0, 2)),
            ("[[v,v]]", (2,)),
            ("[[v,v],[v]]", (2, 2)),
            ("[[v,v,v],[v]]", (2, 2)),
            ("[[v],[v]]", (1, 2)),
            ("[[v,v]]", (2, 1)),
            ("[[v,v],v,v]", (2, 2)),
            ("[v,[v]]", (2,)),
            ("[v,[v]]", (2, 1)),
            ("[[],[]]", (3, 0)),
            ("[[[]]]", (1, 0)),
            ("[[],[v]]", (2, 0)),
            ("[[v]]", ()),
            ("v", (1,)),
            ("{}", ()),
            ("{}", (1,)),
            ("null", ()),
            ("null", (1,)),
        ],
    )
    def test_other_counts_and_nestings_are_refused(
        self, datatype: str, value: str, nesting: str, shape: tuple[int, ...]
    ) -> None:
        with pytest.raises(BadRequest, match="input 'x'"):
            array(datatype, nesting.replace("v", value), shape)


def test_the_number_of_elements_is_told() -> None:
    with pytest.raises(BadRequest, match=r"data has .* elements, the shape \[2, 2\] needs 4"):
        array("FP32", "[1,2,3]", (2, 2))


def test_a_number_does_not_reach_over_a_bracket() -> None:
    with pytest.raises(BadRequest):
        array("INT32", "[1[2,3],[4,5]]", (2, 2))


def test_base64_is_taken_where_the_tensor_says_so() -> None:
    assert array("BYTES", '["AP8=",""]', (2,), base64=True).tolist() == [b"\0\xff", b""]
    assert array("BYTES", '[["AP8="]]', (1, 1), base64=True).tolist() == [[b"\0\xff"]]


@pytest.mark.parametrize("value", ["a", "AP8", "A P8=", "é", "AP8=\\n"])
def test_broken_base64_is_refused(value: str) -> None:
    with pytest.raises(BadRequest, match="input 'x': an element is not base64"):
        array("BYTES", f'["{value}"]', (1,), base64=True)


def test_a_shape_that_claims_more_than_the_text_can_hold_takes_no_memory() -> None:
    with pytest.raises(BadRequest, match="data has"):
        array("FP64", "[1,[2]]", (2**26,))


def test_long_data_is_exact() -> None:
    values = np.random.default_rng(1).standard_normal((300, 70))
    text = json.dumps(values.tolist())
    assert np.array_equal(array("FP64", text, (300, 70)), values)
    assert np.array_equal(array("FP32", text, (300, 70)), values.astype(np.float32))


def test_more_strings_than_the_shape_says_are_refused() -> None:
    for shape in ((), (0,), (5,), (3, 0)):
        with pytest.raises(BadRequest):
            array("BYTES", json.dumps(["a,b"] * 30_000), shape)


def a_long_list(rng: random.Random) -> str:
    """Some numbers in all their spellings; now and then one that is none, or that fits no datatype."""
    plain = [
        "0",
        "-0",
        "-0.0",
        "1",
        "-7",
        "0.1",
        "1e-45",
        "3.4028235e38",
        "65504",
        "1E5",
        "-2.5e-3",
        "255",
        "2147483647",
    ]
    odd = ["3.5e38", "1e999", "18446744073709551615", "18446744073709551616", "9007199254740993", "1e-400"]
    wrong = ["NaN", "-Infinity", "null", "true", '"1"', "01", "1.", "[1]", "", "{}"]
    words = rng.choices(plain, k=rng.randint(1, 12))
    for strange, share in ((odd, 0.3), (wrong, 0.2)):
        if rng.random() < share:
            words[rng.randrange(len(words))] = rng.choice(strange)
    return "[" + rng.choice([",", ", ", " ,\n"]).join(words) + rng.choice(["]", " ]"])


def outcome(datatype: str, text: str) -> object:
    tensor = InputTensor("x", datatype, (text.count(",") + 1,), text.count(",") + 1, msgspec.Raw(text.encode()))
    try:
        array = json_data.parse(tensor, msgspec.Raw(text.encode()))
    except BadRequest as error:
        return error.message
    return array.dtype, array.tobytes()


def test_numbers_in_long_lists_are_the_same_without_the_quick_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_data, "SHORT_BYTES", 0)
    rng = random.Random(1)
    datatypes = [name for name in DATATYPES if name != "BYTES"]
    asked = [(rng.choice(datatypes), a_long_list(rng)) for _ in range(4000)]
    quick = [outcome(*one) for one in asked]
    monkeypatch.setattr(json_data, "_quickly", lambda parser, datatype, piece: None)
    assert quick == [outcome(*one) for one in asked]


@pytest.mark.parametrize("name", ["FP16", "BF16", "FP32", "FP64"])
@pytest.mark.parametrize("count", [1, 2, 40])
def test_rows_that_run_together_are_the_numbers_that_each_is_alone(name: str, count: int) -> None:
    rng = random.Random(count)
    rows = [[rng.uniform(-60_000, 60_000) for _ in range(7)] for _ in range(count)]
    together = rows_array(DATATYPES[name], rows)
    alone = np.stack([number_array(DATATYPES[name], row) for row in rows])
    assert (together.dtype, together.shape) == (alone.dtype, (count, 7))
    assert together.tobytes() == alone.tobytes()


@pytest.mark.parametrize("number", [65520.0, -1e39, 1e300])
def test_a_number_that_the_datatype_cannot_hold_is_found_among_rows(number: float) -> None:
    with pytest.raises(OverflowError):
        rows_array(DATATYPES["FP16"], [[1.0, 2.0], [3.0, number]])


@pytest.mark.parametrize("sign", [1, -1])
def test_among_rows_a_single_is_refused_from_where_it_would_become_an_infinity(sign: int) -> None:
    first = sign * float(2**128 - 2**103)
    rows = rows_array(DATATYPES["FP32"], [[1.0], [math.nextafter(first, 0.0)]])
    assert rows.tolist() == [[1.0], [sign * float(np.finfo(np.float32).max)]]
    with pytest.raises(OverflowError):
        rows_array(DATATYPES["FP32"], [[1.0], [first]])
