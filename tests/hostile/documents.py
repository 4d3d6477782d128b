"""Well-framed inference requests whose JSON is hostile: depth, amounts, types, shapes, numbers (B7, B8, B11, B12)."""

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

from tests.hostile.bodies import framed
from tests.hostile.case import INDEX, INFER, MARK, TENSOR, WORDS, Case, posted, sized, tensor, text
from tests.hostile.wire import post

MANY = 1_000_000


def cases() -> Iterator[Case]:
    yield from _deep()
    yield from _many()
    yield from _wrong_types()
    yield from _shapes()
    yield from _numbers()
    yield from _parameters()
    yield from _twice()


def _large(name: str, row: str, body: bytes, path: str = INFER) -> Case:
    return Case(name, row, lambda: (post(path, body),))


DEEP = {
    "arrays": b"[" * 200_000,
    "objects": b'{"a":' * 200_000,
    "both": b'[{"a":' * 100_000,
    "arrays_closed": b"[" * 100_000 + b"]" * 100_000,
    "objects_closed": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a_thousand": b"[" * 1000 + b"]" * 1000,
    "just_too_many": b"[" * 101 + b"]" * 101,
}


def _deep() -> Iterator[Case]:
    for (name, body), (where, path) in product(DEEP.items(), {"infer": INFER, "index": INDEX}.items()):
        yield _large(f"deep-{where}-{name}", "B11", body, path)
    for name, body in DEEP.items():
        yield _large(f"deep-in_data-{name}", "B11", text(inputs=[{**TENSOR, "data": 0}]).replace(b": 0", b": " + body))
        yield _large(f"deep-in_parameters-{name}", "B11", text(parameters=0).replace(b": 0", b": " + body))
        yield _large(f"deep-in_an_unknown_member-{name}", "B11", text(else_=0).replace(b": 0", b": " + body))


def _many() -> Iterator[Case]:
    bodies = {
        "empty_inputs": lambda: b'{"inputs":[' + b"{}," * (MANY - 1) + b"{}]}",
        "empty_outputs": lambda: text(outputs=0).replace(b": 0", b": [" + b"{}," * (MANY - 1) + b"{}]"),
        "null_inputs": lambda: b'{"inputs":[' + b"null," * (MANY - 1) + b"null]}",
        "empty_lists": lambda: b'{"inputs":[' + b"[]," * (MANY - 1) + b"[]]}",
        "parameters": lambda: text(parameters={f"p{number}": 1 for number in range(100_000)}),
        "unknown_members": lambda: text(inputs=[{**TENSOR, **{f"m{number}": {} for number in range(100_000)}}]),
        "outputs": lambda: text(outputs=[{"name": f"y{number}"} for number in range(100_000)]),
        "inputs": lambda: text(inputs=[{**TENSOR, "name": f"x{number}"} for number in range(20_000)]),
        "dimensions": lambda: tensor(shape=[1] * 100_000),
        "data": lambda: tensor(data=[1] * 500_000),
        "data_of_empty_lists": lambda: tensor(data=[[]] * 500_000),
        "a_long_name": lambda: tensor(name=MARK * 200_000),
        "a_long_datatype": lambda: tensor(datatype=MARK * 200_000),
        "a_long_id": lambda: text(id=MARK * 200_000),
        "a_long_output": lambda: text(outputs=[{"name": MARK * 200_000}]),
        "a_long_number": lambda: tensor(data=[]).replace(b"[]", b"[" + b"9" * MANY + b",1]"),
        "a_long_fraction": lambda: tensor(data=[]).replace(b"[]", b"[0." + b"9" * MANY + b"e999999999,1]"),
        "a_long_size": lambda: tensor(shape=[]).replace(b"[]", b"[" + b"9" * MANY + b"]"),
        "spaces": lambda: b" " * (4 * MANY),
    }
    for name, body in bodies.items():

        def content(body=body) -> list[bytes]:
            return [post(INFER, body())]

        yield Case(f"many-{name}", "B7" if "outputs" in name else "B12", content)


WRONG: dict[str, Any] = {
    "null": None,
    "true": True,
    "one": 1,
    "minus_one": -1,
    "fraction": 1.5,
    "huge": 1e308,
    "text": MARK,
    "empty_text": "",
    "list": [],
    "object": {},
    "list_of_null": [None],
    "list_of_lists": [[[]]],
    "list_of_objects": [{}],
}
MEMBERS: dict[str, frozenset[str]] = {
    "inputs": frozenset(),
    "outputs": frozenset({"null", "list"}),
    "id": frozenset({"null", "text", "empty_text"}),
    "parameters": frozenset({"null", "object"}),
}
"""Members of a request, and which of the wrong values are none there."""

OF_TENSORS: dict[str, frozenset[str]] = {
    "name": frozenset(),
    "shape": frozenset(),
    "datatype": frozenset(),
    "data": frozenset(),
    "parameters": frozenset({"null", "object"}),
}


