"""The largest numbers of a row as text."""

import numpy as np
import pytest
from ml_dtypes import bfloat16

from service.protocol.classification import classified


def test_each_row_gives_its_largest_with_their_labels() -> None:
    rows = np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25]], np.float32)
    found = classified(rows, 2, True, ("cat", "dog"))
    assert found.tolist() == [[b"0.700000:1:dog", b"0.200000:2"], [b"0.500000:0:cat", b"0.250000:1:dog"]]


def test_without_rows_the_whole_tensor_is_one() -> None:
    found = classified(np.array([[1, 5], [7, 2]], np.int64), 3, False, ())
    assert found.tolist() == [b"7:2", b"5:1", b"2:3"]


def test_no_more_classes_are_given_than_there_are() -> None:
    assert classified(np.float32([[1, 2]]), 9, True, ()).shape == (1, 2)


def test_a_scalar_a_row_of_none_and_no_rows_have_a_shape_too() -> None:
    assert classified(np.float32(2), 1, True, ()).tolist() == [b"2.000000:0"]
    assert classified(np.empty((2, 0), np.float32), 1, True, ()).shape == (2, 0)
    assert classified(np.empty((0, 3), np.float32), 2, True, ()).shape == (0, 2)


@pytest.mark.parametrize("dtype", [np.uint64, np.int8, np.float16, np.float64, bfloat16, np.bool_])
def test_every_kind_of_number_has_an_order(dtype: type) -> None:
    found = classified(np.array([[0, 1, 0]]).astype(dtype), 1, True, ())
    assert found[0, 0].endswith(b":1")


def test_the_largest_whole_numbers_are_told_apart() -> None:
    assert classified(np.array([[2**64 - 2, 2**64 - 1]], np.uint64), 1, True, ()).tolist() == [
        [b"18446744073709551615:1"]
    ]


def test_a_row_of_several_dimensions_is_flat() -> None:
    assert classified(np.arange(8, dtype=np.int32).reshape(2, 2, 2), 1, True, ()).tolist() == [[b"3:3"], [b"7:3"]]
