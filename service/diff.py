"""Two answers to the same request, compared output by output: which rows differ, and how far they lie apart. Pure.

What the distance of a row is depends on the kind: exact, the share of its elements that differ; tolerance, the largest
difference measured in tolerances (1 is the limit); argmax, the largest absolute difference; top_k, the share of the k
places that are not in common; cosine, 1 - cosine. NaN in the same places counts as the same, elsewhere as infinitely
far, like arrays of different shapes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np

from router.mirrors import MAX_OUTPUTS, OutputDifference
from router.routes import Comparison
from service.protocol.tensors import FLOATS, Array, TensorSpec
from service.watch import Kind

SMALL = 4096
"""Elements; arrays up to here are not worth the threads that a large product may start."""

VALUE_RELATIVE = 0.01
FLOAT_ABSOLUTE, FLOAT_RELATIVE = 1e-5, 1e-3
"""What counts as the same where nobody said: 1 % for an output that `model.toml` calls a value, else rounding."""

Rows = tuple[Array, Array]
"""Of each row: whether it differs, and its distance."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Compares one output. `batched`: its first dimension counts rows; otherwise it is one row."""

    output: str
    comparison: Comparison
    batched: bool

    @property
    def kind(self) -> str:
        """The kind of comparison."""
        return self.comparison.kind

    def compare(self, stable: Array, candidate: Array) -> OutputDifference:
        """The two answers, rows and the worst of them taken together."""
        rows = len(stable) if self.batched and stable.ndim else 1
        if stable.shape != candidate.shape:
            return OutputDifference(max(rows, 1), max(rows, 1), inf)
        if not stable.size:
            return OutputDifference(0, 0, 0.0)
        if self.batched and stable.ndim == 1:
            stable, candidate = stable.reshape(-1, 1), candidate.reshape(-1, 1)
        # The same bytes are the commonest answer of all where versions agree, and this is the quickest way to see it.
        if stable.dtype == candidate.dtype and stable.dtype.kind != "O" and stable.tobytes() == candidate.tobytes():
            return OutputDifference(rows, 0, 0.0)
        with np.errstate(all="ignore"):
            differs, distances = KINDS[self.comparison.kind](self.comparison, stable, candidate, rows)
        return OutputDifference(rows, int(np.count_nonzero(differs)), float(distances.max()))


def judges(
    compare: Sequence[Comparison],
    outputs: tuple[Sequence[TensorSpec], Sequence[TensorSpec]],
    meanings: Mapping[str, Kind],
) -> tuple[Judge, ...]:
    """How to compare what both versions answer; at most MAX_OUTPUTS. `outputs`: of the stable one and the candidate.

    What `compare` does not name follows `meanings` (class: exact, probabilities: argmax, value: 1 %), else the
    datatype: floats by a small tolerance, everything else exactly. Only numbers have an order: text is compared exactly
    whatever is asked.
    """
    named = {comparison.output: comparison for comparison in compare}
    others = {spec.name: spec for spec in outputs[1]}
    return tuple(_judges(named, [spec for spec in outputs[0] if spec.name in others], meanings))[:MAX_OUTPUTS]


def compare_all(
    chosen: Sequence[Judge], stable: Mapping[str, Array], candidate: Mapping[str, Array]
) -> list[OutputDifference | None]:
    """In the order of `chosen`; None where one of the two did not compute the output for this request."""
    return [
        judge.compare(stable[judge.output], candidate[judge.output])
        if judge.output in stable and judge.output in candidate
        else None
        for judge in chosen
    ]


def all_finite(arrays: Iterable[Array]) -> bool:
    """Whether no float among the elements is NaN or infinite."""
    for array in arrays:
        kind = array.dtype.kind
        if kind == "f" and array.itemsize >= 4 and array.size <= SMALL:
            flat = array.ravel()
            if isfinite(flat.dot(flat)):  # four times as fast as asking each; squares that overflow are asked again
                continue
        if kind in "fV" and not np.isfinite(_floats(array)).all():
            return False
    return True


def _judges(
    named: Mapping[str, Comparison], specs: Sequence[TensorSpec], meanings: Mapping[str, Kind]
) -> Iterator[Judge]:
    for spec in specs:
        comparison = named.get(spec.name) or named.get("*") or _by_nature(spec, meanings.get(spec.name))
        if spec.datatype in ("BYTES", "BOOL") and comparison.kind != "exact":
            comparison = Comparison(spec.name, "exact")
        yield Judge(spec.name, comparison, spec.shape is None or spec.shape[:1] == (-1,))


