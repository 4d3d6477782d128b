"""What is counted of mirrored requests: how they ended, how many were left out, how far the answers lie apart.

Each count has one writer: the event loop writes what was given and dropped, the mirror's thread how it ended or that it
was late. A block belongs to one epoch of the route at a time, like a variant's, and nothing here is ever added to a
variant's counts.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from router.blocks import Block
from router.layout import ASSIGNED, HOW_CELLS, OUTCOME, OUTCOME_CELLS, BlockSpec, How, Outcome
from router.tally import BlockCopy, by_epoch, labels_of
from router.telemetry import LATENCY, LATENCY_EDGES_US, TIME_NS, Recorder

MIRROR = "mirror"
LATE = "late"
DROPS = ("queue_full", "too_large", "not_ready", "overloaded", "busy", LATE)
"""Why a sampled request is not mirrored. LATE is found in the queue, thus after it was given; the others before."""

_PLACES = {reason: place for place, reason in enumerate(DROPS)}
DIFFERENCE_EDGES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 10.0, 100.0)
"""Upper edges of the distances between two answers; what a distance is, each kind of comparison says for itself."""

MAX_OUTPUTS = 16
DROPPED, PAIRS, ROWS, DIFFERENCE = "dropped", "pairs", "rows", "difference"
_SAME, _DIFFERENT = 0, 1


@dataclass(frozen=True, slots=True)
class MirrorName:
    """Whose mirrored requests; `epoch` of the route."""

    model: str
    version: int
    variant: str
    epoch: int


@dataclass(frozen=True, slots=True)
class OutputDifference:
    """One output of one request, compared: rows, those of them that differ, and the largest distance of any."""

    rows: int
    flipped: int
    distance: float


@dataclass(frozen=True, slots=True)
class OutputCounts:
    """One output over many requests. `differences`: a cell each of DIFFERENCE_EDGES and one above."""

    output: str
    kind: str
    same: int
    different: int
    rows_same: int
    rows_different: int
    differences: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MirrorCounts:
    """One mirror of one epoch, all workers added up. A pair is a request that both versions answered."""

    name: MirrorName
    given: int
    outcomes: dict[str, int]
    dropped: dict[str, int]
    pairs: int
    flipped: int
    outputs: tuple[OutputCounts, ...]

    @property
    def flip_rate(self) -> float | None:
        """The share of pairs that differ in some output; None without pairs."""
        return self.flipped / self.pairs if self.pairs else None

    @property
    def drop_rate(self) -> float | None:
        """The share of sampled requests that were not mirrored; None when none were sampled."""
        lost = sum(self.dropped.values())
        sampled = lost + self.given - self.dropped.get(LATE, 0)
        return lost / sampled if sampled else None


class MirrorSeries:
    """Where one worker counts one mirror. `given` and `dropped` are for the event loop, the rest for one thread."""

    def __init__(self, block: Block, outputs: int) -> None:
        self._given, self._dropped = block.family(ASSIGNED), block.family(DROPPED)
        self._outcomes, self._latency, self._time = (block.family(name) for name in (OUTCOME, LATENCY, TIME_NS))
        self._pairs = block.family(PAIRS)
        families = (PAIRS, ROWS, DIFFERENCE)
        self._outputs = [tuple(block.family(f"{name}:{number}") for name in families) for number in range(outputs)]

    def given(self) -> None:
        """A request was put in the queue; `ended`, or `dropped` as LATE, closes it."""
        self._given[How.MIRROR] += 1

    def dropped(self, reason: str) -> None:
        """One of DROPS."""
        self._dropped[_PLACES[reason]] += 1

    def ended(self, outcome: Outcome, run_ns: int) -> None:
        """The mirrored run ended."""
        self._outcomes[outcome] += 1
        if outcome <= Outcome.CANCELLED:
            self._latency[bisect_right(LATENCY_EDGES_US, run_ns // 1000)] += 1
            self._time[0] += run_ns

    def compared(self, found: Sequence[OutputDifference | None]) -> None:
        """Both answers were there. `found` in the order of the block's outputs; None for one that was not compared."""
        for cells, difference in zip(self._outputs, found, strict=True):
            if difference is None:
                continue
            pairs, rows, distances = cells
            pairs[_DIFFERENT if difference.flipped else _SAME] += 1
            rows[_SAME] += difference.rows - difference.flipped
            rows[_DIFFERENT] += difference.flipped
            distances[bisect_left(DIFFERENCE_EDGES, difference.distance)] += 1
        flipped = any(difference is not None and difference.flipped for difference in found)
        self._pairs[_DIFFERENT if flipped else _SAME] += 1


def mirror_series(
    recorder: Recorder, name: MirrorName, outputs: Sequence[tuple[str, str]], now_ns: int
) -> MirrorSeries:
    """Where to count. `outputs`: name and kind of comparison. Raises ResourceExhausted without room."""
    return MirrorSeries(recorder.epoch_block(mirror_spec(name, outputs), name.epoch, now_ns), len(outputs))


def mirror_spec(name: MirrorName, outputs: Sequence[tuple[str, str]]) -> BlockSpec:
    """The block of a mirror."""
    labels = {"model": name.model, "version": str(name.version), "variant": name.variant}
    families = [(ASSIGNED, HOW_CELLS), (OUTCOME, OUTCOME_CELLS), (DROPPED, 8), (PAIRS, 2)]
    families += [(LATENCY, len(LATENCY_EDGES_US) + 1), (TIME_NS, 1)]
    for number in range(len(outputs)):
        families += [(f"{PAIRS}:{number}", 2), (f"{ROWS}:{number}", 2)]
        families += [(f"{DIFFERENCE}:{number}", len(DIFFERENCE_EDGES) + 1)]
    meta = {"outputs": [[output, kind] for output, kind in outputs]}
    return BlockSpec(MIRROR, labels, tuple(families), epochs=True, meta=meta)


def mirror_counts(copies: Iterable[BlockCopy]) -> Iterator[MirrorCounts]:
    """Each mirror in each epoch that is still readable, from a reading of all workers (`tally.Reader.read`)."""
    own = [copy for copy in copies if copy.spec.kind == MIRROR]
    for epoch, blocks in by_epoch(own).items():
        for copy in blocks:
            yield counts_of(copy, epoch)


def counts_of(copy: BlockCopy, epoch: int = 0) -> MirrorCounts:
    """The counts in one block."""
    model, version, variant = labels_of(copy, "model", "version", "variant")
    outcomes, pairs = copy.family(OUTCOME), copy.family(PAIRS)
    return MirrorCounts(
        name=MirrorName(model, int(version), variant, epoch),
        given=sum(copy.family(ASSIGNED)),
        outcomes={outcome.name.lower(): outcomes[outcome] for outcome in Outcome if outcomes[outcome]},
        dropped={reason: count for reason, count in zip(DROPS, copy.family(DROPPED), strict=False) if count},
        pairs=sum(pairs),
        flipped=pairs[_DIFFERENT],
        outputs=tuple(_output(copy, number, *named) for number, named in enumerate(copy.spec.meta["outputs"])),
    )


def _output(copy: BlockCopy, number: int, output: str, kind: str) -> OutputCounts:
    pairs, rows = copy.family(f"{PAIRS}:{number}"), copy.family(f"{ROWS}:{number}")
    distances = tuple(copy.family(f"{DIFFERENCE}:{number}"))
    return OutputCounts(output, kind, pairs[_SAME], pairs[_DIFFERENT], rows[_SAME], rows[_DIFFERENT], distances)
