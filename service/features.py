"""What is looked at of a request's inputs: declared features, compiled once, then rows become cell numbers. Pure.

Of each sampled request one row is looked at, so that requests count alike whatever number of rows they carry. A feature
is one column of that row, or its only value. NaN, nothing (an empty string, a row that is too short) and what cannot be
read are in the last bin; what is far outside the reference is in an outer one and marked.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from router.inputs import QUALITY, Feature
from service.watch import OTHER, label_cells

Array = NDArray[Any]
Values = list[Any]
Looked = tuple[list[int], list[int]]
"""Bins and places in QUALITY, one each of a list of values."""

MARGIN = 0.1
"""So far outside the reference's range, as a part of its width, a value may lie."""

OK, MISSING, OUT_OF_RANGE, UNSEEN, WRONG_TYPE = range(len(QUALITY))


class InputSpec(Protocol):
    """An input of the model's signature; -1 is a size that the request decides, None an unknown rank."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...] | None: ...


class Signature(Protocol):
    """What `service.protocol.tensors.Signature` offers of inputs."""

    @property
    def inputs(self) -> Sequence[InputSpec]: ...


@dataclass(frozen=True, slots=True)
class Declared:
    """A feature and where it is: `column` of the row of an input (counted row by row where it has several dimensions).
    `limits`: lowest and highest value of the reference."""

    feature: Feature
    input: str
    column: int = 0
    limits: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class _Probe:
    input: str
    column: int
    look: Callable[[Values], Looked]


@dataclass(frozen=True, slots=True)
class Lookout:
    """The features of one version, in the order of their cells, and how to find these."""

    features: tuple[Feature, ...]
    probes: tuple[_Probe, ...]
    batched: frozenset[str]
    """The inputs that have a row for each entry of their first dimension."""

    def row(self, feeds: Mapping[str, Array], draw: float) -> dict[str, Array]:
        """One row of each input, the same for all of them; `draw` in [0, 1) says which."""
        rows = {}
        for name, array in feeds.items():
            if name in self.batched and array.ndim and len(array):
                at = int(draw * len(array))
                array = array[at : at + 1]
            rows[name] = array.ravel()
        return rows

    def look(self, rows: Sequence[Mapping[str, Array]]) -> list[Looked]:
        """Of each feature: the cells of these rows."""
        return [probe.look([_value(row.get(probe.input), probe.column) for row in rows]) for probe in self.probes]


def compile_lookout(declared: Sequence[Declared], signature: Signature) -> Lookout:
    """Look at the features whose input exists."""
    shapes = {spec.name: spec.shape for spec in signature.inputs}
    known = [one for one in declared if one.input in shapes]
    probes = tuple(_Probe(one.input, one.column, _look(one)) for one in known)
    batched = (name for name, shape in shapes.items() if shape is None or shape[:1] == (-1,))
    return Lookout(tuple(one.feature for one in known), probes, frozenset(batched))


def _value(row: Array | None, column: int) -> Any:
    return None if row is None or column >= row.size else row.item(column)


def _look(declared: Declared) -> Callable[[Values], Looked]:
    if declared.feature.kind == "category":
        return _category(declared.feature)
    return _number(declared.feature, declared.limits)


def _number(feature: Feature, limits: tuple[float, float] | None) -> Callable[[Values], Looked]:
    edges, missing_bin = np.asarray(feature.edges), feature.bins - 1
    low, high = _widened(limits)

    def look(values: Values) -> Looked:
        numbers, qualities = [], []
        for value in values:
            number, quality = _read(value)
            numbers.append(number)
            qualities.append(OUT_OF_RANGE if quality == OK and not low <= number <= high else quality)
        bins = np.searchsorted(edges, numbers, side="left").tolist()
        return [b if q in (OK, OUT_OF_RANGE) else missing_bin for b, q in zip(bins, qualities, strict=True)], qualities

    return look


def _widened(limits: tuple[float, float] | None) -> tuple[float, float]:
    """Without limits every finite number is in range; infinities never are."""
    if limits is None:
        return -np.finfo(np.float64).max, np.finfo(np.float64).max
    room = MARGIN * (limits[1] - limits[0])
    return limits[0] - room, limits[1] + room


def _read(value: Any) -> tuple[float, int]:
    if value is None or value in ("", b""):
        return 0.0, MISSING
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 0.0, WRONG_TYPE
    return (0.0, MISSING) if number != number else (number, OK)


def _category(feature: Feature) -> Callable[[Values], Looked]:
    cells, other, missing_bin = label_cells((*feature.labels, OTHER), 0), feature.bins - 2, feature.bins - 1

    def one(value: Hashable) -> tuple[int, int]:
        if value is None or value in ("", b"") or value != value:
            return missing_bin, MISSING
        if isinstance(value, bytes) and not _is_text(value):
            return missing_bin, WRONG_TYPE
        cell = cells.get(value, other)
        return cell, OK if cell != other else UNSEEN

    def look(values: Values) -> Looked:
        found = [one(value) for value in values]
        return [cell for cell, _ in found], [quality for _, quality in found]

    return look


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
