"""What is counted of a request, and where: bound once when the table is swapped, then a few additions a request.

`Recorder` belongs to one worker's segment and gives out series; how they count stands in `router/booking.py`. All times
are whole nanoseconds. What the cells become for Prometheus stands in `router/exposition.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from router.blocks import Block, CrashSlot
from router.booking import (
    FAILED_NS,
    FIRST,
    FOLLOWED,
    LATENCY,
    LATENCY_EDGES_US,
    LED,
    MORE,
    PHASE_EDGES_US,
    PHASES,
    TIME_NS,
    VariantSeries,
    bind,
    latency_of,
)
from router.counters import Segment
from router.errors import ResourceExhausted
from router.layout import (
    ASSIGNED,
    HOW_CELLS,
    OUTCOME,
    OUTCOME_CELLS,
    REJECTED,
    RESTARTS,
    SHED,
    SHED_CELLS,
    WORKER,
    BlockSpec,
    How,
    Outcome,
)
from router.leaving import VERSION, version_spec

__all__ = [
    "FAILED_NS",
    "FIRST",
    "FOLLOWED",
    "LATENCY",
    "LATENCY_EDGES_US",
    "LED",
    "MORE",
    "PHASES",
    "PHASE_EDGES_US",
    "TIME_NS",
    "VERSION",
    "How",
    "Outcome",
    "Recorder",
    "SeriesName",
    "VariantSeries",
    "VersionGauges",
    "WatchedFamily",
    "WorkerSeries",
    "latency_of",
]

VARIANT = "variant"
SERVED = "served"
"""What a variant answered in the place of another: the same families as a variant's, and never part of its own."""

UNITS = "units"
"""What a variant did for callers, each with its first request: the same families again, for evidence alone."""

VIRTUAL = "virtual"
"""A part of what the same variant did, drawn by chance: the same families again, for the self-check alone."""

DRAWN_ONE_IN = 8
ROUND_BITS = 42
"""A round of the self-check is 2**42 ns of the monotonic clock, 73 minutes; a host's processes share that clock."""

SERVED_REASONS = ("timeout", "shed", "error", "nonfinite", "budget", "exposure")

STATES = ("ABSENT", "UNKNOWN", "LOADING", "READY", "UNAVAILABLE", "UNLOADING")
REJECTIONS = (
    "other", "bad_request", "not_found", "not_ready", "too_large", "unsupported_media_type", "timeout", "overloaded",
    "draining", "unauthorized", "forbidden", "unimplemented", "internal", "cancelled", "rate_limited",
)  # fmt: skip

MAX_BLOCKS_PER_VARIANT = 32
REST_NS = 10_000_000_000
"""How long a closed epoch stays readable before its block counts another."""


@dataclass(frozen=True, slots=True)
class WatchedFamily:
    """What is counted of one output. `class`: a cell each label, the last may be "other". `value` and `confidence`: a
    cell each edge (value <= edge), one above, and the last cell for what is not finite."""

    output: str
    kind: Literal["class", "value", "confidence"]
    labels: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()

    @property
    def cell_count(self) -> int:
        return len(self.labels) if self.kind == "class" else len(self.edges) + 2


@dataclass(frozen=True, slots=True)
class SeriesName:
    """Whose requests. `direct`: by rule or named version, which never mix with the split's; they know no epochs."""

    model: str
    version: int
    variant: str
    epoch: int = 0
    direct: bool = False


class VersionGauges:
    """What is so now of one version in one worker."""

    __slots__ = ("_cells",)

    def __init__(self, block: Block) -> None:
        self._cells = block.cells

    def state(self, state: str) -> None:
        """One of STATES, of a version that the worker holds or tries to."""
        self._cells[0] = STATES.index(state)
        self._cells[2] = 0

    def gone(self, until_ns: int) -> None:
        """The worker has let go of it; its counts are shown until then, 0 for ever."""
        self._cells[0] = 0
        self._cells[2] = until_ns

    def queued(self, requests: int) -> None:
        """How many wait for a place to run."""
        self._cells[1] = requests


class WorkerSeries:
    """What happened to requests that never reached a variant."""

    __slots__ = ("_cells",)

    def __init__(self, block: Block) -> None:
        self._cells = block.cells

    def rejected(self, reason: str) -> None:
        """One of REJECTIONS; anything else counts as "other"."""
        self._cells[_REJECTION.get(reason, 0)] += 1


_REJECTION = {reason: index for index, reason in enumerate(REJECTIONS)}


