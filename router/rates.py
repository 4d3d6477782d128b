"""What blocks add to a check of a rate: against the control, or against a limit. Pure; numpy only."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from router.evidence import Block, Pairs
from router.families import DOWNWARDS, UPWARDS, Floats, Marks, bernoulli_llr, paired_llr, rates_above
from router.ledger import (
    ENOUGH_HISTORY,
    FLOOR,
    HARM,
    RECENT,
    RECENT_MARKS,
    Bets,
    CheckState,
    Observed,
    Observing,
    Placed,
    Run,
    count,
    epochs_of,
    histories,
    ratio_key,
    summed,
)
from router.sequences import ratio_grid
from router.sequential import LimitCheck, RateCheck
from router.tilts import Ask
from router.wealth import Played, design_prior, even_prior


def observe_rate(check: RateCheck, state: CheckState, blocks: Sequence[Block]) -> Observing:
    """Bets of families A (F for pairs) and D on a run of blocks."""
    counts = np.asarray([counts_of_rate(check, block) for block in blocks], dtype=np.float64)
    told = counts[:, 0, 0] + counts[:, 1, 0] > 0.0
    if not told.any():
        return Observed(state, told)
    (n_c, k_c), (n_s, k_s) = counts[told].transpose(1, 2, 0)
    control = np.stack([n_s - k_s, k_s], axis=1)
    seen = histories(state.history[:2], control)
    recent = histories(state.history[-2:], control, RECENT, RECENT_MARKS)
    run = Run(Marks(n_c, k_c, n_s, k_s), epochs_of(blocks, told), np.concatenate([seen, recent], axis=1))
    ratios = tuple(dict.fromkeys(margin.ratio for margin in check.margins if margin.ratio is not None))
    asked = _asks(check, run, ratios)
    harm, likelihood, *safe = (yield asked) if check.mark != "paired" else [_paired(ask) for ask in asked]
    bets = Bets(state)
    bets.add(HARM, harm[:, None], even_prior(harm.shape[1]))
    for ratio, llr in zip(ratios, safe, strict=True):
        bets.add(ratio_key(ratio), llr[:, None], design_prior(llr.shape[1]))
    if check.ignore_below > 0.0:
        rates = rates_above(check.ignore_below)
        bets.add(FLOOR, bernoulli_llr(k_c, n_c, check.ignore_below, rates)[:, None], even_prior(len(rates)))
    bets.add_below(check, k_c, n_c, low_rate(seen[:-1]))

    def settle(played: Mapping[str, Played]) -> Observed:
        after = summed(state.likelihood, likelihood[:, None])[-1]
        path = played[HARM].path if FLOOR not in played else np.minimum(played[HARM].path, played[FLOOR].path)
        return Observed(count(state, run, bets.after(played), after), told, path[:, 0])

    return Placed(bets, settle)


def _asks(check: RateCheck, run: Run, ratios: Sequence[float]) -> list[Ask]:
    """Of harm, of the likelihood of each ratio, and of each margin. Nothing is asked while a margin is not known."""
    seen = run.histories[:-1]
    found = [Ask(run.marks, UPWARDS, log_odds_margins(check, seen, check.tolerated, harm=True))]
    found.append(Ask(run.marks, ratio_grid()))
    for ratio in ratios:
        margins = log_odds_margins(check, seen, ratio)
        design = -np.where((margins == 0.0) | np.isnan(margins), 0.1, margins)
        found.append(Ask(run.marks, DOWNWARDS, margins, design))
    return found


def counts_of_rate(check: RateCheck, block: Block) -> tuple[tuple[int, int], tuple[int, int]]:
    """(n, worse marks) of candidate and control; of pairs, the marks are those that only one of them has."""
    if check.mark == "paired":
        pairs = block.pairs or Pairs()
        return (pairs.total, pairs.candidate_only), (pairs.total, pairs.stable_only)
    (n_c, k_c), (n_s, k_s) = (arm.rate(check.mark) for arm in (block.candidate, block.arm(check.control)))
    return ((n_c, n_c - k_c), (n_s, n_s - k_s)) if check.more_is_better else ((n_c, k_c), (n_s, k_s))


def _paired(ask: Ask) -> Floats:
    """The same of family F."""
    margins = 0.0 if ask.log_margins is None else ask.log_margins[:, None]
    return paired_llr(ask.marks.candidate_k, ask.marks.control_k, ask.tilts, margins)


def log_odds_margin(check: RateCheck, history: Floats, ratio: float) -> float | None:
    """`log_odds_margins` of one history; None when too little is known."""
    margin = float(log_odds_margins(check, history[None], ratio)[0])
    return None if math.isnan(margin) else margin


def log_odds_margins(check: RateCheck, seen: Floats, ratio: float, *, harm: bool = False) -> Floats:
    """The ratio of rates as log odds of the worse mark, at the control's latest rate before each block: [T], NaN where
    too little is known. seen: [T, cells] of a history, of which the last two are the latest. Of less-is-better marks,
    whose odds grow with the rate, the rate is taken to be low with few requests; for harm it is not, for there a low
    one would ask for too little."""
    if ratio == 1.0 or check.mark == "paired":
        return np.full(len(seen), math.log(ratio))
    seen = seen[:, -2:]
    known = seen.sum(axis=1)
    likely = (seen[:, 1] + 0.5) / (known + 1.0)
    if not check.more_is_better:
        rate = likely if harm else low_rate(seen)
        return log_odds(np.minimum(0.999, ratio * rate)) - log_odds(rate)
    margins = log_odds(np.clip(1.0 - ratio * (1.0 - likely), 1e-6, 0.999)) - log_odds(likely)
    return np.where(known < ENOUGH_HISTORY, math.nan, margins)


def low_rate(seen: Floats) -> Floats:
    """The control's rate of (not marked, marked) before each block, near 0 while little is known: [T]."""
    rate: Floats = (seen[:, 1] + 0.5) / (seen[:, 0] + seen[:, 1] + ENOUGH_HISTORY)
    return rate


