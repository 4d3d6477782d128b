"""What a check knows so far: its e-processes, and the counts behind them. Pure; numpy only."""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.errors import InvalidArgument
from router.evidence import Block
from router.families import SAFE_FRACTIONS, Floats, Marks, bernoulli_llr, rates_below
from router.packing import packed, unpacked
from router.sequential import Margin, SequentialCheck
from router.tilts import Ask
from router.wealth import Bet, EProcess, Played, design_prior, even_prior

HARM, EACH, FLOOR, QUICK = "harm", "each", "floor", "quick"
"""E-processes against "no worse than tolerated" (EACH: by every request, where HARM goes by runs), "too small to
matter", and "too slow to be called quick"."""
HALF_LIFE = 10_000.0
"""Control requests after which what was seen of the control counts half."""
RECENT, RECENT_MARKS = 1_000.0, 30.0
"""The same where a margin is turned into odds: there the rate at this hour matters, not that of the day. Of a rate,
so many marks count as much as so many requests: enough to know it by, and soon behind us when it has gone up."""
ENOUGH_HISTORY = 50
"""Control requests before a margin in shares is turned into odds."""


@dataclass(frozen=True, slots=True, eq=False)
class CheckState:
    """What a check knows. epoch, requests: (candidate, control) counted in it; totals: [contrasts, 4], n and marks of
    candidate and control since the start; history: the control's cells, older ones fading (of a rate
    twice, the second time faster); edges: index of the latency
    edge of each marked quantile, -1 before it is chosen; processes: its e-processes; likelihood: [contrasts, points]
    of the log odds ratio, or [contrasts, 3] sums for a difference (`sequences`); spread: of a latency check, for each
    marked quantile, what `dispersion` keeps."""

    epoch: int
    requests: tuple[int, int]
    totals: Floats
    history: Floats
    edges: tuple[int, ...]
    processes: Mapping[str, EProcess]
    likelihood: Floats
    spread: Floats | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; numbers come back exactly."""
        return {
            "epoch": self.epoch,
            "requests": list(self.requests),
            "totals": self.totals.tolist(),
            "history": packed(self.history),
            "edges": list(self.edges),
            "processes": {name: process.to_json() for name, process in self.processes.items()},
            "likelihood": packed(self.likelihood),
            **({} if self.spread is None else {"spread": packed(self.spread)}),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "CheckState":
        """The state that `to_json` described."""
        totals, history, likelihood = (unpacked(content[x]) for x in _ARRAYS)
        processes = {name: EProcess.from_json(value) for name, value in content["processes"].items()}
        candidate, control = content["requests"]
        edges = tuple(content["edges"])
        spread = unpacked(content["spread"]) if "spread" in content else None
        return cls(content["epoch"], (candidate, control), totals, history, edges, processes, likelihood, spread)


_ARRAYS = ("totals", "history", "likelihood")


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Blocks in a row as a check sees them, T of them. marks: T blocks x rows, flat, row by row within a block; epochs:
    [T]; histories: [T + 1, cells], what was seen of the control before each block and, last, after all; edges, spread:
    of a latency check, in the last block and after it."""

    marks: Marks
    epochs: tuple[int, ...]
    histories: Floats
    edges: tuple[int, ...] = ()
    spread: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """A check after a run of blocks. told: [blocks], which of them counted something of this check's; harm: log e of
    harm after each of those, at most 0 where a gate is closed."""

    state: CheckState
    told: NDArray[np.bool_]
    harm: Floats = field(default_factory=lambda: np.empty(0))


def epochs_of(blocks: Sequence[Block], told: NDArray[np.bool_]) -> tuple[int, ...]:
    """The epochs of those blocks."""
    return tuple(block.epoch for block, counted in zip(blocks, told.tolist(), strict=True) if counted)


def told_cells(ours: Floats, theirs: Floats) -> NDArray[np.bool_]:
    """The blocks in which one of the two arms has any cell: [T]."""
    told: NDArray[np.bool_] = (ours.sum(axis=1) + theirs.sum(axis=1)) > 0.0
    return told


def histories(before: Floats, cells: Floats, half_life: float = HALF_LIFE, marks: float = math.inf) -> Floats:
    """What is known of the control before each block and after all, older counts fading: half in so many requests, or
    in so many `marks`, the last cell. before: [cells], as a state has it; cells: [T, cells]."""
    seen = np.empty((len(cells) + 1, cells.shape[1]))
    seen[0] = before
    fading = 0.5 ** (cells.sum(axis=1) / half_life + cells[:, -1] / marks)
    for number, fade in enumerate(fading):
        np.multiply(seen[number], fade, out=seen[number + 1])
        seen[number + 1] += cells[number]
    return seen


