"""Tables, as MLflow's scoring protocol sends them: columns by name, or in order for the columns of one input."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson

from service.protocol import nesting
from service.protocol.errors import BadRequest, quoted
from service.protocol.json_codec import ABSENT
from service.protocol.limits import Limits
from service.protocol.messages import Form, InferRequest, Parameter
from service.protocol.rows_codec import Spoken, by_columns, by_rows, check_values, listed, read, records, writer
from service.protocol.tensors import Array, Signature, TensorSpec

NAMES = ("dataframe_split", "dataframe_records", "instances", "inputs")
FORMS = "`dataframe_split`, `dataframe_records`, `instances` or `inputs`"
NULL = msgspec.Raw(b"null")
SHOWN = 8

Places = Mapping[str, Mapping[str, int]]
"""Of each input: where columns stand that have names in `model.toml`."""

Cell = bytes | str
"""JSON, or the text of a CSV cell."""


class Split(msgspec.Struct):
    """A data frame in pandas' orientation `split`; its index says nothing to a model."""

    data: msgspec.Raw
    columns: list[str | int | float] | None = None


class Body(msgspec.Struct):
    """A body as it came; exactly one of the first four is there."""

    dataframe_split: msgspec.Raw = ABSENT
    dataframe_records: msgspec.Raw = ABSENT
    instances: msgspec.Raw = ABSENT
    inputs: msgspec.Raw = ABSENT
    params: dict[str, Any] | None = None


_BODY = msgspec.json.Decoder(Body)
_SPLIT = msgspec.json.Decoder(Split)
_LINES = msgspec.json.Decoder(list[list[msgspec.Raw]])


class Table(msgspec.Struct, frozen=True):
    """Cells row by row. `names` None: columns in the order of the input."""

    names: tuple[str, ...] | None
    lines: Sequence[Sequence[Cell]]
    places: Places
    limits: Limits

    def feeds(self, signature: Signature) -> dict[str, Array]:
        """A column for each input where columns have the names of inputs; else all for the one input that there is."""
        width = len(self.lines[0]) if self.names is None and self.lines else len(self.names or ())
        for number, line in enumerate(self.lines):
            if len(line) != width:
                raise BadRequest(f"row {number} has {len(line)} values, and there are {width} columns")
        specs = signature.inputs_by_name
        if self.names is not None and set(self.names) == set(specs):
            return {name: self._column(specs[name], index) for index, name in enumerate(self.names)}
        if len(specs) != 1:
            raise BadRequest(f"the columns must be the inputs of the model: {_shown(specs)}")
        [spec] = signature.inputs
        order = self._order(spec, width)
        text = listed([listed([_json(spec, line[index]) for index in order]) for line in self.lines])
        return {spec.name: nesting.tensor(spec, text, self.limits)}

    def _column(self, spec: TensorSpec, index: int) -> Array:
        return nesting.tensor(spec, listed([_json(spec, line[index]) for line in self.lines]), self.limits)

    def _order(self, spec: TensorSpec, width: int) -> Sequence[int]:
        """Where each column of the input stands. Names that are all known decide; one that is known, and stands where
        it ought not to, is refused: a model that takes its columns in another order answers nonsense."""
        known = self.places.get(spec.name, {})
        names = self.names or ()
        if names and all(name in known for name in names) and sorted(known[n] for n in names) == list(range(width)):
            return sorted(range(width), key=lambda index: known[names[index]])
        for index, name in enumerate(names):
            if known.get(name, index) != index:
                raise BadRequest(
                    f"column {quoted(name)} stands at {index}, and model.toml has it at {known[name]} of input "
                    f"{quoted(spec.name)}"
                )
        return range(width)


def read_invocation(text: bytes, limits: Limits, places: Places) -> Spoken:
    """A JSON body of `/invocations`. Raises BadRequest."""
    body = read(text, limits, _BODY)
    given = [name for name in NAMES if getattr(body, name) is not ABSENT]
    if len(given) != 1:
        raise BadRequest(f"the body must be a JSON object with exactly one of {FORMS}; this one has {len(given)}")
    [name] = given
    form = _form(name, bytes(getattr(body, name)), limits, places)
    request = InferRequest({}, form=form, parameters=_parameters(body.params or {}))
    return Spoken(request, writer("predictions", name != "inputs", "null"))


