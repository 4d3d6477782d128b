"""Intervals that hold at every look, and how many requests a decision still needs. For reports. Pure; numpy only."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from router.families import ODDS_GRID, SAFE_FRACTIONS, Floats, Marks, conditional_llr, paired_llr

RATIO_POINTS = 81
RATIO_REACH = 5.0
_BEND = 3.5


@cache
def ratio_grid() -> Floats:
    """Log odds ratios at which likelihoods are kept: 81 points in [-5, 5], 0.03 apart near 0 and 0.4 at the ends; not
    to be written to."""
    at = np.linspace(-1.0, 1.0, RATIO_POINTS)
    points: Floats = RATIO_REACH * np.sinh(_BEND * at) / math.sinh(_BEND)
    points.flags.writeable = False
    return points


def ratio_likelihood(marks: Marks) -> Floats:
    """What one block adds to the log likelihood of each point of `ratio_grid`: [rows, points]."""
    return conditional_llr(marks, ratio_grid())


def paired_likelihood(candidate_only: ArrayLike, control_only: ArrayLike) -> Floats:
    """The same for discordant pairs: [rows, points]."""
    return paired_llr(candidate_only, control_only, ratio_grid())


def ratio_interval(likelihood: Floats, alpha: float) -> tuple[float, float, float]:
    """(low, most likely, high) odds ratio, from the summed log likelihoods [points].

    A confidence sequence: with probability 1 - alpha it holds the true odds ratio at every look, if that is constant
    (mixture martingale, statistics.md 3.4). Between points the likelihood is read from a parabola through the three
    nearest; where it does not fall within the grid the border is 0 or inf.
    """
    grid, top = ratio_grid(), likelihood.max()
    level = top + math.log(np.exp(likelihood - top).mean()) - math.log(1.0 / alpha)
    inside = np.flatnonzero(likelihood > level)
    low = -_upper(-grid[::-1], likelihood[::-1], len(grid) - 1 - int(inside[0]), level)
    high = _upper(grid, likelihood, int(inside[-1]), level)
    return math.exp(low), math.exp(float(grid[likelihood.argmax()])), math.exp(high)


def _upper(grid: Floats, likelihood: Floats, last: int, level: float) -> float:
    """Where the likelihood falls to `level` behind the point `last`, the last one above it."""
    if last + 1 >= len(grid):
        return math.inf
    first = min(max(last - 1, 0), len(grid) - 3)
    x, y = grid[first : first + 3], likelihood[first : first + 3]
    slope = (y[1] - y[0]) / (x[1] - x[0])
    bend = ((y[2] - y[1]) / (x[2] - x[1]) - slope) / (x[2] - x[0])

    def excluded(theta: float) -> bool:
        return bool(y[0] + (theta - x[0]) * (slope + bend * (theta - x[1])) <= level)

    return _border(excluded, float(grid[last + 1]), float(grid[last]))


def rate_interval(hits: int, n: int, alpha: float) -> tuple[float, float, float]:
    """(low, estimate, high) of one arm's rate that holds at every look, if the rate is constant: the likelihood mixed
    over Jeffreys' prior against each rate (Robbins 1970). (0, 0, 1) without data."""
    if n == 0:
        return 0.0, 0.0, 1.0
    mixed = math.lgamma(hits + 0.5) + math.lgamma(n - hits + 0.5) - math.lgamma(n + 1.0) - math.log(math.pi)

    def excluded(rate: float) -> bool:
        likelihood = (hits and hits * math.log(rate)) + (n - hits and (n - hits) * math.log1p(-rate))
        return mixed - likelihood >= math.log(1.0 / alpha)

    estimate = hits / n
    low = _border(excluded, 1e-12, estimate) if hits else 0.0
    return low, estimate, _border(excluded, 1.0 - 1e-12, estimate) if hits < n else 1.0


def _border(excluded: Callable[[float], bool], outside: float, inside: float) -> float:
    """The excluded rate next to the included ones, by bisection; `outside` when none is excluded."""
    if not excluded(outside):
        return outside
    for _ in range(60):
        middle = (outside + inside) / 2.0
        outside, inside = (middle, inside) if excluded(middle) else (outside, middle)
    return outside