class Recorder:
    """Gives out the places of one worker. `checks_itself`: whether requests are drawn for the self-check. All methods
    raise ResourceExhausted when the state directory has no room."""

    def __init__(self, segment: Segment, checks_itself: bool = False) -> None:
        self.segment = segment
        self.checks_itself = checks_itself

    def variant(self, name: SeriesName, watched: Sequence[WatchedFamily], now_ns: int) -> VariantSeries:
        """Where to count `name`; closes the variant's other epochs. `now_ns`: a clock that does not go back. A new
        epoch takes the block whose epoch was closed longest ago, at least 10 s, with nothing in flight; else a new
        one."""
        spec = variant_spec(name, watched)
        block = self.segment.block(spec) if name.direct else self.epoch_block(spec, name.epoch, now_ns)
        return bind(block)

    def served(self, name: SeriesName, instead_of: str, reason: str, watched: Sequence[WatchedFamily]) -> VariantSeries:
        """Where to count what `name` answers in the place of the variant `instead_of`. `reason`: of SERVED_REASONS."""
        return bind(self.segment.block(served_spec(name, instead_of, reason, watched)))

    def units(self, name: SeriesName, watched: Sequence[WatchedFamily], now_ns: int) -> VariantSeries:
        """Where to count once more what counts for a caller; see `variant`."""
        return bind(self.epoch_block(unit_spec(name, watched), name.epoch, now_ns))

    def virtual(self, name: SeriesName, watched: Sequence[WatchedFamily], now_ns: int) -> VariantSeries:
        """Where to count once more what is drawn for the self-check; see `variant`."""
        return bind(self.epoch_block(virtual_spec(name, watched), name.epoch, now_ns))

    def version(self, model: str, version: int) -> VersionGauges:
        return VersionGauges(self.segment.block(version_spec(model, version)))

    def worker(self) -> WorkerSeries:
        return WorkerSeries(self.segment.block(BlockSpec(WORKER, {}, ((REJECTED, 32), (RESTARTS, 1)))))

    def version_token(self, model: str, version: int, digest: str) -> int:
        return self.segment.version_token(model, version, digest)

    def slot(self, number: int) -> CrashSlot:
        return self.segment.slot(number)

    def epoch_block(self, spec: BlockSpec, epoch: int, now_ns: int) -> Block:
        """The block that counts `spec` in this epoch; its other epochs are closed (see `variant`)."""
        blocks = self.segment.blocks(spec)
        for block in blocks:
            if block.epoch != epoch and (block.closed_ns is None or block.closed_ns > now_ns):
                block.close_epoch(now_ns)  # also after a reboot, when the clock began anew
        own = next((block for block in blocks if block.epoch == epoch), None) or self._free_block(spec, blocks, now_ns)
        if own.epoch != epoch or own.closed_ns is not None:
            own.open_epoch(epoch)  # closed with the same number: the controller lost its state and counts anew
        return own

    def _free_block(self, spec: BlockSpec, blocks: Sequence[Block], now_ns: int) -> Block:
        by_age = sorted(blocks, key=lambda block: (block.in_flight > 0, block.closed_ns or 0))
        if by_age and by_age[0].in_flight <= 0 and (by_age[0].closed_ns or 0) + REST_NS <= now_ns:
            return by_age[0]
        if len(blocks) >= MAX_BLOCKS_PER_VARIANT:
            return by_age[0]
        try:
            return self.segment.new_block(spec, urgent=bool(blocks))
        except ResourceExhausted:
            if not by_age:
                raise
            return by_age[0]  # a change of weights must succeed on a full disk too


def variant_spec(name: SeriesName, watched: Sequence[WatchedFamily]) -> BlockSpec:
    """The block of a variant. `first` lies at cell 0, so a watched cell's number is its place in the block."""
    cells = sum(family.cell_count for family in watched)
    assignment = "direct" if name.direct else "split"
    labels = {"model": name.model, "version": str(name.version), "variant": name.variant, "assignment": assignment}
    families = [(FIRST, cells), (MORE, cells), (ASSIGNED, HOW_CELLS), (OUTCOME, OUTCOME_CELLS)]
    families.append((SHED, SHED_CELLS))
    families += [(LED, len(LATENCY_EDGES_US) + 1), (FOLLOWED, len(LATENCY_EDGES_US) + 1), (TIME_NS, 1 + len(PHASES))]
    families += [(FAILED_NS, 1 + len(PHASES))]
    families += [(phase, len(PHASE_EDGES_US) + 1) for phase in PHASES]
    meta = {"watched": [[family.output, family.kind, family.labels, family.edges] for family in watched]}
    return BlockSpec(VARIANT, labels, tuple(families), epochs=not name.direct, meta=meta)


def unit_spec(name: SeriesName, watched: Sequence[WatchedFamily]) -> BlockSpec:
    """The block of callers, each counted with its first request."""
    return replace(variant_spec(name, watched), kind=UNITS)


def virtual_spec(name: SeriesName, watched: Sequence[WatchedFamily]) -> BlockSpec:
    """The block of requests that were drawn for the self-check."""
    return replace(variant_spec(name, watched), kind=VIRTUAL)


def served_spec(name: SeriesName, instead_of: str, reason: str, watched: Sequence[WatchedFamily]) -> BlockSpec:
    """The block of answers in another variant's place; it knows no epochs."""
    spec = variant_spec(replace(name, direct=True), watched)
    labels = {label: text for label, text in spec.labels.items() if label != "assignment"}
    return replace(spec, kind=SERVED, labels={**labels, "instead_of": instead_of, "reason": reason})


def watched_of(spec: BlockSpec) -> tuple[WatchedFamily, ...]:
    """The watched families of a variant's block, in the order of their cells."""
    return tuple(
        WatchedFamily(output, kind, tuple(labels), tuple(edges)) for output, kind, labels, edges in spec.meta["watched"]
    )