def read_csv(text: bytes, limits: Limits, places: Places) -> Spoken:
    """A CSV body. A first line of numbers alone is a row, unless it counts the columns from 0 as pandas does."""
    check_values(text, limits, b",")
    check_values(text, limits, b"\n")
    try:
        lines: list[list[str]] = [
            line for line in csv.reader(io.StringIO(text.decode("utf-8-sig")), strict=True) if line
        ]
    except UnicodeDecodeError as error:
        raise BadRequest("the CSV is not UTF-8") from error
    except csv.Error as error:
        raise BadRequest(f"not valid CSV: {error}") from error
    if not lines:
        raise BadRequest("the CSV has no line")
    first = lines[0]
    counted = first == [str(index) for index in range(len(first))] and len(lines) > 1
    has_names = counted or not all(_is_number(cell) for cell in first)
    names = tuple(cell.strip() for cell in first) if has_names else None
    table = Table(None if counted else names, lines[1:] if has_names else lines, places, limits)
    return Spoken(InferRequest({}, form=table), writer("predictions", True, "null"))


def _form(name: str, text: bytes, limits: Limits, places: Places) -> Form:
    match name:
        case "dataframe_split":
            return _split(text, limits, places)
        case "dataframe_records":
            return _records(text, limits, places)
        case "instances":
            return by_rows(text, limits)
    return by_columns(text, limits)


def _split(text: bytes, limits: Limits, places: Places) -> Table:
    check_values(text, limits, b",")
    try:
        split = _SPLIT.decode(text)
        lines = _LINES.decode(bytes(split.data))
    except ValueError as error:
        raise BadRequest("dataframe_split: must be an object with `columns` and `data`, a list of rows") from error
    counted = split.columns is None or split.columns == list(range(len(split.columns)))
    names = None if counted else tuple(map(str, split.columns or ()))
    return Table(names, [[bytes(cell) for cell in line] for line in lines], places, limits)


def _records(text: bytes, limits: Limits, places: Places) -> Table:
    found = records(text, limits)
    names = tuple(dict.fromkeys(name for row in found for name in row))
    if len(names) * len(found) > limits.max_strings:
        raise BadRequest(f"more than {limits.max_strings} single values; send whole tensors as `inputs`")
    counted = names == tuple(str(index) for index in range(len(names)))
    lines = [[bytes(row.get(name, NULL)) for name in names] for row in found]
    return Table(None if counted else names, lines, places, limits)


def _parameters(found: Mapping[str, Any]) -> dict[str, Parameter]:
    for name, value in found.items():
        if value is not None and not isinstance(value, str | int | float | bool):
            raise BadRequest(f"params: {quoted(name)} must be a string, a number or a boolean")
    return {name: value for name, value in found.items() if value is not None}


def _json(spec: TensorSpec, cell: Cell) -> bytes:
    """The JSON of a cell for an input: a CSV cell is what the input needs, and nothing where it is empty."""
    if isinstance(cell, bytes):
        return cell
    if spec.datatype == "BYTES":
        return orjson.dumps(cell)
    if spec.datatype == "BOOL" and cell.strip().lower() in ("true", "false", "0", "1"):
        return b"true" if cell.strip().lower() in ("true", "1") else b"false"
    if not cell.strip():
        return b"null"
    if not _is_number(cell):
        raise BadRequest(f"input {quoted(spec.name)}: {quoted(cell)} is no number")
    try:
        return b"%d" % int(cell)
    except ValueError:
        number = float(cell)
    return {"nan": b"NaN", "inf": b"Infinity", "-inf": b"-Infinity"}.get(str(number), repr(number).encode())


def _is_number(cell: str) -> bool:
    if "_" in cell or len(cell) > 64:
        return False
    try:
        float(cell)
    except ValueError:
        return not cell.strip()
    return True


def _shown(names: Mapping[str, object]) -> str:
    return ", ".join(map(quoted, list(names)[:SHOWN])) + (", ..." if len(names) > SHOWN else "")
