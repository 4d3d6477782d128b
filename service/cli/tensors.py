"""Tensors for `serin infer`, out of JSON, CSV and .npy files, without numpy: the command line stays light."""

import ast
import csv
import io
import json
import struct
from collections.abc import Sequence
from itertools import chain
from math import isfinite, prod
from typing import Any

from router.errors import InvalidArgument

Document = dict[str, Any]

MAGIC = b"\x93NUMPY"
TYPES = {
    "b1": ("BOOL", "?"),
    **{f"{kind}{size}": (f"{sign}INT{8 * size}", code) for kind, sign, size, code in (
        ("i", "", 1, "b"), ("i", "", 2, "h"), ("i", "", 4, "i"), ("i", "", 8, "q"),
        ("u", "U", 1, "B"), ("u", "U", 2, "H"), ("u", "U", 4, "I"), ("u", "U", 8, "Q"),
    )},
    **{f"f{size}": (f"FP{8 * size}", code) for size, code in ((2, "e"), (4, "f"), (8, "d"))},
}  # fmt: skip
"""numpy's letters: the V2 datatype, and the letter of `struct`."""

WORDS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def of_json(text: bytes, inputs: Sequence[Document]) -> Document:
    """A V2 request from a JSON file: one as it is, an object with the value of each input, or the value of the only
    input."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"the file is not JSON: {error}") from error
    if isinstance(found, dict):
        if isinstance(found.get("inputs"), list) and all(isinstance(one, dict) for one in found["inputs"]):
            return found
        if found:
            _require_told(inputs)
        known = {spec["name"]: spec for spec in inputs}
        for name in found:
            if name not in known:
                raise InvalidArgument(f"the model has no input {name!r}; it has {', '.join(known)}")
        return {"inputs": [_entry(known[name], value) for name, value in found.items()]}
    return {"inputs": [_entry(_only(inputs), found)]}


def of_csv(text: bytes, inputs: Sequence[Document]) -> Document:
    """A V2 request from a CSV file: columns by the names of inputs, else all of them for the only input. A first line
    of numbers alone is a row."""
    try:
        lines = [line for line in csv.reader(io.StringIO(text.decode("utf-8-sig")), strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidArgument(f"the file is not CSV: {error}") from error
    if not lines:
        raise InvalidArgument("the file has no line")
    has_names = not all(_is_number(cell) for cell in lines[0])
    names, rows = ([cell.strip() for cell in lines[0]], lines[1:]) if has_names else ([], lines)
    for number, line in enumerate(rows, 1):
        if len(line) != len(lines[0]):
            raise InvalidArgument(f"row {number} has {len(line)} values, and there are {len(lines[0])} columns")
    if names and set(names) == {spec["name"] for spec in inputs}:
        known = {spec["name"]: spec for spec in inputs}
        columns = [(known[name], [[line[index]] for line in rows]) for index, name in enumerate(names)]
        return {"inputs": [_entry(spec, _cells(spec, column)) for spec, column in columns]}
    spec = _only(inputs)
    return {"inputs": [_entry(spec, _cells(spec, rows))]}


def of_npy(content: bytes, inputs: Sequence[Document]) -> tuple[Document, bytes]:
    """A V2 request and its binary part from a .npy file (numpy's format 1 to 3) for the only input. Values of another
    type than the model's go as numbers, for which the binary part is empty."""
    spec = _only(inputs)
    kind, shape, data = _read_npy(content)
    datatype, letter = TYPES[kind]
    shape = _fitted(spec, shape)
    entry: Document = {"name": spec["name"], "datatype": spec["datatype"], "shape": list(shape)}
    if datatype == spec["datatype"]:
        return {"inputs": [{**entry, "parameters": {"binary_data_size": len(data)}}]}, data
    values = list(struct.unpack(f"<{prod(shape)}{letter}", data))
    return {"inputs": [{**entry, "data": [_number(spec, value) for value in values]}]}, b""


def as_numbers(body: Document, blob: bytes) -> Document:
    """The same request as `of_npy` made, for a server that knows no binary tensors."""
    (entry,) = body["inputs"]
    letter = next(code for datatype, code in TYPES.values() if datatype == entry["datatype"])
    values = struct.unpack(f"<{prod(entry['shape'])}{letter}", blob)
    head = {name: said for name, said in entry.items() if name != "parameters"}
    return {"inputs": [{**head, "data": [_number(entry, value) for value in values]}]}


def _read_npy(content: bytes) -> tuple[str, tuple[int, ...], bytes]:
    """The type's letters, shape and data. Raises InvalidArgument."""
    wide = content[6:7] != b"\x01"
    start = 12 if wide else 10
    if not content.startswith(MAGIC) or len(content) < start:
        raise InvalidArgument("the file is not .npy")
    (length,) = struct.unpack("<I" if wide else "<H", content[8:start])
    try:
        head = ast.literal_eval(content[start : start + length].decode())
        descr, shape = str(head["descr"]), tuple(int(size) for size in head["shape"])
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise InvalidArgument("the head of the .npy file cannot be read") from error
    kind, data = descr[1:], content[start + length :]
    if kind not in TYPES or descr[0] == ">":
        raise InvalidArgument(f"an array of type {descr!r} cannot be sent; save it with .astype('<f4'), for example")
    if head.get("fortran_order") and len(shape) > 1:
        raise InvalidArgument("the array is column by column; save numpy.ascontiguousarray(array)")
    if min(shape, default=0) < 0 or len(data) != prod(shape) * struct.calcsize("<" + TYPES[kind][1]):
        raise InvalidArgument(f"the .npy file does not hold the values of its shape {list(shape)}")
    return kind, shape, data


def _entry(spec: Document, value: Any) -> Document:
    shape: list[int] = []
    flat = [value]
    while flat and isinstance(flat[0], list):
        shape.append(len(flat[0]))
        if any(not isinstance(one, list) or len(one) != shape[-1] for one in flat):
            raise InvalidArgument(f"the value of {spec['name']!r} is not nested evenly")
        flat = list(chain.from_iterable(flat))
    if any(isinstance(one, list) for one in flat):
        raise InvalidArgument(f"the value of {spec['name']!r} is not nested evenly")
    numbers = [_number(spec, one) for one in flat]
    shape = list(_fitted(spec, tuple(shape)))
    return {"name": spec["name"], "datatype": spec["datatype"], "shape": shape, "data": numbers}


def _fitted(spec: Document, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape, with a dimension more where the model wants one: one row, or one column."""
    wanted = tuple(spec["shape"])
    if len(shape) + 1 != len(wanted):
        return shape
    if all(size in (-1, given) for size, given in zip(wanted[1:], shape, strict=True)) and wanted[0] in (-1, 1):
        return (1, *shape)
    return (*shape, 1) if wanted[-1] in (-1, 1) else shape


def _number(spec: Document, value: Any) -> Any:
    """A value as it goes into JSON: whole where the model wants that, and with words for what JSON does not have."""
    if isinstance(value, float):
        if not isfinite(value):
            return WORDS[str(value)]
        if "INT" in spec["datatype"] and value.is_integer():
            return int(value)
    return "NaN" if value is None and "FP" in spec["datatype"] else value


def _cells(spec: Document, rows: Sequence[Sequence[str]]) -> list[list[Any]]:
    return [[_cell(spec, cell) for cell in row] for row in rows]


def _cell(spec: Document, cell: str) -> Any:
    if spec["datatype"] == "BYTES":
        return cell
    if spec["datatype"] == "BOOL" and cell.strip().lower() in ("true", "false", "0", "1"):
        return cell.strip().lower() in ("true", "1")
    if not cell.strip():
        return None
    if not _is_number(cell):
        raise InvalidArgument(f"{cell!r} is no number, and the input {spec['name']!r} takes {spec['datatype']}")
    try:
        return int(cell)
    except ValueError:
        return float(cell)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return not cell.strip()
    return len(cell) <= 64


def _require_told(inputs: Sequence[Document]) -> None:
    if not inputs:
        raise InvalidArgument("the server does not say what the model takes; give a whole V2 request with --json")


def _only(inputs: Sequence[Document]) -> Document:
    _require_told(inputs)
    if len(inputs) != 1:
        names = ", ".join(spec["name"] for spec in inputs)
        raise InvalidArgument(
            f"the model has {len(inputs)} inputs ({names}); name each in JSON, or in the CSV's first line"
        )
    return inputs[0]
