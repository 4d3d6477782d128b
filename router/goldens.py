"""What is counted of golden rows that are run beside quiet traffic: how they ended, by variant. Pure."""

from typing import Final

from router.blocks import Block
from router.layout import ASSIGNED, HOW_CELLS, OUTCOME, OUTCOME_CELLS, BlockSpec, How, Outcome
from router.telemetry import Recorder, SeriesName

GOLDEN: Final = "golden"
"""The kind of these blocks. They know epochs, and are no part of what callers asked."""


class GoldenSeries:
    """Where one worker counts the golden runs of one variant in one epoch. For the event loop."""

    def __init__(self, block: Block) -> None:
        self._given, self._outcomes = block.family(ASSIGNED), block.family(OUTCOME)

    def given(self) -> None:
        """A row is about to be run; `ended` closes it."""
        self._given[How.MIRROR] += 1

    def ended(self, outcome: Outcome) -> None:
        """ERROR also where the answer is not the expected one."""
        self._outcomes[outcome] += 1


def golden_series(recorder: Recorder, name: SeriesName, now_ns: int) -> GoldenSeries:
    """Where to count. Raises ResourceExhausted without room."""
    return GoldenSeries(recorder.epoch_block(golden_spec(name), name.epoch, now_ns))


def golden_spec(name: SeriesName) -> BlockSpec:
    """The block of a variant's golden runs."""
    labels = {"model": name.model, "version": str(name.version), "variant": name.variant}
    return BlockSpec(GOLDEN, labels, ((ASSIGNED, HOW_CELLS), (OUTCOME, OUTCOME_CELLS)), epochs=True)
