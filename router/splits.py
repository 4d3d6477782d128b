"""Whether the split gives what it promised: requests assigned against planned weights (family C). Pure; numpy only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from router.evidence import Block
from router.families import SHARE_GRID, binomial_llr, two_sided
from router.wealth import Bet, EProcess, even_prior, play


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """What is known of it. assigned: (candidate, both, expected candidate); broken: the highest log e at the last block
    that was at the threshold or above, None when none was."""

    process: EProcess
    assigned: tuple[int, int, float]
    broken: float | None = None


def start_process() -> EProcess:
    """Before anything was assigned."""
    return EProcess.start(1, even_prior(2 * len(SHARE_GRID)))


def observe_split(split: Split, blocks: Sequence[Block], threshold: float) -> Split:
    """After a run of blocks; those without a random split, or without requests, say nothing."""
    arms = [(block.candidate, block.stable) for block in blocks]
    counts = [
        (a.assigned, a.assigned + b.assigned, a.weight_ppm, a.weight_ppm + b.weight_ppm)
        for a, b in arms
        if a.weight_ppm and b.weight_ppm and a.assigned + b.assigned
    ]
    if not counts:
        return split
    ours, both, planned, whole = np.asarray(counts, dtype=np.float64).T
    share = planned / whole
    llr = binomial_llr(ours, both, share[:, None], two_sided(SHARE_GRID))
    played = play({"": Bet(split.process, llr[:, None], even_prior(llr.shape[1]))})[""]
    over = np.flatnonzero(played.path[:, 0] >= threshold)
    broken = float(split.process.peak_after(played.path[: over[-1] + 1])[0]) if len(over) else None
    candidate, requests, expected = split.assigned
    assigned = candidate + int(ours.sum()), requests + int(both.sum()), float(expected + (share * both).sum())
    return Split(played.process, assigned, broken)
