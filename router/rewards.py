"""What came back about answers: how many could be judged, how many were, and how many of those were good.

Counts lie in one block for each variant, epoch and worker. A family is a ring of strata: a cell for each few minutes in
which *requests* were assigned, whenever their labels come, so that no ramp confounds them. Cells only grow; a ring
is longer than the horizon within which feedback is taken, so a cell that grows says which stratum it was.
"""

from collections.abc import Iterable
from typing import Final

from router.blocks import Block
from router.counters import Segment
from router.layout import BlockSpec
from router.strata import STRATA, RewardCounts
from router.tally import BlockCopy, by_epoch, labels_of
from router.tokens import Given, Kind

FEEDBACK: Final = "feedback"
GOOD, BAD, ISSUED = "good", "bad", "issued"

REFUSED_FEEDBACK: Final = "feedback_refused"
REFUSED: Final = "refused"
REFUSALS: Final = ("other", "repeated", "invalid", "unsigned", "expired", "unknown_label")

MAX_EPOCHS: Final = 8
"""How many epochs of a variant are kept apart in a worker; labels for older ones are counted, and judged no more."""


class RewardSeries:
    """Where one worker counts the feedback of one variant in one epoch. Only the loop's thread may call this."""

    __slots__ = ("_bad", "_good", "block", "issued", "minutes")

    def __init__(self, block: Block, minutes: int) -> None:
        self.block = block
        self.minutes = minutes
        self._good, self._bad, self.issued = (block.family(name) for name in (GOOD, BAD, ISSUED))

    def reward(self, minute: int, good: bool) -> None:
        """A label came for a request of this minute."""
        (self._good if good else self._bad)[minute // self.minutes % STRATA] += 1


def serving_series(segment: Segment, given: Given, minutes: int) -> RewardSeries:
    """Where to count answers that are given now; the oldest epoch makes room. Raises ResourceExhausted without room."""
    spec = reward_spec(given, minutes)
    found = _of_epoch(segment, spec, given) or _oldest(segment, spec)
    if given.kind != "direct" and found.epoch != given.epoch:
        found.open_epoch(given.epoch)
    return RewardSeries(found, minutes)


def returning_series(segment: Segment, given: Given, minutes: int) -> RewardSeries:
    """Where to count what comes back. For an epoch that is older than all that are kept apart: with those of `past`.
    Raises ResourceExhausted without room."""
    spec = reward_spec(given, minutes)
    segment.note_gone(given.model, given.version)  # what comes so late must not stay for good
    found = _of_epoch(segment, spec, given)
    if found is None:
        oldest = _oldest(segment, spec)
        if oldest.epoch is not None and oldest.epoch > given.epoch:
            return RewardSeries(segment.block(reward_spec(given, minutes, past=True)), minutes)
        oldest.open_epoch(given.epoch)
        found = oldest
    return RewardSeries(found, minutes)


def reward_spec(given: Given, minutes: int, *, past: bool = False) -> BlockSpec:
    """The block of a variant's feedback."""
    kind = "past" if past else given.kind
    labels = {"model": given.model, "version": str(given.version), "variant": given.variant, "assignment": kind}
    families = ((GOOD, STRATA), (BAD, STRATA), (ISSUED, STRATA))
    return BlockSpec(FEEDBACK, labels, families, epochs=kind in ("split", "unit"), meta={"minutes": minutes})


def refused_spec() -> BlockSpec:
    """The block of feedback that a worker did not count, by REFUSALS."""
    return BlockSpec(REFUSED_FEEDBACK, {}, ((REFUSED, 16),))


def _of_epoch(segment: Segment, spec: BlockSpec, given: Given) -> Block | None:
    if given.kind == "direct":
        return segment.block(spec)
    return next((block for block in segment.blocks(spec) if block.epoch == given.epoch), None)


def _oldest(segment: Segment, spec: BlockSpec) -> Block:
    blocks = segment.blocks(spec)
    if len(blocks) < MAX_EPOCHS:
        return segment.new_block(spec, urgent=bool(blocks))
    return min(blocks, key=lambda block: -1 if block.epoch is None else block.epoch)


def reward_counts(
    copies: Iterable[BlockCopy], model: str, kind: Kind
) -> dict[int, dict[tuple[str, int], RewardCounts]]:
    """By epoch, then by (variant, version), of one reading of all workers (`tally.Reader.read`)."""
    own = (
        copy
        for copy in copies
        if copy.spec.kind == FEEDBACK and labels_of(copy, "model", "assignment") == (model, kind)
    )
    found: dict[int, dict[tuple[str, int], RewardCounts]] = {}
    for epoch, blocks in by_epoch(own).items():
        for copy in blocks:
            variant, version = labels_of(copy, "variant", "version")
            cells = (tuple(copy.family(name)) for name in (GOOD, BAD, ISSUED))
            found.setdefault(epoch, {})[variant, int(version)] = RewardCounts(copy.spec.meta["minutes"], *cells)
    return found