def log_odds(rate: Floats) -> Floats:
    """Of rates in (0, 1)."""
    odds: Floats = np.log(rate) - np.log1p(-rate)
    return odds


def counts_of_limit(check: LimitCheck, block: Block) -> tuple[int, int]:
    """(n, marked) of the watched arm."""
    arm = block.candidate if check.arm == "candidate" else block.stable
    if check.slower_than is None:
        return arm.rate(check.mark)
    return sum(arm.latency), sum(arm.latency[check.slower_than + 1 :])


def limit_llr(check: LimitCheck, block: Block) -> Floats:
    """Family D against the limit: [1, 8]."""
    n, k = 0, 0
    if not block.problem:
        n, k = counts_of_limit(check, block)
    return bernoulli_llr(k, n, check.limit, rates_above(check.limit))


def observe_limit(check: LimitCheck, state: CheckState, blocks: Sequence[Block]) -> Observing:
    """Bets of family D on a run of blocks."""
    counts = np.asarray([counts_of_limit(check, block) for block in blocks], dtype=np.float64)
    told = counts[:, 0] > 0.0
    if not told.any():
        return Observed(state, told)
    n, k = counts[told].T
    nothing, rates = np.zeros(len(n)), rates_above(check.limit)
    run = Run(Marks(n, k, nothing, nothing), epochs_of(blocks, told), histories(state.history, np.zeros((len(n), 2))))
    bets = Bets(state)
    bets.add(HARM, bernoulli_llr(k, n, check.limit, rates)[:, None], even_prior(len(rates)))
    bets.add_below(check, k, n)
    yield ()  # nothing is asked of family A

    def settle(played: Mapping[str, Played]) -> Observed:
        return Observed(count(state, run, bets.after(played), state.likelihood), told, played[HARM].path[:, 0])

    return Placed(bets, settle)
