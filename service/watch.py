"""What is watched of a model's answers: compiled when the model loads, then output arrays become cell numbers.

A row adds one cell to each watched family (`router.telemetry.WatchedFamily`):
- `class`: its class by the labels; what no label names counts as "other". Labels that are all whole numbers are matched
  by value, other labels by position for numeric outputs and by text for strings. Without labels: 0, 1, 2, ... as many
  as the model has probabilities, else 0-9.
- `probabilities`: its highest number (confidence), and, when the model has no `class` output, the class at its place.
- `value`: its first number.
Edges come from the model's reference; without one they are `CONFIDENCE_EDGES` and `VALUE_EDGES`. NaN and infinities
have a cell of their own. The other numbers of an output are not looked at. An output whose first dimension is free (or
of unknown rank) has a row for each of its entries; every other output is one row.
"""

from bisect import bisect_left
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from router.telemetry import WatchedFamily

Array = NDArray[Any]
Cells = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]
Kind = Literal["class", "probabilities", "value"]

MAX_WATCHED_OUTPUTS = 8
MAX_LABELS = 100
MAX_EDGES = 50
OTHER = "other"
CONFIDENCE_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
VALUE_EDGES = (-10_000.0, -1_000.0, -100.0, -10.0, -1.0, 0.0, 1.0, 10.0, 100.0, 1_000.0, 10_000.0)


@dataclass(frozen=True, slots=True)
class OutputMeaning:
    """What `model.toml` says of one output: `labels` in the order of the classes, `edges` from the reference."""

    name: str
    kind: Kind
    labels: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()


class OutputSpec(Protocol):
    """An output of the model's signature; -1 is a size that the request decides, None an unknown rank."""

    @property
    def name(self) -> str: ...
    @property
    def datatype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...] | None: ...


class Signature(Protocol):
    """What `service.protocol.tensors.Signature` offers of outputs."""

    @property
    def outputs(self) -> Sequence[OutputSpec]: ...


@dataclass(frozen=True, slots=True)
class _Probe:
    """Looks at one output: `one` for a single row, `many` for the rows behind the first; `each` is `one` for each row,
    as a list for each family. All give cell numbers."""

    output: str
    one: Callable[[Array], Cells]
    each: Callable[[Array], Sequence[Sequence[int]]]
    many: Callable[[Array], Pairs]


CellsOfRows = Callable[[Sequence[Array], int], list[Cells]]
"""The cells of each row: (outputs of so many requests of one row, none of them empty; how many)."""


@dataclass(frozen=True, slots=True)
class Watch:
    """The families that a model's answers are counted in, and how to find their cells."""

    families: tuple[WatchedFamily, ...]
    probes: tuple[_Probe, ...]
    batched: frozenset[str]
    """The outputs that have a row for each entry of their first dimension."""

    def cells(self, outputs: Mapping[str, Array]) -> tuple[Cells, Pairs]:
        """The cells of the first row, for `VariantSeries.observe`, and (cell, count) of the rows behind it, for `more`.
        `outputs` of one request; what is missing, or has no row, is left out."""
        first: Cells = ()
        more: Pairs = ()
        for probe in self.probes:
            array = outputs.get(probe.output)
            if array is None or not array.size:
                continue
            if array.ndim and len(array) > 1 and probe.output in self.batched:
                first += probe.one(array[:1])
                more += probe.many(array[1:])
            else:
                first += probe.one(array)
        return first, more

    def cells_of_rows(self, names: Sequence[str]) -> "CellsOfRows":
        """What finds the first part of `cells` for each row by itself. `names`: of all outputs, as they will come."""
        looks = [(probe.each, names.index(probe.output)) for probe in self.probes]
        if not looks:
            return lambda outputs, rows: [()] * rows

        def cells(outputs: Sequence[Array], rows: int) -> list[Cells]:
            found = [each(outputs[place]) for each, place in looks]
            return list(zip(*chain.from_iterable(found), strict=True))

        return cells


def compile_watch(meanings: Sequence[OutputMeaning], signature: Signature) -> Watch:
    """Watch the first 8 outputs that have a meaning and exist; others, and strings as numbers, are left out."""
    known = {output.name: output for output in signature.outputs}
    watched = [meaning for meaning in meanings if _fits(meaning, known.get(meaning.name))][:MAX_WATCHED_OUTPUTS]
    shapes = {meaning.name: known[meaning.name].shape for meaning in watched}
    has_class = any(meaning.kind == "class" for meaning in watched)
    families: list[WatchedFamily] = []
    probes: list[_Probe] = []
    start = 0
    for meaning in watched:
        own = _families(meaning, has_class, _class_count(watched, shapes))
        probes.append(_probe(meaning, own, start))
        families += own
        start += sum(family.cell_count for family in own)
    batched = (name for name, shape in shapes.items() if shape is None or shape[:1] == (-1,))
    return Watch(tuple(families), tuple(probes), frozenset(batched))


def _fits(meaning: OutputMeaning, output: OutputSpec | None) -> bool:
    return output is not None and (meaning.kind == "class" or output.datatype != "BYTES")


def _class_count(watched: Sequence[OutputMeaning], shapes: Mapping[str, tuple[int, ...] | None]) -> int:
    found = [shapes[meaning.name] for meaning in watched if meaning.kind == "probabilities"]
    return next((shape[-1] for shape in found if shape and shape[-1] > 0), 10)


