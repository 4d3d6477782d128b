"""Sums over the ways to split marked requests between two arms: hypergeometric moments, exact. Pure; numpy only."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_WIDE = 256
"""Supports wider than this are summed on a circle instead of term by term; both are exact to rounding."""
NEGLIGIBLE = 45.0
"""Terms below exp(-45) of the largest are left out: they are below the rounding of a double."""
_REACH = 640.0
"""Powers in a product of matrices stay within exp(+-640); a double ends at exp(709)."""
_TOGETHER, _FEW = 1 << 17, 1 << 14
"""So many terms are summed at a time (1 MB), and so few that sorting them costs more than it saves."""


def log_mgf(candidate_n: ArrayLike, control_n: ArrayLike, marked: ArrayLike, theta: ArrayLike) -> Floats:
    """log E[exp(theta K)] for K ~ Hypergeometric(candidate_n + control_n, candidate_n, marked), exact to rounding.

    Counts: scalars or [rows]; theta: [alternatives] or [rows, alternatives]. Returns [rows, alternatives].
    """
    counts = (np.atleast_1d(np.asarray(count, dtype=np.float64)) for count in (candidate_n, control_n, marked))
    n_c, n_s, m = np.broadcast_arrays(*counts)
    tilts = np.asarray(theta, dtype=np.float64)
    sums = log_sums((n_c, n_s, m), np.concatenate([np.zeros((*tilts.shape[:-1], 1)), tilts], axis=-1))
    moments: Floats = sums[:, 1:] - sums[:, :1]
    return moments


Counts = tuple[Floats, Floats, Floats]
"""Requests of the candidate and of the control, and marked ones of both: [rows] each."""


def log_sums(counts: Counts, theta: Floats) -> Floats:
    """log sum_k C(n_c, k) C(n_s, m - k) exp(theta k), up to a constant of the row: [rows, alternatives]. theta:
    [alternatives] or [rows, alternatives]. Many rows are sorted: those of like support are taken together, so that few
    terms are padding and a processor's cache holds them."""
    n_c, n_s, m = counts
    support = np.minimum(m, n_c) - np.maximum(0.0, m - n_s)
    alternatives, widest = theta.shape[-1], float(np.maximum.reduce(support))
    wide = widest > _WIDE
    if wide == (float(np.minimum.reduce(support)) > _WIDE) and len(m) * alternatives * _terms(widest) <= _FEW:
        return _way(wide, theta)(counts, theta)
    order, sums, first = np.argsort(support, kind="stable"), np.empty((len(m), alternatives)), 0
    ranked = support[order]
    while first < len(order):
        last = _alike(ranked, first, alternatives)
        rows = order[first:last]
        own = theta if theta.ndim == 1 else theta[rows]
        sums[rows] = _way(ranked[first] > _WIDE, theta)((n_c[rows], n_s[rows], m[rows]), own)
        first = last
    return sums


def _way(wide: bool, theta: Floats) -> Callable[[Counts, Floats], Floats]:
    return _circle_sums if wide else _power_sums if theta.ndim == 1 else _direct_sums


def _terms(support: float) -> float:
    """About how many terms a sum over such a support has; a circle is cut to some twenty points, for two factors."""
    return support + 1.0 if support <= _WIDE else 40.0


def _alike(ranked: Floats, first: int, alternatives: int) -> int:
    """The end of the rows from `first` on that are summed together: supports within a quarter of each other."""
    least = float(ranked[first])
    most = max(4.0, 1.25 * least)
    end = int(np.searchsorted(ranked, most if least > _WIDE else min(most, _WIDE), side="right"))
    return min(end, first + max(1, int(_TOGETHER / alternatives / _terms(float(ranked[end - 1])))))


def log_weights(counts: Counts) -> tuple[Floats, Floats]:
    """The first k of each row [rows], and log C(n_c, k) C(n_s, m - k) from there on, from the ratios of neighbours (no
    factorials): [rows, terms], -inf behind the last."""
    n_c, n_s, m = (count[:, None] for count in counts)
    first, last = np.maximum(0.0, m - n_s), np.minimum(m, n_c)
    k = first + np.arange(int((last - first).max()))
    with np.errstate(divide="ignore"):  # log 0 = -inf behind the last
        steps = np.log(np.maximum(n_c - k, 0.0) * np.maximum(m - k, 0.0) / ((k + 1.0) * (n_s - m + 1.0 + k)))
    logs = np.zeros((len(first), k.shape[1] + 1))
    np.add.accumulate(steps, axis=1, out=logs[:, 1:])
    return first[:, 0], logs