def mean_interval(
    moments: Sequence[float], alpha: float, optimal_variance: float = 100.0
) -> tuple[float, float, float]:
    """(low, estimate, high) of a difference D of means from its sums (sum h D, sum h, sum V), where h = n_c n_s / N.

    Asymptotic: right for large samples only (Waudby-Smith et al. 2024, normal mixture); tightest where sum V / variance
    is near `optimal_variance`. Without data: (-inf, 0, inf).
    """
    weighted, weight, variance = moments
    if weight <= 0.0 or variance <= 0.0:
        return -math.inf, 0.0, math.inf
    surprise = math.log(1.0 / alpha)
    scale = optimal_variance * variance / weight
    rho2 = scale / (2.0 * surprise + math.log1p(2.0 * surprise))
    reach = math.sqrt((variance + rho2) * math.log((variance + rho2) / (alpha**2 * rho2))) / weight
    return weighted / weight - reach, weighted / weight, weighted / weight + reach


def quantile_band(n: int, alpha: float = 0.05) -> float:
    """Half the width of a band around one arm's empirical distribution that holds at every n >= 32, for plots only.
    alpha: 0.05, 0.025 or 0.01. Exact for independent, identically distributed data (Howard & Ramdas 2022, Thm 2)."""
    constant = {0.05: 8.12, 0.025: 8.62, 0.01: 9.28}[alpha]
    if n < 32:
        return 1.0
    return min(1.0, 0.85 * math.sqrt((math.log1p(math.log(n / 32.0)) + constant) / n))


def _split_divergence(share: float, other: float) -> float:
    """Kullback-Leibler divergence of Bernoulli(share) from Bernoulli(other), nats."""
    return share * math.log(share / other) + (1.0 - share) * math.log((1.0 - share) / (1.0 - other))


def _tilted(share: float, ratio: float) -> float:
    """The candidate's share of the marks when its odds are `ratio` times the control's."""
    return share * ratio / (share * ratio + 1.0 - share)


def events_to_detect(share: float, ratio: float, alpha: float, weight: float = 1.0) -> float:
    """About how many marked requests (both arms) until harm of this odds ratio shows. share: the candidate's of the
    requests; weight: the check's part of the budget."""
    nats = math.log(1.0 / alpha) + math.log(2.0) + math.log(len(ODDS_GRID) / 2.0) - math.log(weight)
    return nats / _split_divergence(_tilted(share, ratio), share)


def events_to_safety(share: float, margin: float, alpha: float, log_e: float = 0.0) -> float:
    """About how many more marked requests until the margin is ruled out if there is no difference, with `log_e` gained
    already. Half the wealth is cash and a quarter lies on the other alternatives, so a design point that has gained L
    shows as log(exp(L) / 4 + 3 / 4)."""
    return max(0.0, _gain(-math.log(alpha), 0.25) - _gain(log_e, 0.25)) / _split_divergence(
        share, _tilted(share, margin)
    )


def requests_to_limit(rate: float, limit: float, alpha: float, log_e: float = 0.0, *, design: bool = True) -> float:
    """About how many more requests of one arm until a rate of at least `limit` is ruled out, with true rate `rate` and
    `log_e` gained already; inf when the rate is too near. `design`: whether half of what is bet lies on that rate."""
    if rate >= limit:
        return math.inf
    ways = [(part * limit, 0.5 / len(SAFE_FRACTIONS)) for part in SAFE_FRACTIONS]
    if design:
        ways = [(other, part / 2.0) for other, part in ways]
        ways.append((min(max(rate, SAFE_FRACTIONS[0] * limit), SAFE_FRACTIONS[-1] * limit), 0.25))
    return min(_requests(rate, limit, other, (alpha, log_e, part)) for other, part in ways)


def _requests(rate: float, limit: float, other: float, bet: tuple[float, float, float]) -> float:
    """Until the bet (alpha, log_e, part of the start) on the rate `other` has won."""
    growth = rate * math.log(other / limit) + (1.0 - rate) * math.log((1.0 - other) / (1.0 - limit))
    alpha, log_e, part = bet
    missing = max(0.0, _gain(-math.log(alpha), part) - _gain(log_e, part))
    return missing / growth if growth > 0.0 else math.inf


_MOST_NATS: Final = 500.0
"""More evidence than this needs no telling apart, and exp cannot hold much more."""


def _gain(log_e: float, part: float) -> float:
    """The log gain of an alternative holding `part` of the start that makes the whole worth exp(log_e); at least 0."""
    return math.log(max(1.0, (math.exp(min(log_e, _MOST_NATS)) - 1.0 + part) / part))
