"""What blocks add to a check of predictions: shares of classes, the distribution of a score. Pure; numpy only."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from router.evidence import Block
from router.families import DOWNWARDS, SCORE_GRID, UPWARDS, Floats, Marks, tilt_llr, two_sided
from router.ledger import (
    ENOUGH_HISTORY,
    HARM,
    RECENT,
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
    summed,
    told_cells,
)
from router.sequential import ClassCheck, ScoreCheck, SequentialCheck
from router.tilts import Ask
from router.wealth import Played, even_prior, log_mean_exp


def observe_classes(check: ClassCheck, state: CheckState, blocks: Sequence[Block]) -> Observing:
    """Bets of family A on a run of blocks, up and down, a row for each class."""
    ours, theirs, told = _both(check, blocks, "classes", check.classes)
    if not told.any():
        return Observed(state, told)
    n_c, n_s = (np.repeat(cells.sum(axis=1), check.classes) for cells in (ours, theirs))
    seen = histories(state.history, theirs, RECENT)
    run = Run(Marks(n_c, ours.ravel(), n_s, theirs.ravel()), epochs_of(blocks, told), seen)
    found = yield _off(check, run)
    llr = np.concatenate(found, axis=1)
    bets = Bets(state)
    bets.add(HARM, llr.reshape(len(ours), check.classes, -1), even_prior(llr.shape[1]))

    def settle(played: Mapping[str, Played]) -> Observed:
        likelihood = summed(state.likelihood, _share_moments(ours, theirs))[-1]
        return Observed(count(state, run, bets.after(played), likelihood), told, log_mean_exp(played[HARM].path))

    return Placed(bets, settle)


def _both(
    check: SequentialCheck, blocks: Sequence[Block], family: str, cells: int
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Both arms' cells in the blocks that have any, [T, cells] each, and which blocks these are."""
    ours = cells_of(check, [getattr(block.candidate, family) for block in blocks], cells)
    theirs = cells_of(check, [getattr(block.arm(check.control), family) for block in blocks], cells)
    told = told_cells(ours, theirs)
    return ours[told], theirs[told], told


def _off(check: ClassCheck, run: Run) -> tuple[Ask, Ask]:
    """Share above share + tolerance, and below share - tolerance, at the control's shares before each block; a bound
    outside (0, 1) cannot be passed, and nothing is said before enough is known."""
    if check.tolerance == 0.0:
        return Ask(run.marks, UPWARDS), Ask(run.marks, DOWNWARDS)
    before = run.histories[:-1]
    seen = before.sum(axis=1, keepdims=True)
    shares = ((before + 0.5) / (seen + 0.5 * check.classes)).ravel()
    bounds = np.stack([shares + check.tolerance, shares - check.tolerance])
    known = (bounds > 0.0) & (bounds < 1.0) & np.repeat(seen[:, 0] >= ENOUGH_HISTORY, check.classes)
    inside = np.where(known, bounds, 0.5)
    margins = np.where(known, np.log(inside / (1.0 - inside)) - np.log(shares / (1.0 - shares)), math.nan)
    return Ask(run.marks, UPWARDS, margins[0]), Ask(run.marks, DOWNWARDS, margins[1])


def _share_moments(ours: Floats, theirs: Floats) -> Floats:
    """(sum h D, sum h, sum V) of the difference in shares, [T, classes, 3]; zeros where an arm is empty."""
    n_c, n_s = ours.sum(axis=1, keepdims=True), theirs.sum(axis=1, keepdims=True)
    whole = n_c + n_s
    h, shares = n_c * n_s / whole, (ours + theirs) / whole
    shift = ours / np.maximum(n_c, 1.0) - theirs / np.maximum(n_s, 1.0)
    return np.stack([h * shift, np.broadcast_to(h, ours.shape), h * shares * (1.0 - shares)], axis=2)


def observe_score(check: ScoreCheck, state: CheckState, blocks: Sequence[Block]) -> Observing:
    """Bets of family B on a run of blocks. There is no harm while the estimated shift is below its gate."""
    ours, theirs, told = _both(check, blocks, "scores", check.buckets)
    if not told.any():
        return Observed(state, told)
    n_c, n_s, nothing = ours.sum(axis=1), theirs.sum(axis=1), np.zeros(len(ours))
    run = Run(Marks(n_c, nothing, n_s, nothing), epochs_of(blocks, told), histories(state.history, theirs))
    bets, llr = Bets(state), tilt_llr(ours, theirs, two_sided(SCORE_GRID))
    bets.add(HARM, llr[:, None], even_prior(llr.shape[1]))
    yield ()  # nothing is asked of family A

    def settle(played: Mapping[str, Played]) -> Observed:
        path = played[HARM].path[:, 0]
        likelihood = summed(state.likelihood, _shift_moments(ours, theirs)[:, None])
        weighted, weight = likelihood[:, 0, 0], likelihood[:, 0, 1]
        closed = np.abs(weighted) < check.min_auc_shift * weight
        harm = np.where(closed | (weight == 0.0), np.minimum(path, 0.0), path)
        return Observed(count(state, run, bets.after(played), likelihood[-1]), told, harm)

    return Placed(bets, settle)


def _shift_moments(ours: Floats, theirs: Floats) -> Floats:
    """(sum h D, sum h, sum V) of D = P(candidate's score is higher) + P(same bucket) / 2 - 1/2, block by block, so that
    a ramp under drift cannot confound it (van Elteren 1960): [T, 3]; zeros where an arm is empty."""
    n_c, n_s, totals = ours.sum(axis=1), theirs.sum(axis=1), ours + theirs
    whole = n_c + n_s
    shift = (ours * (np.add.accumulate(theirs, axis=1) - 0.5 * theirs)).sum(axis=1) / np.maximum(n_c * n_s, 1.0) - 0.5
    h = n_c * n_s / whole
    ties = (totals**3 - totals).sum(axis=1) / (whole * np.maximum(whole - 1.0, 1.0))
    return np.stack([h * shift, h, h * (whole + 1.0 - ties) / (12.0 * whole)], axis=1)
