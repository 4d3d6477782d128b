"""What one block adds to a check of predictions: shares of classes, the distribution of a score. Pure; numpy only."""

from dataclasses import replace

import numpy as np

from router.evidence import Block
from router.families import ODDS_GRID, SCORE_GRID, Floats, Marks, conditional_llr, tilt_llr, two_sided
from router.ledger import ENOUGH_HISTORY, HARM, CheckState, bet, cells_of, count
from router.sequential import ClassCheck, ScoreCheck
from router.wealth import even_prior


def observe_classes(check: ClassCheck, state: CheckState, block: Block) -> CheckState:
    """Bets of family A on one block, up and down, a row for each class."""
    ours, theirs = cells_of(check, block.candidate.classes, block.arm(check.control).classes, check.classes)
    n_c, n_s = float(ours.sum()), float(theirs.sum())
    if n_c + n_s == 0.0:
        return state
    marks = Marks(np.full(len(ours), n_c), ours, np.full(len(ours), n_s), theirs)
    llr = _class_llr(check, marks, state.history)
    processes = {HARM: bet(state.processes, HARM, llr, even_prior(llr.shape[1]))}
    likelihood = state.likelihood + _share_moments(n_c, n_s, ours, theirs)
    return replace(count(state, block, marks, theirs), processes=processes, likelihood=likelihood)


def _class_llr(check: ClassCheck, marks: Marks, history: Floats) -> Floats:
    """[classes, up and down]. The tolerance becomes odds at the control's shares before this block."""
    if check.tolerance == 0.0:
        return conditional_llr(marks, two_sided(ODDS_GRID))
    seen = float(history.sum())
    if seen < ENOUGH_HISTORY:
        return np.zeros((check.classes, 2 * len(ODDS_GRID)))
    shares = (history + 0.5) / (seen + 0.5 * check.classes)
    return np.concatenate([_off(marks, shares, sign * check.tolerance) for sign in (1.0, -1.0)], axis=1)


def _off(marks: Marks, shares: Floats, tolerance: float) -> Floats:
    """Share above share + tolerance (or below, for a negative one); a bound outside (0, 1) cannot be passed."""
    bounds = shares + tolerance
    possible = (bounds > 0.0) & (bounds < 1.0)
    inside = np.where(possible, bounds, 0.5)
    margins = np.log(inside / (1.0 - inside)) - np.log(shares / (1.0 - shares))
    grid = np.sign(tolerance) * np.asarray(ODDS_GRID)
    return np.where(possible[:, None], conditional_llr(marks, grid, margins), 0.0)


def _share_moments(n_c: float, n_s: float, ours: Floats, theirs: Floats) -> Floats:
    """(sum h D, sum h, sum V) of the difference in shares: [classes, 3]; zeros when an arm is empty."""
    if n_c == 0.0 or n_s == 0.0:
        return np.zeros((len(ours), 3))
    whole = n_c + n_s
    h, shares = n_c * n_s / whole, (ours + theirs) / whole
    return np.stack([h * (ours / n_c - theirs / n_s), np.full(len(ours), h), h * shares * (1.0 - shares)], axis=1)


def observe_score(check: ScoreCheck, state: CheckState, block: Block) -> CheckState:
    """Bets of family B on one block."""
    ours, theirs = cells_of(check, block.candidate.scores, block.arm(check.control).scores, check.buckets)
    n_c, n_s = float(ours.sum()), float(theirs.sum())
    if n_c + n_s == 0.0:
        return state
    llr = tilt_llr(ours, theirs, two_sided(SCORE_GRID))
    processes = {HARM: bet(state.processes, HARM, llr, even_prior(llr.shape[1]))}
    likelihood = state.likelihood + _shift_moments(n_c, n_s, ours, theirs)
    state = count(state, block, Marks.of((n_c, 0.0), (n_s, 0.0)), theirs)
    return replace(state, processes=processes, likelihood=likelihood)


def _shift_moments(n_c: float, n_s: float, ours: Floats, theirs: Floats) -> Floats:
    """(sum h D, sum h, sum V) of D = P(candidate's score is higher) + P(same bucket) / 2 - 1/2, block by block, so that
    a ramp under drift cannot confound it (van Elteren 1960): [1, 3]."""
    if n_c == 0.0 or n_s == 0.0:
        return np.zeros((1, 3))
    whole, totals = n_c + n_s, ours + theirs
    shift = float(ours @ (np.cumsum(theirs) - 0.5 * theirs)) / (n_c * n_s) - 0.5
    h = n_c * n_s / whole
    ties = float((totals**3 - totals).sum()) / (whole * (whole - 1.0))
    return np.array([[h * shift, h, h * (whole + 1.0 - ties) / (12.0 * whole)]])
