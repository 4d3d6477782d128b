"""Likelihood ratios of one block: what it says against "no difference", given its totals. Pure; numpy only.

Each function returns log likelihood ratios in nats: rows are contrasts (or simulated runs), columns are alternatives.
Under its null the expectation of exp(ratio), given everything before the block, is at most 1: the factor of a test
martingale. Letters are those of the design (statistics.md 3.1). "Odds" are the candidate's over the control's.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from router.hypergeometric import NEGLIGIBLE, log_sums, turns

Floats = NDArray[np.float64]

# Distances of alternatives from the margin, in log odds, in sd of the score, in log odds of the assignment.
ODDS_GRID = tuple(0.1 * 2.0 ** (step / 2) for step in range(12))
SCORE_GRID = tuple(0.02 * 2.0 ** (step / 2) for step in range(9))
MEAN_GRID = tuple(0.02 * 2.0 ** (step / 2) for step in range(12))
SHARE_GRID = tuple(0.01 * 2.0 ** (step / 2) for step in range(12))
SAFE_FRACTIONS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


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

    @property
    def totals(self) -> tuple[Floats, Floats, Floats]:
        """Requests of the candidate and of the control, and the marked ones of both."""
        return self.candidate_n, self.control_n, self.marked


def _fixed(numbers: Floats) -> Floats:
    numbers.flags.writeable = False
    return numbers


UPWARDS, DOWNWARDS = _fixed(np.asarray(ODDS_GRID)), _fixed(np.negative(ODDS_GRID))
"""Alternatives of family A for "more often" and "less often"."""


@cache
def two_sided(grid: tuple[float, ...]) -> Floats:
    """The grid upwards, then the same downwards; not to be written to."""
    return _fixed(np.concatenate([grid, np.negative(grid)]))


def conditional_llr(marks: Marks, theta: ArrayLike, log_margin: ArrayLike = 0.0) -> Floats:
    """Family A: the split of the marks given the totals, odds exp(log_margin + theta) against exp(log_margin).

    theta: [alternatives] or [rows, alternatives], all > 0 for the null "odds <= margin", all < 0 for ">= margin";
    log_margin: scalar or [rows]. Exact (hypergeometric, Fisher's noncentral); blocks that cannot tell (no marks, all
    marked, one arm empty) give 0.
    """
    tilts, base = np.asarray(theta, dtype=np.float64), np.asarray(log_margin, dtype=np.float64)
    marked, whole = marks.marked, marks.candidate_n + marks.control_n
    can = (marked > 0) & (marked < whole) & (marks.candidate_n > 0) & (marks.control_n > 0)
    ratios = np.zeros((len(marked), tilts.shape[-1]))
    if not can.any():
        return ratios
    told = slice(None) if can.all() else can
    if tilts.ndim == 2:
        tilts = tilts[told]
    if base.ndim == 1:
        base = base[told, None]
    elif tilts.ndim == 2:
        base = np.full((len(tilts), 1), float(base))
    else:
        base = base.reshape(1)
    both = np.concatenate([base, base + tilts], axis=-1)
    sums = log_sums((marks.candidate_n[told], marks.control_n[told], marked[told]), both)
    ratios[told] = marks.candidate_k[told, None] * tilts - (sums[:, 1:] - sums[:, :1])
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
    reach = 2.0 * math.asin(math.sqrt(min(1.0, NEGLIGIBLE / 2.0 / spread.min())))
    j = np.arange(min(halves, math.ceil(reach * (2 * halves + 1) / (2.0 * math.pi))) + 1)
    phi = 2.0 * np.pi * j / (2 * halves + 1)
    log_size, turn = turns(p[..., None], phi)
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


def binomial_llr(hits: ArrayLike, n: ArrayLike, share: ArrayLike, theta: ArrayLike) -> Floats:
    """Family C: `hits` of `n` requests went to the candidate, whose planned share is `share` (0 < share < 1).

    hits, n: [rows]; share: one, or [rows, 1]; theta: [alternatives], log odds against the plan. Exact when assignment
    is random (Lindon & Malek 2022).
    """
    tilts = np.asarray(theta, dtype=np.float64)
    k, total = (np.atleast_1d(np.asarray(x, dtype=np.float64))[:, None] for x in (hits, n))
    ratios: Floats = k * tilts - total * np.log1p(np.asarray(share) * np.expm1(tilts))
    return ratios


def bernoulli_llr(hits: ArrayLike, n: ArrayLike, limit: ArrayLike, rates: ArrayLike) -> Floats:
    """Family D: one arm against a limit, [..., alternatives]. hits, n, limit: [...], of shapes that fit each other;
    rates: [..., alternatives], all above `limit` for the null "rate <= limit", all below it for "rate >= limit"; 0 <
    limit < 1. Exact if each conditional rate keeps to the null."""
    p, bound = np.asarray(rates, dtype=np.float64), np.asarray(limit, dtype=np.float64)[..., None]
    k, total = (np.atleast_1d(np.asarray(x, dtype=np.float64))[..., None] for x in (hits, n))
    llr: Floats = k * np.log(p / bound) + (total - k) * np.log((1.0 - p) / (1.0 - bound))
    return llr


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


def paired_llr(
    candidate_only: ArrayLike, control_only: ArrayLike, theta: ArrayLike, log_margin: ArrayLike = 0.0
) -> Floats:
    """Family F: the same request through both versions; pairs in which only one is marked. [rows] each.

    Null: odds "only candidate" : "only control" <= exp(log_margin) for theta > 0, >= for theta < 0. Exact (McNemar).
    """
    tilts = np.asarray(theta, dtype=np.float64)
    ours, theirs = (np.atleast_1d(np.asarray(x, dtype=np.float64))[:, None] for x in (candidate_only, control_only))
    margin = np.asarray(log_margin, dtype=np.float64)
    per_pair = np.logaddexp(0.0, margin + tilts) - np.logaddexp(0.0, margin)
    ratios: Floats = ours * tilts - (ours + theirs) * per_pair
    return ratios
