"""What blocks add to a check of latency: marks at edges that were chosen before them. Pure; numpy only.

The control is marked at its edge e, the candidate at the edge for (1 + margin) e: then "not slower than the margin"
is "not marked more often", for any distribution. Bets are divided by how much marks cluster (`dispersion`). With
`ignore_below`, each quantile has a second test, of the candidate alone: whether more than its tail is above that.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import compress, pairwise

import numpy as np
from numpy.typing import NDArray

from router.dispersion import factors, nothing, tempered
from router.evidence import Block
from router.families import DOWNWARDS, UPWARDS, Floats, Marks, bernoulli_llr, rates_above, rates_below
from router.ledger import (
    EACH,
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
_FINE = 1.13
"""Neighbours no further apart than steps of 1.1 in whole numbers tell any margin, a smaller one as their own."""
_FAR_APART = 4.0


def observe_latency(check: LatencyCheck, state: CheckState, blocks: Sequence[Block]) -> Observing:
    """Bets of family A on a run of blocks, a row for each quantile, and for harm those between them too."""
    ours, theirs = _cells(check, blocks, "latency")
    told = told_cells(ours, theirs)
    if not told.any():
        return Observed(state, told)
    ours, theirs, epochs = ours[told], theirs[told], epochs_of(blocks, told)
    seen = histories(state.history, theirs)
    edges = _edges_of(check, state, seen, epochs)
    above = (_above(ours), _above(theirs), _above(seen[:-1]))
    counted = _ways(check, state, list(compress(blocks, told.tolist())), above)
    named = edges[:, : len(check.quantiles)]
    harmed = [_slower(check, edges, way, 1.0 + check.max_increase, up=True) for way in counted.values()]
    divided, spread = _dispersed(state, harmed, edges.shape[1])
    run = Run(_slower(check, named, above, 1.0), epochs, seen, tuple(edges[-1].tolist()), spread)
    shown = len(counted) - 1 if check.by_request else 0
    ratios = tuple(dict.fromkeys(margin.ratio for margin in check.margins if margin.ratio is not None))
    asked = [*(Ask(marks, UPWARDS) for marks in harmed), Ask(run.marks, ratio_grid())]
    for ratio in ratios:
        designs = _designs(check, named, above[2], ratio)
        marks = _slower(check, named, list(counted.values())[shown], ratio)
        asked.append(Ask(marks, DOWNWARDS, design=designs))
    answers = iter((yield asked))
    bets = Bets(state)
    for name, factor in zip(counted, divided, strict=True):
        llr = next(answers)
        bets.add(name, tempered(llr.reshape(*edges.shape, -1), factor), even_prior(llr.shape[1]), HARM)
    likelihood = next(answers)
    for ratio, llr in zip(ratios, answers, strict=True):
        llr = tempered(llr.reshape(*named.shape, -1), divided[shown])
        bets.add(ratio_key(ratio), llr, design_prior(llr.shape[2]))
    if check.ignore_below > 0.0:
        _bet_on_floor(check, above, bets)

    def settle(played: Mapping[str, Played]) -> Observed:
        after = summed(state.likelihood, likelihood.reshape(*named.shape, -1))[-1]
        paths = [played[name].path for name in (HARM, EACH, FLOOR) if name in played]
        return Observed(count(state, run, bets.after(played), after), told, log_mean_exp(np.minimum.reduce(paths)))

    return Placed(bets, settle)


def _cells(check: LatencyCheck, blocks: Sequence[Block], family: str) -> tuple[Floats, Floats]:
    """Both arms, [T, cells] each."""
    arms = [[getattr(arm, family) for arm in (block.candidate, block.arm(check.control))] for block in blocks]
    ours, theirs = (cells_of(check, [pair[arm] for pair in arms], len(check.edges) + 1) for arm in (0, 1))
    return ours, theirs


def _ways(
    check: LatencyCheck, state: CheckState, blocks: Sequence[Block], above: Sequence[Floats]
) -> dict[str, Sequence[Floats]]:
    """What is marked: a run by the request that leads it; and from the first block on in which any followed, also every
    request by itself. A stall of one run hits one arm's requests together, so those are no independent marks; a stall
    of the machine hits all that come meanwhile, which the arm with more requests runs as few runs. Harm is what both
    show."""
    behind = _cells(check, blocks, "followed")
    if EACH not in state.processes and not any(cells.any() for cells in behind):
        return {HARM: above}
    return {HARM: above, EACH: (above[0] + _above(behind[0]), above[1] + _above(behind[1]), above[2])}


def _dispersed(state: CheckState, harmed: Sequence[Marks], rows: int) -> tuple[list[Floats], Floats]:
    """For each way of marking, by how much its bets are divided, [T, rows]; and what is known behind these blocks."""
    known = nothing(rows) if state.spread is None else state.spread
    parts = [known[:rows], known[-rows:]]  # the same until they part
    found = [factors(part, marks, rows) for part, marks in zip(parts, harmed, strict=False)]
    return [divided for divided, _ in found], np.concatenate([after for _, after in found])


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
    but always a later one unless ratio is 1; None beyond the last, and for safety where edges are wide apart and
    the next is beyond `ratio`. A little slack keeps edges that were rounded, or two steps of 1.1 for +20 %."""
    if ratio == 1.0:
        return edge
    target = edges[edge] * ratio
    shifted = bisect_left(edges, target * (1.0 - _SLACK_UP)) if up else bisect_right(edges, target * _SLACK_DOWN) - 1
    beyond = shifted >= len(edges) or target > edges[-1] * _SLACK_DOWN
    if beyond or edge + 1 >= len(edges):
        return None
    wide = not up and edges[edge + 1] > max(target * _SLACK_DOWN, edges[edge] * _FINE)
    return None if wide else max(edge + 1, shifted)


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
