"""What blocks add to a check of latency: marks at edges that were chosen before them. Pure; numpy only.

The control is marked at its edge e, the candidate at the edge for (1 + margin) e: then "not slower than the margin"
is "not marked more often", for any distribution. With `ignore_below`, each quantile has a second test, of the candidate
alone: whether more than its tail is above that.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from router.evidence import Block
from router.families import DOWNWARDS, UPWARDS, Floats, Marks, bernoulli_llr, rates_above, rates_below
from router.ledger import (
    FLOOR,
    HARM,
    QUICK,
    Bets,
    CheckState,
    Observed,
    Observing,
    Placed,
    Run,
    cells_of,
    count,
    epochs_of,
    histories,
    ratio_key,
    summed,
    told_cells,
)
from router.sequences import ratio_grid
from router.sequential import LatencyCheck
from router.tilts import Ask
from router.wealth import Played, design_prior, even_prior, log_mean_exp

_TAIL_MARKS, _MOST_HISTORY = 20.0, 10_000.0
"""An edge is chosen once this many control requests are expected above it (after 2,000 requests for p99), or after
10,000 requests."""
_WEAKEST, _STRONGEST = -0.05, -4.5
_SLACK_UP, _SLACK_DOWN = 0.003, 1.01
_FAR_APART = 4.0


def observe_latency(check: LatencyCheck, state: CheckState, blocks: Sequence[Block]) -> Observing:
    """Bets of family A on a run of blocks, a row for each quantile, and for harm those between them too."""
    cells = len(check.edges) + 1
    ours = cells_of(check, [block.candidate.latency for block in blocks], cells)
    theirs = cells_of(check, [block.arm(check.control).latency for block in blocks], cells)
    told = told_cells(ours, theirs)
    if not told.any():
        return Observed(state, told)
    ours, theirs, epochs = ours[told], theirs[told], epochs_of(blocks, told)
    seen = histories(state.history, theirs)
    edges = _edges_of(check, state, seen, epochs)
    above = (_above(ours), _above(theirs), _above(seen[:-1]))
    named = edges[:, : len(check.quantiles)]
    run = Run(_slower(check, named, above, 1.0), epochs, seen, tuple(edges[-1].tolist()))
    asked = [
        Ask(_slower(check, edges, above, 1.0 + check.max_increase, up=True), UPWARDS),
        Ask(run.marks, ratio_grid()),
    ]
    ratios = tuple(dict.fromkeys(margin.ratio for margin in check.margins if margin.ratio is not None))
    for ratio in ratios:
        designs = _designs(check, named, above[2], ratio)
        asked.append(Ask(_slower(check, named, above, ratio), DOWNWARDS, design=designs))
    harm, likelihood, *safe = yield asked
    bets = Bets(state)
    bets.add(HARM, harm.reshape(*edges.shape, -1), even_prior(harm.shape[1]))
    for ratio, llr in zip(ratios, safe, strict=True):
        bets.add(ratio_key(ratio), llr.reshape(*named.shape, -1), design_prior(llr.shape[1]))
    if check.ignore_below > 0.0:
        _bet_on_floor(check, above, bets)

    def settle(played: Mapping[str, Played]) -> Observed:
        after = summed(state.likelihood, likelihood.reshape(*named.shape, -1))[-1]
        path = played[HARM].path if FLOOR not in played else np.minimum(played[HARM].path, played[FLOOR].path)
        return Observed(count(state, run, bets.after(played), after), told, log_mean_exp(path))

    return Placed(bets, settle)


def _bet_on_floor(check: LatencyCheck, above: Sequence[Floats], bets: Bets) -> None:
    """Family D, the candidate alone: a row for each quantile on "its tail is not all that is above the floor", and, for
    safety, on "less than its tail is". Half of the latter lies on the share that the control had there before."""
    place = floor_edge(check) + 1
    n, k = above[0][:, :1], above[0][:, place, None]
    usual = (above[2][:, place] + 0.5) / (above[2][:, 0] + 1.0)
    tails, above_tails, below_tails = _tails(marked_quantiles(check))
    bets.add(FLOOR, bernoulli_llr(k, n, tails, above_tails), even_prior(above_tails.shape[1]))
    if check.margins:
        named = below_tails[: len(check.quantiles)]
        design = np.clip(usual[:, None, None], named[:, :1], named[:, -1:])
        rates = np.concatenate([design, np.broadcast_to(named, (len(n), *named.shape))], axis=2)
        bets.add(QUICK, bernoulli_llr(k, n, tails[: len(named)], rates), design_prior(rates.shape[2]))


@cache
def _tails(quantiles: tuple[float, ...]) -> tuple[Floats, Floats, Floats]:
    """The tails of these quantiles, and the alternatives above and below each: [rows], [rows, 8], [rows, 6]."""
    tails = [1.0 - quantile for quantile in quantiles]
    return np.asarray(tails), np.stack([*map(rates_above, tails)]), np.stack([*map(rates_below, tails)])


def floor_edge(check: LatencyCheck) -> int:
    """The first edge that is not below `ignore_below`."""
    return bisect_left(check.edges, check.ignore_below)


def marked_quantiles(check: LatencyCheck) -> tuple[float, ...]:
    """The check's quantiles, and behind them one between any two neighbours whose tails are far apart, at the geometric
    mean of the tails. Harm is looked for there too: a fault of the slowest twentieth shows best between p95 and p99."""
    tails = sorted({1.0 - quantile for quantile in check.quantiles})
    between = (1.0 - math.sqrt(low * high) for low, high in pairwise(tails) if high > _FAR_APART * low)
    return (*check.quantiles, *between)


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


def _edges_of(check: LatencyCheck, state: CheckState, seen: Floats, epochs: Sequence[int]) -> NDArray[np.int64]:
    """The edges in each block, [T, marked quantiles]: they stay within an epoch, and at its border those that the
    control has drifted away from are chosen anew."""
    edges, epoch, found = state.edges, state.epoch, []
    for number, block_epoch in enumerate(epochs):
        border = 0 <= epoch < block_epoch
        if border or min(edges) < 0:
            edges = _choose_edges(check, edges, seen[number], border)
        epoch = max(epoch, block_epoch)
        found.append(edges)
    return np.asarray(found)


def _choose_edges(check: LatencyCheck, edges: Sequence[int], history: Floats, border: bool) -> tuple[int, ...]:
    total, chosen = float(history.sum()), []
    for quantile, edge in zip(marked_quantiles(check), edges, strict=True):
        tail = 1.0 - quantile
        seen = float(history[edge + 1 :].sum()) / total if total else tail
        drifted = border and not tail / 3.0 <= seen <= 3.0 * tail
        renewed = choose_edge(history, quantile) if edge < 0 or drifted else edge
        chosen.append(edge if renewed < 0 else renewed)
    return tuple(chosen)


def _above(cells: Floats) -> Floats:
    """How many lie in each cell or above, [T, cells]."""
    sums: Floats = np.add.accumulate(cells[:, ::-1], axis=1)[:, ::-1]
    return sums


def _shifted(check: LatencyCheck, edges: NDArray[np.int64], ratio: float, up: bool) -> NDArray[np.int64]:
    """`shift_edge` of each; -1 where there is none."""
    found = edges.ravel().tolist()
    places = {edge: shift_edge(check.edges, edge, ratio, up=up) if edge >= 0 else None for edge in set(found)}
    known = {edge: -1 if place is None else place for edge, place in places.items()}
    return np.asarray([known[edge] for edge in found]).reshape(edges.shape)


def _slower(
    check: LatencyCheck, edges: NDArray[np.int64], above: Sequence[Floats], ratio: float, *, up: bool = False
) -> Marks:
    """Marks, T x quantiles: control above its edge, candidate above `ratio` times that. Rows that cannot tell have
    none."""
    shifted = _shifted(check, edges, ratio, up)
    possible, blocks = shifted >= 0, np.arange(len(edges))[:, None]
    ours = np.where(possible, above[0][blocks, shifted + 1], 0.0)
    theirs = np.where(possible, above[1][blocks, edges + 1], 0.0)
    whole = (np.repeat(each[:, 0], edges.shape[1]) for each in above[:2])
    return Marks(next(whole), ours.ravel(), next(whole), theirs.ravel())


def _designs(check: LatencyCheck, edges: NDArray[np.int64], above: Floats, ratio: float) -> Floats:
    """The log odds of the marks if the candidate's latency is distributed as the control's was before each block,
    T x quantiles."""
    shifted, blocks = _shifted(check, edges, ratio, up=False), np.arange(len(edges))[:, None]
    near, far = ((above[blocks, at + 1] + 0.5) / (above[:, :1] + 1.0) for at in (edges, shifted))
    # Where nothing is shifted far is 1 or near; what comes out there is not used.
    odds = np.log(far / near * (1.0 - near + 1e-12) / (1.0 - far + 1e-12))
    designs: Floats = np.where(shifted >= 0, np.minimum(_WEAKEST, np.maximum(_STRONGEST, odds)), _WEAKEST).ravel()
    return designs
