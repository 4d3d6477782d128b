"""The table of datatypes and what fits a declared shape."""

import pytest

from service.protocol.tensors import DATATYPES, Signature, TensorSpec


def test_every_v2_datatype_has_its_size() -> None:
    assert {name: datatype.size for name, datatype in DATATYPES.items()} == {
        "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8,
        "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8, "BYTES": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("declared", "given", "fits"),
    [
        ((2, 3), (2, 3), True),
        ((-1, 3), (0, 3), True),
        ((-1, 3), (7, 3), True),
        ((-1, 3), (7, 4), False),
        ((-1, 3), (3,), False),
        ((), (), True),
        ((), (1,), False),
        (None, (4, 5, 6), True),
        (None, (), True),
    ],
)
def test_a_free_dimension_takes_any_size_and_the_rest_must_match(
    declared: tuple[int, ...] | None, given: tuple[int, ...], fits: bool
) -> None:
    assert TensorSpec("x", "FP32", declared).takes(given) is fits


def test_a_signature_knows_its_names() -> None:
    x, y = TensorSpec("x", "FP32", (1,)), TensorSpec("y", "INT64", ())
    signature = Signature((x,), (y,))
    assert signature.inputs_by_name == {"x": x}
    assert signature.output_names == {"y"}
    assert signature == Signature((x,), (y,))