def _wrong_types() -> Iterator[Case]:
    for (member, fine), (kind, value) in product(MEMBERS.items(), WRONG.items()):
        if kind not in fine:
            yield posted(f"type-{member}-{kind}", "B12", text(**{member: value}))
    for (member, fine), (kind, value) in product(OF_TENSORS.items(), WRONG.items()):
        if kind not in fine:
            yield posted(f"type-input_{member}-{kind}", "B12", tensor(**{member: value}))
    for kind, value in WRONG.items():
        yield posted(f"type-whole-{kind}", "B12", json.dumps(value).encode())
        yield posted(f"type-output_name-{kind}", "B12", text(outputs=[{"name": value}]))
        yield posted(f"type-number-{kind}", "B12", tensor(data=[value, value]) if kind not in NUMBERS else b"")
        yield posted(f"type-binary_data_size-{kind}", "B12", sized(value))


NUMBERS = ("one", "minus_one", "fraction")


SHAPES: dict[str, list[Any]] = {
    "2_31": [2**31],
    "2_62": [2**62],
    "2_62_and_1": [2**62 + 1],
    "2_63": [2**63],
    "2_64": [2**64],
    "2_64_and_2": [2**64 + 2],
    "nothing_times_2_62": [0, 2**62],
    "2_62_times_nothing": [2**62, 0],
    "wraps_to_32": [2**4, 2**60 + 2],
    "wraps_to_8": [2**2, 2**60 + 2],
    "wraps_to_nothing": [2**32, 2**32],
    "2_31_twice": [2**31, 2**31],
    "minus_one": [-1],
    "minus_one_and_minus_two": [-1, -2],
    "least_of_64_bits": [-(2**63)],
    "beyond_any": [10**400],
    "many_dimensions": [1] * 1000,
    "a_fraction": [1.5, 2],
    "an_exponent": [1e300],
    "text": ["1", 2],
    "null": [None, 2],
    "true": [True, 2],
    "nested": [[1], 2],
}


def _shapes() -> Iterator[Case]:
    for (name, shape), datatype in product(SHAPES.items(), ("FP32", "BYTES", "BOOL")):
        described: dict[str, Any] = {"shape": shape, "datatype": datatype}
        path = WORDS if datatype == "BYTES" else INFER
        yield posted(f"shape-{datatype}-{name}", "B8", tensor(**described, data=[]), path=path)
        yield framed(f"shape-binary-{datatype}-{name}", "B8", sized(0, **described), b"", path=path)


def _numbers() -> Iterator[Case]:
    """Bare NaN and Infinity are numbers here; what only looks like them is not."""
    for name, token in {
        "nan_in_lower_case": "nan",
        "infinity_short": "Inf",
        "plus_infinity": "+Infinity",
        "minus_nan": "-NaN",
        "leading_zero": "01",
        "plus": "+1",
        "hexadecimal": "0x1",
        "no_fraction": "1.",
        "no_whole": ".5",
        "no_exponent": "1e",
        "two_minus": "--1",
        "underscore": "1_0",
        "too_large": "1e39",
        "far_too_large": "1e999",
        "true": "true",
        "expression": "__import__('os')",
        "comment": "1/*",
        "undefined": "undefined",
    }.items():
        yield posted(f"number-{name}", "B13", tensor(data=[]).replace(b"[]", f"[{token},1]".encode()))
    for name, where in {"shape": tensor(shape=[]), "outputs": text(outputs=[])}.items():
        yield posted(f"number-nan_as_{name}", "B12", where.replace(b"[]", b"NaN"))


def _parameters() -> Iterator[Case]:
    """Parameters that mean something, with values that mean nothing."""
    wrong = {name: value for name, value in WRONG.items() if name not in ("null", "true", "one")}
    for kind, value in wrong.items():
        yield posted(f"parameter-binary_data-{kind}", "B12", text(outputs=[_asked("binary_data", value)]))
        yield posted(f"parameter-binary_data_output-{kind}", "B12", text(parameters={"binary_data_output": value}))
        yield posted(f"parameter-classification-{kind}", "B12", text(outputs=[_asked("classification", value)]))
        yield posted(f"parameter-priority-{kind}", "B12", text(parameters={"priority": value}))
        yield posted(f"parameter-timeout-{kind}", "B12", text(parameters={"timeout": value}))
        yield posted(f"parameter-output-{kind}", "B12", text(outputs=[value]))
        if kind != "object":
            yield posted(
                f"parameter-parameters_of_output-{kind}", "B12", text(outputs=[{"name": "y", "parameters": value}])
            )


def _asked(name: str, value: Any) -> dict[str, Any]:
    return {"name": "y", "parameters": {name: value}}


def _twice() -> Iterator[Case]:
    yield posted("twice-input", "B12", text(inputs=[TENSOR, TENSOR]))
    yield posted("twice-output", "B12", text(outputs=[{"name": "y"}, {"name": "y"}]))
    yield posted("twice-shape", "B12", tensor().replace(b'"shape"', b'"shape": [1, 2], "shape": [9, 9], "a"'))
    yield posted("twice-inputs", "B12", text().replace(b'{"inputs"', b'{"inputs": 1, "inputs": 2, "a"'))
