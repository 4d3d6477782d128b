"""Likelihood ratios of one block: what it says against "no difference", given its totals. Pure; numpy only.

Each function returns log likelihood ratios in nats: rows are contrasts (or simulated runs), columns are alternatives.
Under its null the expectation of exp(ratio), given everything before the block, is at most 1: the factor of a test
martingale. Letters are those of the design (statistics.md 3.1). "Odds" are the candidate's over the control's.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Distances of alternatives from the margin, in log odds, in sd of the score, in log odds of the assignment.
ODDS_GRID = tuple(0.1 * 2.0 ** (step / 2) for step in range(12))
SCORE_GRID = tuple(0.02 * 2.0 ** (step / 2) for step in range(9))
MEAN_GRID = tuple(0.02 * 2.0 ** (step / 2) for step in range(12))
SHARE_GRID = tuple(0.01 * 2.0 ** (step / 2) for step in range(12))
SAFE_FRACTIONS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)

_WIDE = 256
"""Supports wider than this are summed on a circle instead of term by term; both are exact to rounding."""
_NEGLIGIBLE = 45.0
"""Terms below exp(-45) of the largest are left out: they are below the rounding of a double."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Counts of one block, one row a contrast (int or float arrays of shape [rows]): requests and marked requests."""

    candidate_n: Floats
    candidate_k: Floats
    control_n: Floats
    control_k: Floats

    @classmethod
    def of(cls, candidate: tuple[ArrayLike, ArrayLike], control: tuple[ArrayLike, ArrayLike]) -> "Marks":
        """From (n, k) of each arm; scalars become one row."""
        return cls(*(np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in (*candidate, *control)))

    @property
    def marked(self) -> Floats:
        return self.candidate_k + self.control_k


def two_sided(grid: tuple[float, ...]) -> Floats:
    """The grid upwards, then the same downwards."""
    return np.concatenate([grid, np.negative(grid)])


def log_mgf(candidate_n: ArrayLike, control_n: ArrayLike, marked: ArrayLike, theta: ArrayLike) -> Floats:
    """log E[exp(theta K)] for K ~ Hypergeometric(candidate_n + control_n, candidate_n, marked), exact to rounding.

    Counts: scalars or [rows]; theta: [alternatives] or [rows, alternatives]. Returns [rows, alternatives].
    """
    counts = (np.atleast_1d(np.asarray(count, dtype=np.float64)) for count in (candidate_n, control_n, marked))
    n_c, n_s, m = np.broadcast_arrays(*counts)
    tilts = np.broadcast_to(np.asarray(theta, dtype=np.float64), (len(n_c), np.shape(theta)[-1]))
    sums = _log_sums(n_c, n_s, m, np.concatenate([np.zeros((len(n_c), 1)), tilts], axis=1))
    moments: Floats = sums[:, 1:] - sums[:, :1]
    return moments


def _log_sums(n_c: Floats, n_s: Floats, m: Floats, theta: Floats) -> Floats:
    """log sum_k C(n_c, k) C(n_s, m - k) exp(theta k), up to a constant of the row: [rows, alternatives]."""
    first, last = np.maximum(0.0, m - n_s), np.minimum(m, n_c)
    wide = last - first > _WIDE
    if not wide.any():
        return _direct_sums(n_c, n_s, m, theta)
    sums = np.empty(theta.shape)
    sums[wide] = _circle_sums(n_c[wide, None], n_s[wide, None], m[wide, None], theta[wide])
    if not wide.all():
        sums[~wide] = _direct_sums(n_c[~wide], n_s[~wide], m[~wide], theta[~wide])
    return sums


def _direct_sums(n_c: Floats, n_s: Floats, m: Floats, theta: Floats) -> Floats:
    """Term by term, from the ratios of neighbours: no factorials."""
    first, last = np.maximum(0.0, m - n_s)[:, None], np.minimum(m, n_c)[:, None]
    k = first + np.arange(int((last - first).max()) + 1)
    inside = k < last
    up = np.where(inside, (n_c[:, None] - k) * (m[:, None] - k), 1.0)
    down = np.where(inside, (k + 1.0) * (n_s[:, None] - m[:, None] + k + 1.0), 1.0)
    steps = np.where(inside, np.log(up / down), -np.inf)[:, :-1]
    log_weights = np.concatenate([np.zeros((len(first), 1)), np.cumsum(steps, axis=1)], axis=1)
    terms = theta[:, :, None] * k[:, None, :] + log_weights[:, None, :]
    top = terms.max(axis=-1, keepdims=True)
    sums: Floats = top[..., 0] + np.log(np.exp(terms - top).sum(axis=-1))
    return sums


