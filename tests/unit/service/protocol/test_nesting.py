"""Tensors without shapes: what nested JSON says, and what it must not say."""

import math

import numpy as np
import pytest

from service.protocol.errors import BadRequest
from service.protocol.limits import Limits
from service.protocol.nesting import shape_of, tensor
from service.protocol.tensors import TensorSpec

LIMITS = Limits()


def spec(datatype: str, shape: tuple[int, ...] | None = None) -> TensorSpec:
    return TensorSpec("x", datatype, shape)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        (b"5", ()),
        (b"[]", (0,)),
        (b"[ 1 , 2 ]", (2,)),
        (b"[[1,2,3],[4,5,6]]", (2, 3)),
        (b"[[],[]]", (2, 0)),
        (b"[[[1],[2]],[[3],[4]],[[5],[6]]]", (3, 2, 1)),
        (b"[[[1,2]]]", (1, 1, 2)),
    ],
)
def test_nesting_tells_the_shape(text, shape):
    assert shape_of(text) == shape


@pytest.mark.parametrize(
    "text",
    [b"[[1,2],[3]]", b"[[1],2]", b"[1,[2]]", b"[[1,2]", b"[[],[1]]", b'["1"]', b"[1,]", b"[null]", b"[[[1]],[2]]"],
)
def test_what_is_uneven_or_no_number_is_refused(text):
    with pytest.raises(BadRequest, match="'x'"):
        tensor(spec("INT64"), text, LIMITS)


def test_integers_above_2_to_the_53_are_exact():
    found = tensor(spec("UINT64", (-1,)), b"[18446744073709551615,9007199254740993]", LIMITS)

    assert found.tolist() == [2**64 - 1, 2**53 + 1]


def test_null_is_nan_for_floats_and_words_are_what_they_say():
    found = tensor(spec("FP32", (-1,)), b'[null,"NaN",Infinity,-Infinity,1.5]', LIMITS)

    assert [str(value) for value in found.tolist()] == ["nan", "nan", "inf", "-inf", "1.5"]


def test_a_list_of_values_fits_an_input_of_one_column():
    assert tensor(spec("FP32", (-1, 1)), b"[1,2,3]", LIMITS).shape == (3, 1)


def test_an_empty_list_has_the_rest_of_the_shape():
    assert tensor(spec("FP32", (-1, 64)), b"[]", LIMITS).shape == (0, 64)


def test_a_scalar_stays_a_scalar():
    assert tensor(spec("FP32", ()), b"2.5", LIMITS).shape == ()


def test_a_shape_that_the_model_does_not_take_is_named():
    with pytest.raises(BadRequest, match=r"\[1, 2\], the model expects \[-1, 64\]"):
        tensor(spec("FP32", (-1, 64)), b"[[1,2]]", LIMITS)


def test_strings_and_base64_are_bytes():
    found = tensor(spec("BYTES", (-1, 2)), '[["é",{"b64":"/w=="}],["[","]"]]'.encode(), LIMITS)

    assert found.tolist() == [["é".encode(), b"\xff"], [b"[", b"]"]]


@pytest.mark.parametrize("text", [b"[1]", b'[["a"],"b"]', b'[["a"],["b","c"]]', b'[{"b64":"!"}]', b'[{"c":"a"}]'])
def test_what_is_no_bytes_is_refused(text):
    with pytest.raises(BadRequest, match="'x'"):
        tensor(spec("BYTES"), text, LIMITS)


def test_shapes_agree_with_numpy_for_any_nesting():
    rng = np.random.default_rng(7)
    for _ in range(50):
        array = rng.integers(-9, 9, size=rng.integers(1, 4, size=rng.integers(0, 5)))
        text = str(array.tolist()).encode()

        found = tensor(spec("INT64"), text, LIMITS)

        assert found.shape == array.shape
        assert (found == array).all()


def test_more_elements_than_allowed_are_refused():
    with pytest.raises(BadRequest, match="more than 3 elements"):
        tensor(spec("FP32"), b"[1,2,3,4]", Limits(max_elements=3))
    assert math.prod(shape_of(b"[1,2,3,4]")) == 4
