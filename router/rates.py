"""What one block adds to a check of a rate: against the control, or against a limit. Pure; numpy only."""

import math
from dataclasses import replace

import numpy as np

from router.evidence import Block, Pairs
from router.families import ODDS_GRID, Floats, Marks, bernoulli_llr, conditional_llr, paired_llr, rates_above
from router.ledger import ENOUGH_HISTORY, FLOOR, HARM, CheckState, bet, bet_below, count, design_grid, ratio_key
from router.sequences import paired_likelihood, ratio_likelihood
from router.sequential import LimitCheck, RateCheck
from router.wealth import design_prior, even_prior


def observe_rate(check: RateCheck, state: CheckState, block: Block) -> CheckState:
    """Bets of families A (F for pairs) and D on one block."""
    (n_c, k_c), (n_s, k_s) = counts_of_rate(check, block)
    if n_c + n_s == 0:
        return state
    marks = Marks.of((n_c, k_c), (n_s, k_s))
    processes = dict(state.processes)
    tolerated = log_odds_margin(check, state.history, check.tolerated)
    llr = _rate_llr(check, marks, np.asarray(ODDS_GRID), tolerated)
    processes[HARM] = bet(processes, HARM, llr, even_prior(llr.shape[1]))
    if check.ignore_below > 0.0:
        llr = bernoulli_llr(k_c, n_c, check.ignore_below, rates_above(check.ignore_below))
        processes[FLOOR] = bet(processes, FLOOR, llr, even_prior(llr.shape[1]))
    for ratio in dict.fromkeys(margin.ratio for margin in check.margins if margin.ratio is not None):
        log_margin = log_odds_margin(check, state.history, ratio)
        llr = _rate_llr(check, marks, design_grid(-(log_margin or 0.1)), log_margin)
        processes[ratio_key(ratio)] = bet(processes, ratio_key(ratio), llr, design_prior(llr.shape[1]))
    bet_below(check, processes, k_c, n_c, low_rate(state.history))
    likelihood = paired_likelihood(k_c, k_s) if check.mark == "paired" else ratio_likelihood(marks)
    state = count(state, block, marks, (n_s - k_s, k_s))
    return replace(state, processes=processes, likelihood=state.likelihood + likelihood)


def counts_of_rate(check: RateCheck, block: Block) -> tuple[tuple[int, int], tuple[int, int]]:
    """(n, worse marks) of candidate and control; of pairs, the marks are those that only one of them has."""
    if check.mark == "paired":
        pairs = block.pairs or Pairs()
        return (pairs.total, pairs.candidate_only), (pairs.total, pairs.stable_only)
    (n_c, k_c), (n_s, k_s) = (arm.rate(check.mark) for arm in (block.candidate, block.arm(check.control)))
    return ((n_c, n_c - k_c), (n_s, n_s - k_s)) if check.more_is_better else ((n_c, k_c), (n_s, k_s))


def _rate_llr(check: RateCheck, marks: Marks, theta: Floats, log_margin: float | None) -> Floats:
    """[1, alternatives]; nothing is bet while the margin is not known."""
    if log_margin is None:
        return np.zeros((1, len(theta)))
    if check.mark == "paired":
        return paired_llr(marks.candidate_k, marks.control_k, theta, log_margin)
    return conditional_llr(marks, theta, log_margin)


def log_odds_margin(check: RateCheck, history: Floats, ratio: float) -> float | None:
    """The ratio of rates as log odds of the worse mark, at the control's rate before this block; None when too little
    is known. With few requests a rate of less-is-better marks is taken to be low, where odds and rates are the same."""
    if ratio == 1.0 or check.mark == "paired":
        return math.log(ratio)
    good, bad = float(history[0]), float(history[1])
    if not check.more_is_better:
        rate = low_rate(history)
        return log_odds(min(0.999, ratio * rate)) - log_odds(rate)
    if good + bad < ENOUGH_HISTORY:
        return None
    rate = (bad + 0.5) / (good + bad + 1.0)
    return log_odds(min(0.999, max(1e-6, 1.0 - ratio * (1.0 - rate)))) - log_odds(rate)


def low_rate(history: Floats) -> float:
    """The control's rate of (not marked, marked) before this block, near 0 while little is known."""
    return float((history[1] + 0.5) / (history.sum() + ENOUGH_HISTORY))


def log_odds(rate: float) -> float:
    """Of a rate in (0, 1)."""
    return math.log(rate) - math.log1p(-rate)


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


def observe_limit(check: LimitCheck, state: CheckState, block: Block) -> CheckState:
    """Bets of family D on one block."""
    n, k = counts_of_limit(check, block)
    if n == 0:
        return state
    processes = dict(state.processes)
    llr = limit_llr(check, block)
    processes[HARM] = bet(processes, HARM, llr, even_prior(llr.shape[1]))
    bet_below(check, processes, k, n)
    return replace(count(state, block, Marks.of((n, k), (0, 0)), (0, 0)), processes=processes)