def _circle_sums(n_c: Floats, n_s: Floats, m: Floats, theta: Floats) -> Floats:
    """The coefficient of z^n_c in (1 + z e^theta)^m (1 + z)^(N - m), summed on the circle through its saddle point; a
    quadratic gives that. Counts: [rows, 1]. Aliases and the part of the circle left out are below exp(-45)."""
    whole, tilt = n_c + n_s, np.exp(theta)
    linear = m * tilt + (whole - m) - n_c * (tilt + 1.0)
    root = np.sqrt(linear**2 + 4.0 * tilt * n_s * n_c)
    u = np.where(linear > 0.0, 2.0 * n_c / (linear + root), (root - linear) / (2.0 * tilt * n_s))
    p = np.stack([u * tilt / (1.0 + u * tilt), u / (1.0 + u)])
    sizes = np.stack(np.broadcast_arrays(m, whole - m))
    spread = (p * (1.0 - p) * sizes).sum(axis=0)
    halves = np.ceil(5.0 * np.sqrt(spread)) + 6.0
    reach = 2.0 * np.arcsin(np.sqrt(np.minimum(1.0, _NEGLIGIBLE / 2.0 / spread)))
    points = np.minimum(halves, np.ceil(reach * (2.0 * halves + 1.0) / (2.0 * np.pi)))
    j = np.arange(int(points.max()) + 1)
    phi = 2.0 * np.pi * j / (2.0 * halves + 1.0)[..., None]
    times = np.where(j > points[..., None], 0.0, np.where(j == 0, 1.0, 2.0))
    log_size, turn = _turns(p[..., None], phi)
    log_size, turn = ((sizes[..., None] * part).sum(axis=0) for part in (log_size, turn))
    circle = (times * np.exp(log_size) * np.cos(turn - n_c[..., None] * phi)).sum(axis=-1) / (2.0 * halves + 1.0)
    base = m * np.log1p(u * tilt) + (whole - m) * np.log1p(u) - n_c * np.log(u)
    sums: Floats = base + np.log(circle)
    return sums


def _turns(p: Floats, phi: Floats) -> tuple[Floats, Floats]:
    """Log modulus and argument of 1 - p + p e^(i phi)."""
    half = np.sin(phi / 2.0)
    bend = half * half
    log_size = 0.5 * np.log(np.maximum(1.0 - 4.0 * p * (1.0 - p) * bend, 1e-300))
    turn = np.arctan2(2.0 * p * half * np.cos(phi / 2.0), 1.0 - 2.0 * p * bend)
    return log_size, turn


def conditional_llr(marks: Marks, theta: ArrayLike, log_margin: ArrayLike = 0.0) -> Floats:
    """Family A: the split of the marks given the totals, odds exp(log_margin + theta) against exp(log_margin).

    theta: [alternatives] or [rows, alternatives], all > 0 for the null "odds <= margin", all < 0 for ">= margin";
    log_margin: scalar or [rows]. Exact (hypergeometric, Fisher's noncentral); blocks that cannot tell (no marks, all
    marked, one arm empty) give 0.
    """
    tilts = np.asarray(theta, dtype=np.float64)
    base = np.broadcast_to(np.asarray(log_margin, dtype=np.float64), marks.marked.shape)[:, None]
    tilts = np.broadcast_to(tilts, (len(base), tilts.shape[-1]))
    if not marks.marked.any():
        return np.zeros(tilts.shape)
    both = np.concatenate([base, base + tilts], axis=1)
    sums = _log_sums(marks.candidate_n, marks.control_n, marks.marked, both)
    ratios: Floats = marks.candidate_k[:, None] * tilts - (sums[:, 1:] - sums[:, :1])
    return ratios


def ridits(buckets: int) -> Floats:
    """Scores of ordered buckets, mean 0 and sd 1 when all buckets are equally likely. Shape [buckets], at least 2."""
    middle = (np.arange(buckets) + 0.5) / buckets - 0.5
    scores: Floats = middle / math.sqrt((buckets**2 - 1) / 12.0) * buckets
    return scores


def tilt_llr(candidate: ArrayLike, control: ArrayLike, theta: ArrayLike) -> Floats:
    """Family B: the split of ordered buckets given the bucket totals (a sequential Wilcoxon test).

    candidate, control: counts [rows, buckets]; theta: [alternatives], in sd of the ridits. Exact for "same
    distribution": the coefficient of z^n in prod_b (1 + z exp(theta v_b))^m_b is summed on a circle through its saddle
    point, to rounding.
    """
    ours = np.atleast_2d(np.asarray(candidate, dtype=np.float64))
    totals = ours + np.atleast_2d(np.asarray(control, dtype=np.float64))
    tilts = np.asarray(theta, dtype=np.float64)
    n, whole = ours.sum(axis=1), totals.sum(axis=1)
    ratios = np.zeros((len(ours), len(tilts)))
    told = (n > 0) & (n < whole)
    if told.any():
        scores = ridits(ours.shape[1])
        both = np.concatenate([[0.0], tilts])
        logs = _log_coefficients(totals[told], n[told], both[:, None] * scores)
        ratios[told] = (ours[told] @ scores)[:, None] * tilts - (logs[:, 1:] - logs[:, :1])
    return ratios


