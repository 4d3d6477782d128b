"""How much more two arms differ from block to block than chance would make them: clusters of alike requests. Pure.

Requests that wait behind one slow run are slow together, all in one arm, and then marks are no independent draws. From
block to block they show it: what the candidate has above its share of the marks jumps by more than the hypergeometric
variance. Bets are divided by that factor (tempered), as far as earlier blocks show it beyond doubt; a lasting
difference between the versions does not count, since it is the same in two blocks that follow one another (von Neumann
et al. 1941, "The mean square successive difference").
"""

import math

import numpy as np

from router.families import Floats, Marks

HALF_LIFE = 300.0
"""Blocks after which a jump counts half."""
DOUBT = 2.0
"""So many standard errors are taken off before a factor is believed."""
CELLS = 5
"""What is kept of each row: how many jumps, their squares, their variances, and the last residual and its variance."""

_FADE = 0.5 ** (1.0 / HALF_LIFE)


def factors(before: Floats, marks: Marks, rows: int) -> tuple[Floats, Floats]:
    """By how much each bet is to be divided, at least 1, [T, rows], from the blocks before each; and what is known
    after all of them. before: [rows, CELLS]; marks: T blocks x rows, flat. Blocks without marks tell nothing."""
    residuals, variances = (each.reshape(-1, rows) for each in _residuals(marks))
    seen, found = before.T.copy(), np.ones_like(residuals)
    jumps, squares, expected, last, last_variance = seen
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


def _residuals(marks: Marks) -> tuple[Floats, Floats]:
    """What the candidate has above its share of the marks, and the variance of that if chance alone dealt them."""
    n_c, k_c, n_s, k_s = marks.candidate_n, marks.candidate_k, marks.control_n, marks.control_k
    whole, marked = n_c + n_s, k_c + k_s
    size = np.maximum(whole, 1.0)
    share = n_c / size
    variance = marked * (size - marked) * share * (1.0 - share) / np.maximum(size - 1.0, 1.0)
    told = variance > 0.0
    return np.where(told, k_c - marked * share, 0.0), np.where(told, variance, 0.0)


def nothing(rows: int) -> Floats:
    """Before the first block."""
    return np.zeros((rows, CELLS))


def tempered(llr: Floats, found: Floats) -> Floats:
    """llr: [T, rows, alternatives], divided by the factors of its rows."""
    if math.isclose(float(found.max(initial=1.0)), 1.0):
        return llr
    divided: Floats = llr / found[:, : llr.shape[1], None]
    return divided
