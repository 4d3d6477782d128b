"""How much more two arms differ from block to block than chance would make them: clusters of alike requests. Pure.

Requests that wait behind one slow run are slow together, all in one arm, and then marks are no independent draws. From
block to block they show it: what the candidate has above its share of the marks jumps by more than the hypergeometric
variance. Bets are divided by that factor (tempered), as far as earlier blocks show it beyond doubt. A lasting
difference between the versions is no cluster: where the candidate is marked more often it has more luck too, good and
bad, so what is due to it and how far that varies go by the odds ratio of the arms. And a jump is what two blocks that
follow one another differ by (von Neumann et al. 1941, "The mean square successive difference").
"""

import math

import numpy as np

from router.families import Floats, Marks

HALF_LIFE = 300.0
"""Blocks after which a jump counts half."""
DOUBT = 2.0
"""So many standard errors are taken off before a factor is believed."""
CELLS = 7
"""What is kept of each row: how many jumps, their squares, their variances, the last residual and its variance, and the
two sums whose quotient is the odds ratio of the arms."""

_FADE = 0.5 ** (1.0 / HALF_LIFE)
_UNTOLD = 0.05
"""Added to both of these sums, so that the arms are alike until something else is seen."""


def factors(before: Floats, marks: Marks, rows: int) -> tuple[Floats, Floats]:
    """By how much each bet is to be divided, at least 1, [T, rows], from the blocks before each; and what is known
    after all of them. before: [rows, CELLS], or fewer as an earlier release kept it; marks: T blocks x rows, flat.
    Blocks without marks tell nothing."""
    seen = np.zeros((CELLS, rows))
    seen[: before.shape[1]] = before.T
    odds = _odds(seen[5:], marks, rows)
    residuals, variances = (each.reshape(-1, rows) for each in _residuals(marks, odds))
    found = np.ones_like(residuals)
    jumps, squares, expected, last, last_variance = seen[:5]
    for at, (residual, variance) in enumerate(zip(residuals, variances, strict=True)):
        beyond = squares / np.maximum(expected, 1e-12) - DOUBT * np.sqrt(3.0 / np.maximum(jumps, 1e-12))
        np.maximum(1.0, beyond, out=found[at])
        told = variance > 0.0
        follows = told & (last_variance > 0.0)
        seen[:3] *= np.where(follows, _FADE, 1.0)
        jumps += follows
        squares += np.where(follows, (residual - last) ** 2, 0.0)
        expected += np.where(follows, variance + last_variance, 0.0)
        np.copyto(last, residual, where=told)
        np.copyto(last_variance, variance, where=told)
    return found, seen.T


def _odds(sums: Floats, marks: Marks, rows: int) -> Floats:
    """The odds ratio of the arms as it shows by the end of each block, flat, at least 1 (Mantel & Haenszel 1959: the
    sums over blocks of what speaks for the candidate's being marked more, and less). sums: [2, rows], moved on."""
    n_c, k_c, n_s, k_s = marks.candidate_n, marks.candidate_k, marks.control_n, marks.control_k
    whole = np.maximum(n_c + n_s, 1.0)
    added = np.stack([k_c * (n_s - k_s) / whole, k_s * (n_c - k_c) / whole]).reshape(2, -1, rows)
    found = np.empty(added.shape[1:])
    for at in range(len(found)):
        sums *= np.where(added[:, at].any(axis=0), _FADE, 1.0)
        sums += added[:, at]
        np.divide(sums[0] + _UNTOLD, sums[1] + _UNTOLD, out=found[at])
    odds: Floats = np.maximum(1.0, found).ravel()
    return odds


def _residuals(marks: Marks, odds: Floats) -> tuple[Floats, Floats]:
    """What the candidate has above what it would have of the marks at these odds, and the variance of that if chance
    alone dealt them: the mode of Fisher's noncentral hypergeometric distribution and its approximate variance (Levin
    1984), and no less than without a difference."""
    n_c, k_c, n_s, k_s = marks.candidate_n, marks.candidate_k, marks.control_n, marks.control_k
    whole, marked = n_c + n_s, k_c + k_s
    size = np.maximum(whole, 1.0)
    share = n_c / size
    even = marked * (size - marked) * share * (1.0 - share) / np.maximum(size - 1.0, 1.0)
    told = even > 0.0
    middle = odds * (marked + n_c) + n_s - marked
    root = np.sqrt(middle**2 - 4.0 * odds * (odds - 1.0) * marked * n_c)
    due = 2.0 * odds * marked * n_c / np.maximum(middle + root, 1e-12)
    parts = np.maximum(np.stack([due, n_c - due, marked - due, n_s - marked + due]), 1e-12)
    uneven = size / np.maximum(size - 1.0, 1.0) / (1.0 / parts).sum(axis=0)
    return np.where(told, k_c - due, 0.0), np.where(told, np.maximum(even, uneven), 0.0)


def nothing(rows: int) -> Floats:
    """Before the first block."""
    return np.zeros((rows, CELLS))


def tempered(llr: Floats, found: Floats) -> Floats:
    """llr: [T, rows, alternatives], divided by the factors of its rows."""
    if math.isclose(float(found.max(initial=1.0)), 1.0):
        return llr
    divided: Floats = llr / found[:, : llr.shape[1], None]
    return divided