def _by_nature(spec: TensorSpec, meaning: Kind | None) -> Comparison:
    if meaning == "probabilities":
        return Comparison(spec.name, "argmax")
    if meaning == "value" and spec.datatype in FLOATS:
        return Comparison(spec.name, "tolerance", relative=VALUE_RELATIVE)
    if meaning == "class" or spec.datatype not in FLOATS:
        return Comparison(spec.name, "exact")
    return Comparison(spec.name, "tolerance", FLOAT_ABSOLUTE, FLOAT_RELATIVE)


def _exact(_: Comparison, stable: Array, candidate: Array, rows: int) -> Rows:
    unequal = (stable != candidate) & ~(_missing(stable) & _missing(candidate))
    share = np.asarray(unequal, dtype=bool).reshape(rows, -1).mean(axis=1)
    return share > 0, share


def _tolerance(comparison: Comparison, stable: Array, candidate: Array, rows: int) -> Rows:
    expected, found = _numbers(stable), _numbers(candidate)
    apart = np.abs(found - expected)
    # x / 0 is infinity, 0 / 0 is no difference; equal infinities are no difference either.
    ratio = np.where(expected == found, 0.0, apart / (comparison.absolute + comparison.relative * np.abs(expected)))
    worst = _with_missing(ratio, expected, found).reshape(rows, -1).max(axis=1)
    return worst > 1.0, worst


def _argmax(_: Comparison, stable: Array, candidate: Array, rows: int) -> Rows:
    expected, found = _numbers(stable), _numbers(candidate)
    apart = np.where(expected == found, 0.0, np.abs(found - expected))
    distance = _with_missing(apart, expected, found).reshape(rows, -1).max(axis=1)
    places = (_vectors(expected).argmax(axis=-1) != _vectors(found).argmax(axis=-1)).reshape(rows, -1).any(axis=1)
    return places | np.isinf(distance), distance


def _top_k(comparison: Comparison, stable: Array, candidate: Array, rows: int) -> Rows:
    expected, found = _vectors(_numbers(stable)), _vectors(_numbers(candidate))
    k = min(comparison.k, expected.shape[-1])
    tops = np.argsort(-expected, axis=-1, kind="stable")[:, :k], np.argsort(-found, axis=-1, kind="stable")[:, :k]
    common = (tops[0][:, :, None] == tops[1][:, None, :]).any(axis=2).mean(axis=1)
    common[_vectors(np.isnan(expected) != np.isnan(found)).any(axis=1)] = -inf
    least = common.reshape(rows, -1).min(axis=1)
    return least < comparison.least, 1.0 - least


def _cosine(comparison: Comparison, stable: Array, candidate: Array, rows: int) -> Rows:
    expected, found = _vectors(_numbers(stable)), _vectors(_numbers(candidate))
    lengths = np.sqrt((expected * expected).sum(axis=1) * (found * found).sum(axis=1))
    cosines = (expected * found).sum(axis=1) / lengths
    same = ((expected == found) | (np.isnan(expected) & np.isnan(found))).all(axis=1)
    cosines = np.where(same, 1.0, np.nan_to_num(cosines, nan=-inf))
    least = cosines.reshape(rows, -1).min(axis=1)
    return least < comparison.least, np.maximum(0.0, 1.0 - least)


KINDS: Mapping[str, Callable[[Comparison, Array, Array, int], Rows]] = {
    "exact": _exact,
    "tolerance": _tolerance,
    "argmax": _argmax,
    "top_k": _top_k,
    "cosine": _cosine,
}


def _numbers(array: Array) -> Array:
    return array.astype(np.float64, copy=False)


def _floats(array: Array) -> Array:
    return array if array.dtype.kind == "f" else array.astype(np.float32)  # bfloat16 has no isfinite of its own


def _vectors(array: Array) -> Array:
    return array.reshape(-1, array.shape[-1]) if array.ndim else array.reshape(1, 1)


def _missing(array: Array) -> Array:
    return np.isnan(_numbers(array)) if array.dtype.kind in "fV" else np.zeros(array.shape, bool)


def _with_missing(distances: Array, expected: Array, found: Array) -> Array:
    """NaN where both have it is no distance, where one has it an infinite one."""
    missing, other = np.isnan(expected), np.isnan(found)
    return np.where(missing | other, np.where(missing & other, 0.0, inf), distances)