def _direct_sums(counts: Counts, theta: Floats) -> Floats:
    """Term by term, each row with alternatives of its own."""
    first, logs = log_weights(counts)
    k = first[:, None] + np.arange(logs.shape[1])
    terms = theta[:, :, None] * k[:, None, :] + logs[:, None, :]
    top = terms.max(axis=-1, keepdims=True)
    sums: Floats = top[..., 0] + np.log(np.exp(terms - top).sum(axis=-1))
    return sums


def _power_sums(counts: Counts, theta: Floats) -> Floats:
    """The same for alternatives that all rows share: one product of matrices. A row's weights are at most 1 and powers
    within exp(+-_REACH), so that a term that underflows is below the rounding of the sum."""
    first, logs = log_weights(counts)
    terms = np.arange(logs.shape[1])
    if np.abs(theta).max() * terms[-1] > _REACH:
        return _direct_sums(counts, np.broadcast_to(theta, (len(first), len(theta))))
    top = logs.max(axis=1, keepdims=True)
    powers = np.exp(logs - top) @ np.exp(terms[:, None] * theta)
    sums: Floats = top + np.log(powers) + first[:, None] * theta
    return sums


def _circle_sums(counts: Counts, theta: Floats) -> Floats:
    """The coefficient of z^n_c in (1 + z e^theta)^m (1 + z)^(N - m), summed on the circle through its saddle point; a
    quadratic gives that. Aliases and the part of the circle left out are below exp(-45)."""
    n_c, n_s, m = (count[:, None] for count in counts)
    whole, tilt = n_c + n_s, np.exp(theta)
    linear = m * tilt + (whole - m) - n_c * (tilt + 1.0)
    root = np.sqrt(linear**2 + 4.0 * tilt * n_s * n_c)
    u = np.where(linear > 0.0, 2.0 * n_c / (linear + root), (root - linear) / (2.0 * tilt * n_s))
    p = np.stack([u * tilt / (1.0 + u * tilt), u / (1.0 + u)])
    sizes = np.stack(np.broadcast_arrays(m, whole - m))
    spread = (p * (1.0 - p) * sizes).sum(axis=0)
    halves = np.ceil(5.0 * np.sqrt(spread)) + 6.0
    reach = 2.0 * np.arcsin(np.sqrt(np.minimum(1.0, NEGLIGIBLE / 2.0 / spread)))
    points = np.minimum(halves, np.ceil(reach * (2.0 * halves + 1.0) / (2.0 * np.pi)))
    j = np.arange(int(points.max()) + 1)
    phi = 2.0 * np.pi * j / (2.0 * halves + 1.0)[..., None]
    times = np.where(j > points[..., None], 0.0, np.where(j == 0, 1.0, 2.0))
    log_size, turn = turns(p[..., None], phi)
    log_size, turn = ((sizes[..., None] * part).sum(axis=0) for part in (log_size, turn))
    circle = (times * np.exp(log_size) * np.cos(turn - n_c[..., None] * phi)).sum(axis=-1) / (2.0 * halves + 1.0)
    base = m * np.log1p(u * tilt) + (whole - m) * np.log1p(u) - n_c * np.log(u)
    sums: Floats = base + np.log(circle)
    return sums


def turns(p: Floats, phi: Floats) -> tuple[Floats, Floats]:
    """Log modulus and argument of 1 - p + p e^(i phi)."""
    half = np.sin(phi / 2.0)
    bend = half * half
    log_size = 0.5 * np.log(np.maximum(1.0 - 4.0 * p * (1.0 - p) * bend, 1e-300))
    turn = np.arctan2(2.0 * p * half * np.cos(phi / 2.0), 1.0 - 2.0 * p * bend)
    return log_size, turn