def _families(meaning: OutputMeaning, has_class: bool, class_count: int) -> list[WatchedFamily]:
    labels = meaning.labels or tuple(map(str, range(class_count)))
    classes = WatchedFamily(meaning.name, "class", labels=(*labels[:MAX_LABELS], OTHER))
    if meaning.kind == "class":
        return [classes]
    default = VALUE_EDGES if meaning.kind == "value" else CONFIDENCE_EDGES
    edges = tuple(sorted({float(edge) for edge in meaning.edges if isfinite(edge)}))[:MAX_EDGES] or default
    if meaning.kind == "value":
        return [WatchedFamily(meaning.name, "value", edges=edges)]
    confidence = WatchedFamily(meaning.name, "confidence", edges=edges)
    return [confidence] if has_class else [confidence, classes]


def _probe(meaning: OutputMeaning, families: Sequence[WatchedFamily], start: int) -> _Probe:
    if meaning.kind == "class":
        return _class_probe(meaning.name, families[0].labels, start)
    if meaning.kind == "value":
        return _value_probe(meaning.name, families[0].edges, start)
    class_start = start + families[0].cell_count if len(families) > 1 else None
    classes = len(families[1].labels) if len(families) > 1 else 0
    return _top_probe(meaning.name, families[0].edges, start, (class_start, classes))


def _class_probe(name: str, labels: tuple[str, ...], start: int) -> _Probe:
    cell_of, other = label_cells(labels, start), start + len(labels) - 1

    def one(array: Array) -> Cells:
        return (cell_of.get(array.item(0), other),)

    def each(array: Array) -> tuple[list[int]]:
        return ([cell_of.get(value, other) for value in _first(array)],)

    def many(array: Array) -> Pairs:
        counts: dict[int, int] = {}
        for value in _first(array):
            cell = cell_of.get(value, other)
            counts[cell] = counts.get(cell, 0) + 1
        return tuple(counts.items())

    return _Probe(name, one, each, many)


def _first(array: Array) -> list[Any]:
    """The first value of each row."""
    values: list[Any] = (array if array.ndim == 1 else array.reshape(len(array), -1)[:, 0]).tolist()
    return values


def label_cells(labels: tuple[str, ...], start: int) -> dict[Hashable, int]:
    """Every value that may stand for a label: its number (or place), its text, its bytes."""
    named = labels[:-1]
    numbers = [int(label) for label in named] if all(_is_integer(label) for label in named) else range(len(named))
    cells: dict[Hashable, int] = {}
    for place, (label, number) in enumerate(zip(named, numbers, strict=True)):
        for value in (number, label, label.encode()):
            cells.setdefault(value, start + place)
    return cells


def _is_integer(label: str) -> bool:
    return label.isascii() and label.removeprefix("-").isdigit()


def _value_probe(name: str, edges: tuple[float, ...], start: int) -> _Probe:
    nonfinite, limits = start + len(edges) + 1, np.asarray(edges)

    def one(array: Array) -> Cells:
        return (cell(array.item(0)),)

    def cell(value: float) -> int:
        return start + bisect_left(edges, value) if isfinite(value) else nonfinite

    def each(array: Array) -> tuple[list[int]]:
        return ([cell(value) for value in _first(array)],)

    def many(array: Array) -> Pairs:
        return _binned(array.reshape(len(array), -1)[:, 0], limits, start)

    return _Probe(name, one, each, many)


def _top_probe(name: str, edges: tuple[float, ...], start: int, classes: tuple[int | None, int]) -> _Probe:
    nonfinite, limits = start + len(edges) + 1, np.asarray(edges)
    class_start, class_count = classes

    def one(array: Array) -> Cells:
        return cells(array.ravel().tolist())

    def each(array: Array) -> Sequence[Sequence[int]]:
        rows = (array if array.ndim == 2 else array.reshape(len(array), -1)).tolist()
        if not isfinite(sum(map(sum, rows))):  # also where the numbers are finite, and large
            return list(zip(*map(cells, rows), strict=True))
        tops = list(map(max, rows))
        found = [[start + bisect_left(edges, top) for top in tops]]
        if class_start is not None:
            places = [row.index(top) for row, top in zip(rows, tops, strict=True)]
            found.append([class_start + min(place, class_count - 1) for place in places])
        return found

    def cells(row: list[float]) -> Cells:
        # Any NaN or infinity makes the sum so: one look at all numbers in C.
        if not isfinite(sum(row)):
            return (nonfinite,) if class_start is None else (nonfinite, class_start + class_count - 1)
        top = max(row)
        cell = start + bisect_left(edges, top)
        if class_start is None:
            return (cell,)
        return cell, class_start + min(row.index(top), class_count - 1)

    def many(array: Array) -> Pairs:
        rows = array.reshape(len(array), -1).astype(np.float64)
        finite = np.isfinite(rows).all(axis=1)
        tops = np.where(finite, rows.max(axis=1), np.nan)
        pairs = _binned(tops, limits, start)
        if class_start is None:
            return pairs
        places = np.where(finite, np.minimum(rows.argmax(axis=1), class_count - 1), class_count - 1)
        return pairs + _counted(places, class_start)

    return _Probe(name, one, each, many)


def _binned(values: Array, limits: Array, start: int) -> Pairs:
    numbers = values.astype(np.float64)
    places = np.where(np.isfinite(numbers), np.searchsorted(limits, numbers, side="left"), len(limits) + 1)
    return _counted(places, start)


def _counted(places: Array, start: int) -> Pairs:
    counts = np.bincount(places)
    return tuple((start + int(place), int(counts[place])) for place in np.flatnonzero(counts))