def count(state: CheckState, run: Run, processes: Mapping[str, EProcess], likelihood: Floats) -> CheckState:
    """Book a run of blocks, and what came of the bets on it. Blocks of an epoch that is over (late labels, requests
    that were in flight) count in the totals only."""
    parts = (run.marks.candidate_n, run.marks.candidate_k, run.marks.control_n, run.marks.control_k)
    added = np.array(parts).reshape(4, len(run.epochs), -1)
    epoch = max(state.epoch, *run.epochs)
    present = added[:, [found == epoch for found in run.epochs], 0].sum(axis=1)
    ours, theirs = state.requests if epoch == state.epoch else (0, 0)
    return CheckState(
        epoch=epoch,
        requests=(ours + int(present[0]), theirs + int(present[2])),
        totals=state.totals + np.add.reduce(added, axis=1).T,
        history=run.histories[-1],
        edges=run.edges or state.edges,
        processes=processes,
        likelihood=likelihood,
        spread=state.spread if run.spread is None else run.spread,
    )


def summed(before: Floats, added: Floats) -> Floats:
    """The sum after each block, [T, ...], added one after the other: as exact in one run as in many."""
    sums: Floats = np.add.accumulate(np.concatenate([before[None], added]))
    return sums[1:]


class Bets:
    """The bets of one check on a run of blocks, by the name of the process; begun where there is none."""

    __slots__ = ("_processes", "placed")

    def __init__(self, state: CheckState) -> None:
        self.placed: dict[str, Bet] = {}
        self._processes = state.processes

    def add(self, name: str, llr: Floats, prior: Floats, like: str = "") -> None:
        """llr: [T, rows, alternatives]. `like`: the process that it was the same as until now, if it is new."""
        process = self._processes.get(name) or self._processes.get(like) or EProcess.start(llr.shape[1], prior)
        self.placed[name] = Bet(process, llr, prior)

    def add_below(self, check: SequentialCheck, hits: Floats, n: Floats, design: Floats | None = None) -> None:
        """A bet for each limit that the candidate's rate may be shown to be below (family D); hits, n: [T]. `design`:
        the rate of the control before each block, on which half of what is bet lies."""
        for below in dict.fromkeys(margin.below for margin in check.margins if margin.below is not None):
            rates, prior = rates_below(below), even_prior(len(SAFE_FRACTIONS))
            if design is not None:
                first = np.clip(design, rates[0], rates[-1])[:, None]
                rates = np.concatenate([first, np.broadcast_to(rates, (len(first), len(rates)))], axis=1)
                prior = design_prior(rates.shape[1])
            self.add(below_key(below), bernoulli_llr(hits, n, below, rates)[:, None], prior)

    def after(self, played: Mapping[str, Played]) -> dict[str, EProcess]:
        """All processes, once these bets were played."""
        return {**self._processes, **{name: one.process for name, one in played.items()}}


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """What a check has bet on a run of blocks, and what it makes of the outcome."""

    bets: Bets
    settle: "Callable[[Mapping[str, Played]], Observed]"


Observing = Generator[Sequence[Ask], Sequence[Floats], Placed | Observed]
"""A check that looks at a run of blocks: it asks once, is answered, and bets; or it has nothing to bet on. So that the
checks of a rollout are answered together, and their bets played together."""


def ratio_key(ratio: float) -> str:
    """The e-process against "at least `ratio` times as many"."""
    return f"ratio {ratio!r}"


def below_key(limit: float) -> str:
    """The e-process against "a rate of at least `limit`"."""
    return f"below {limit!r}"


def margin_keys(margin: Margin) -> tuple[str, ...]:
    """The e-processes of which each shows a margin."""
    ratio = () if margin.ratio is None else (ratio_key(margin.ratio),)
    return (*ratio, *(() if margin.below is None else (below_key(margin.below),)))


def cells_of(check: SequentialCheck, counted: Sequence[Sequence[int]], cells: int) -> Floats:
    """The cells of one arm in each block, [T, cells]; none counted are zeros. Raises InvalidArgument when there are
    more or fewer than `cells`."""
    nothing = (0,) * cells
    for one in counted:
        if one and len(one) != cells:
            raise InvalidArgument(f"{check.name}: {len(one)} cells were counted, the check has {cells}")
    return np.asarray([one or nothing for one in counted], dtype=np.float64).reshape(len(counted), cells)