def _log_coefficients(totals: Floats, n: Floats, tilts: Floats) -> Floats:
    """log [z^n] prod_b (1 + z exp(tilts[a, b]))^totals[r, b]: [rows, alternatives]."""
    t = _saddle(totals, n, tilts)
    at = tilts[None] + t[:, :, None]
    p = 1.0 / (1.0 + np.exp(-at))
    spread = np.einsum("rab,rb->ra", p * (1.0 - p), totals)
    halves = math.ceil(5.0 * math.sqrt(spread.max())) + 6
    reach = 2.0 * math.asin(math.sqrt(min(1.0, _NEGLIGIBLE / 2.0 / spread.min())))
    j = np.arange(min(halves, math.ceil(reach * (2 * halves + 1) / (2.0 * math.pi))) + 1)
    phi = 2.0 * np.pi * j / (2 * halves + 1)
    log_size, turn = _turns(p[..., None], phi)
    log_size, turn = (np.einsum("rabj,rb->raj", part, totals) for part in (log_size, turn))
    circle = (np.exp(log_size) * np.cos(turn - n[:, None, None] * phi)) @ np.where(j == 0, 1.0, 2.0)
    base = np.einsum("rab,rb->ra", np.logaddexp(0.0, at), totals) - n[:, None] * t
    logs: Floats = base + np.log(circle / (2 * halves + 1))
    return logs


def _saddle(totals: Floats, n: Floats, tilts: Floats) -> Floats:
    """t with sum_b totals[b] sigma(tilts[b] + t) = n, by Newton: [rows, alternatives]. Near is enough: the circle is
    exact through any point."""
    whole = totals.sum(axis=1)
    t = np.log(n / (whole - n))[:, None] - (totals @ tilts.T) / whole[:, None]
    for _ in range(60):
        p = 1.0 / (1.0 + np.exp(-(tilts[None] + t[:, :, None])))
        off = np.einsum("rab,rb->ra", p, totals) - n[:, None]
        slope = np.einsum("rab,rb->ra", p * (1.0 - p), totals)
        step = np.clip(off / np.maximum(slope, 1e-12), -2.0, 2.0)
        t = t - step
        if np.abs(step).max() < 1e-6:
            break
    saddle: Floats = t
    return saddle


def binomial_llr(hits: ArrayLike, n: ArrayLike, share: float, theta: ArrayLike) -> Floats:
    """Family C: `hits` of `n` requests went to the candidate, whose planned share is `share` (0 < share < 1).

    hits, n: [rows]; theta: [alternatives], log odds against the plan. Exact when assignment is random (Lindon & Malek
    2022).
    """
    tilts = np.asarray(theta, dtype=np.float64)
    k, total = (np.atleast_1d(np.asarray(x, dtype=np.float64))[:, None] for x in (hits, n))
    return k * tilts - total * np.log1p(share * np.expm1(tilts))


def bernoulli_llr(hits: ArrayLike, n: ArrayLike, limit: float, rates: ArrayLike) -> Floats:
    """Family D: one arm against a limit. hits, n: [rows]; rates: [alternatives], all above `limit` for the null "rate
    <= limit", all below it for "rate >= limit"; 0 < limit < 1. Exact if each conditional rate keeps to the null."""
    p = np.asarray(rates, dtype=np.float64)
    k, total = (np.atleast_1d(np.asarray(x, dtype=np.float64))[:, None] for x in (hits, n))
    return k * np.log(p / limit) + (total - k) * np.log((1.0 - p) / (1.0 - limit))


def rates_above(limit: float) -> Floats:
    """Alternatives of family D for harm: eight rates from 1.5 times the limit on. Needs 0 < limit < 0.9."""
    rates = limit * 1.5 * 2.0 ** (0.9 * np.arange(8))
    return np.clip(rates, None, np.maximum(0.95, (1.0 + limit) / 2.0))


def rates_below(limit: float) -> Floats:
    """Alternatives of family D for safety: six fractions of the limit."""
    return limit * np.asarray(SAFE_FRACTIONS)


def gaussian_llr(difference: ArrayLike, variance: ArrayLike, theta: ArrayLike) -> Floats:
    """Family E, asymptotic: for reports, never for decisions (on heavy tails its error rate doubles).

    difference: sum of h D / s [rows]; variance: sum of V / s^2 [rows]; theta: [alternatives] in sd (mixture SPRT).
    """
    tilts = np.asarray(theta, dtype=np.float64)
    u, q = (np.atleast_1d(np.asarray(x, dtype=np.float64))[:, None] for x in (difference, variance))
    return tilts * u - tilts**2 * q / 2.0


def paired_llr(candidate_only: ArrayLike, control_only: ArrayLike, theta: ArrayLike, log_margin: float = 0.0) -> Floats:
    """Family F: the same request through both versions; pairs in which only one is marked. [rows] each.

    Null: odds "only candidate" : "only control" <= exp(log_margin) for theta > 0, >= for theta < 0. Exact (McNemar).
    """
    tilts = np.asarray(theta, dtype=np.float64)
    ours, theirs = (np.atleast_1d(np.asarray(x, dtype=np.float64))[:, None] for x in (candidate_only, control_only))
    per_pair = np.logaddexp(0.0, log_margin + tilts) - np.logaddexp(0.0, log_margin)
    ratios: Floats = ours * tilts - (ours + theirs) * per_pair
    return ratios
