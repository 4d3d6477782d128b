"""What one block adds to a check of latency: marks at edges that were chosen before it. Pure; numpy only.

The control is marked at its edge e, the candidate at the edge for (1 + margin) e: then "not slower than the margin"
is "not marked more often", for any distribution.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from router.evidence import Block
from router.families import ODDS_GRID, Floats, Marks, conditional_llr
from router.ledger import HARM, CheckState, bet, cells_of, count, design_grid, ratio_key
from router.sequences import ratio_likelihood
from router.sequential import LatencyCheck
from router.wealth import design_prior, even_prior

_TAIL_MARKS, _MOST_HISTORY = 20.0, 10_000.0
"""An edge is chosen once this many control requests are expected above it (after 2,000 requests for p99), or after
10,000 requests."""
_WEAKEST, _STRONGEST = -0.05, -4.5
_SLACK_UP, _SLACK_DOWN = 0.003, 1.01


def observe_latency(check: LatencyCheck, state: CheckState, block: Block) -> CheckState:
    """Bets of family A on one block, a row for each quantile."""
    ours, theirs = cells_of(check, block.candidate.latency, block.arm(check.control).latency, len(check.edges) + 1)
    if not ours.any() and not theirs.any():
        return state
    edges = _choose_edges(check, state, 0 <= state.epoch < block.epoch)
    above = tuple(np.cumsum(cells[::-1])[::-1] for cells in (ours, theirs, state.history))
    processes = dict(state.processes)
    llr = conditional_llr(_slower(check, edges, above, 1.0 + check.max_increase, up=True), ODDS_GRID)
    processes[HARM] = bet(processes, HARM, llr, even_prior(llr.shape[1]))
    for ratio in dict.fromkeys(margin.ratio for margin in check.margins if margin.ratio is not None):
        grids = np.stack([design_grid(_design(check, above[2], edge, ratio)) for edge in edges])
        llr = conditional_llr(_slower(check, edges, above, ratio), grids)
        processes[ratio_key(ratio)] = bet(processes, ratio_key(ratio), llr, design_prior(llr.shape[1]))
    same = _slower(check, edges, above, 1.0)
    state = count(replace(state, edges=edges), block, same, theirs)
    return replace(state, processes=processes, likelihood=state.likelihood + ratio_likelihood(same))


def choose_edge(cells: Sequence[float] | Floats, quantile: float) -> int:
    """The smallest edge that at most 1 - quantile of these requests reach; -1 with too few to tell."""
    counts = np.asarray(cells, dtype=np.float64)
    total, tail = float(counts.sum()), 1.0 - quantile
    if total < min(_TAIL_MARKS / tail, _MOST_HISTORY) - 1e-6:
        return -1
    few = total - np.cumsum(counts)[:-1] <= tail * total * (1.0 + 1e-9)
    return int(np.argmax(few)) if few[-1] else len(few) - 1


def shift_edge(edges: Sequence[float], edge: int, ratio: float, *, up: bool = False) -> int | None:
    """The edge that stands for `ratio` (>= 1) times that one: for harm the next one `up`, for safety the next one down,
    but always a later one unless ratio is 1; None beyond the last. A little slack keeps edges that were rounded, or two
    steps of 1.1 for +20 %."""
    if ratio == 1.0:
        return edge
    target = edges[edge] * ratio
    shifted = bisect_left(edges, target * (1.0 - _SLACK_UP)) if up else bisect_right(edges, target * _SLACK_DOWN) - 1
    beyond = shifted >= len(edges) or target > edges[-1] * _SLACK_DOWN
    return None if beyond or edge + 1 >= len(edges) else max(edge + 1, shifted)


def _choose_edges(check: LatencyCheck, state: CheckState, border: bool) -> tuple[int, ...]:
    """Edges stay within an epoch; at its border those that the control has drifted away from are chosen anew."""
    total, chosen = float(state.history.sum()), []
    for quantile, edge in zip(check.quantiles, state.edges, strict=True):
        tail = 1.0 - quantile
        seen = float(state.history[edge + 1 :].sum()) / total if total else tail
        drifted = border and not tail / 3.0 <= seen <= 3.0 * tail
        renewed = choose_edge(state.history, quantile) if edge < 0 or drifted else edge
        chosen.append(edge if renewed < 0 else renewed)
    return tuple(chosen)


def _slower(
    check: LatencyCheck, edges: Sequence[int], above: Sequence[Floats], ratio: float, *, up: bool = False
) -> Marks:
    """Marks: control above its edge, candidate above `ratio` times that. Rows that cannot tell have none."""
    rows = np.zeros((4, len(edges)))
    for row, edge in enumerate(edges):
        rows[0, row], rows[2, row] = above[0][0], above[1][0]
        shifted = shift_edge(check.edges, edge, ratio, up=up) if edge >= 0 else None
        if shifted is not None:
            rows[1, row], rows[3, row] = above[0][shifted + 1], above[1][edge + 1]
    return Marks(rows[0], rows[1], rows[2], rows[3])


def _design(check: LatencyCheck, above: Floats, edge: int, ratio: float) -> float:
    """The log odds of the marks if the candidate's latency is distributed as the control's was before this block."""
    shifted = shift_edge(check.edges, edge, ratio) if edge >= 0 else None
    if shifted is None:
        return _WEAKEST
    near, far = ((float(above[at + 1]) + 0.5) / (float(above[0]) + 1.0) for at in (edge, shifted))
    return min(_WEAKEST, max(_STRONGEST, math.log(far / near * (1.0 - near) / (1.0 - far))))
