"""What a check knows so far: its e-processes, and the counts behind them. Pure; numpy only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from router.errors import InvalidArgument
from router.evidence import Block
from router.families import ODDS_GRID, SAFE_FRACTIONS, Floats, Marks, bernoulli_llr, rates_below
from router.sequential import Margin, SequentialCheck
from router.wealth import EProcess, design_prior, even_prior

HARM, FLOOR = "harm", "floor"
HALF_LIFE = 10_000.0
"""Control requests after which what was seen of the control counts half."""
ENOUGH_HISTORY = 50
"""Control requests before a margin in shares is turned into odds."""


@dataclass(frozen=True, slots=True, eq=False)
class CheckState:
    """What a check knows. epoch, requests: (candidate, control) counted in it; totals: [contrasts, 4], n and marks of
    candidate and control since the start; history: the control's cells, older ones fading; edges: index of the latency
    edge of each quantile, -1 before it is chosen; processes: its e-processes; likelihood: [contrasts, points] of the
    log odds ratio, or [contrasts, 3] sums for a difference (`sequences`)."""

    epoch: int
    requests: tuple[int, int]
    totals: Floats
    history: Floats
    edges: tuple[int, ...]
    processes: Mapping[str, EProcess]
    likelihood: Floats

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; numbers come back exactly."""
        return {
            "epoch": self.epoch,
            "requests": list(self.requests),
            "totals": self.totals.tolist(),
            "history": self.history.tolist(),
            "edges": list(self.edges),
            "processes": {name: process.to_json() for name, process in self.processes.items()},
            "likelihood": self.likelihood.tolist(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "CheckState":
        """The state that `to_json` described."""
        totals, history, likelihood = (np.asarray(content[x], dtype=np.float64) for x in _ARRAYS)
        processes = {name: EProcess.from_json(value) for name, value in content["processes"].items()}
        candidate, control = content["requests"]
        edges = tuple(content["edges"])
        return cls(content["epoch"], (candidate, control), totals, history, edges, processes, likelihood)


_ARRAYS = ("totals", "history", "likelihood")


def count(state: CheckState, block: Block, marks: Marks, control: Sequence[float] | Floats) -> CheckState:
    """Book a block's counts; `control`: the control's cells in it. Blocks of an epoch that is over (late labels,
    requests that were in flight) count in the totals only."""
    added = np.stack([marks.candidate_n, marks.candidate_k, marks.control_n, marks.control_k], axis=1)
    cells = np.asarray(control, dtype=np.float64)
    ours, theirs = state.requests if block.epoch <= state.epoch else (0, 0)
    if block.epoch >= state.epoch:
        ours, theirs = ours + int(added[0, 0]), theirs + int(added[0, 2])
    return replace(
        state,
        epoch=max(state.epoch, block.epoch),
        requests=(ours, theirs),
        totals=state.totals + added,
        history=state.history * 0.5 ** (float(cells.sum()) / HALF_LIFE) + cells,
    )


def bet(processes: Mapping[str, EProcess], name: str, llr: Floats, prior: Floats) -> EProcess:
    """The named process after one block; begun when there is none."""
    return (processes.get(name) or EProcess.start(len(llr), prior)).update(llr, prior)


def bet_below(
    check: SequentialCheck, processes: dict[str, EProcess], hits: int, n: int, design: float | None = None
) -> None:
    """One block for each limit that the candidate's rate may be shown to be below (family D). `design`: the rate of the
    control before this block, on which half of what is bet lies."""
    for below in dict.fromkeys(margin.below for margin in check.margins if margin.below is not None):
        rates, prior = rates_below(below), even_prior(len(SAFE_FRACTIONS))
        if design is not None:
            rates = np.concatenate([[min(max(design, float(rates[0])), float(rates[-1]))], rates])
            prior = design_prior(len(rates))
        llr = bernoulli_llr(hits, n, below, rates)
        processes[below_key(below)] = bet(processes, below_key(below), llr, prior)


def design_grid(design: float) -> Floats:
    """Alternatives of a non-inferiority test: "no difference", then the grid downwards."""
    return np.concatenate([[design], np.negative(ODDS_GRID)])


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


def cells_of(
    check: SequentialCheck, candidate: Sequence[int], control: Sequence[int], cells: int
) -> tuple[Floats, Floats]:
    """Both arms' cells; none counted are zeros. Raises InvalidArgument when there are more or fewer than `cells`."""
    for counted in (candidate, control):
        if counted and len(counted) != cells:
            raise InvalidArgument(f"{check.name}: {len(counted)} cells were counted, the check has {cells}")
    ours, theirs = (np.asarray(counted or (0,) * cells, dtype=np.float64) for counted in (candidate, control))
    return ours, theirs
