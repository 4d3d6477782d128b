"""What stands behind a verdict, for people: counts, estimates with intervals, requests still needed. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from router.analysis import Wealth
from router.contrasts import safe_log_e, start
from router.latencies import floor_edge, shift_edge
from router.ledger import QUICK, CheckState, below_key, ratio_key
from router.rates import log_odds_margin
from router.sequences import events_to_safety, mean_interval, rate_interval, ratio_interval, requests_to_limit
from router.sequential import Budgets, ClassCheck, LatencyCheck, LimitCheck, Margin, RateCheck, ScoreCheck
from router.sequential import SequentialCheck as Check


@dataclass(frozen=True, slots=True)
class Estimate:
    """One contrast since the start: (n, marked) of each arm; low, value, high in `scale`: "odds ratio", "difference" of
    shares, "shift" of P(candidate higher) from one half, or "rate". `exact`: whether the interval holds at every look
    for any sample size, or for large samples only. Marks of more-is-better rates are those that are worse."""

    label: str
    candidate: tuple[int, int]
    control: tuple[int, int]
    scale: str
    low: float
    value: float
    high: float
    exact: bool


@dataclass(frozen=True, slots=True)
class CheckExplanation:
    """requests_needed: about how many more requests of both arms, at the present shares and if there is no difference,
    until `safe` is shown; None without a margin or when it cannot be said."""

    name: str
    estimates: tuple[Estimate, ...]
    requests_needed: int | None


def explain(checks: Sequence[Check], wealth: Wealth, budgets: Budgets | None = None) -> tuple[CheckExplanation, ...]:
    """Every check in turn; intervals at the level of a false rollback (99 % by default)."""
    budgets = budgets or Budgets()
    found = []
    for check in checks:
        state = wealth.checks.get(check.name) or start(check)
        needed = requests_needed(check, state, budgets.false_promotion)
        found.append(CheckExplanation(check.name, _estimates(check, state, budgets.false_rollback), needed))
    return tuple(found)


def _estimates(check: Check, state: CheckState, alpha: float) -> tuple[Estimate, ...]:
    return tuple(_estimate(check, state, row, alpha) for row in range(len(state.totals)))


def _estimate(check: Check, state: CheckState, row: int, alpha: float) -> Estimate:
    n_c, k_c, n_s, k_s = (int(number) for number in state.totals[row])
    candidate, control = (n_c, k_c), (n_s, k_s)
    if isinstance(check, LimitCheck):
        return Estimate("", candidate, control, "rate", *rate_interval(k_c, n_c, alpha), True)
    if isinstance(check, ClassCheck):
        interval = mean_interval([float(x) for x in state.likelihood[row]], alpha)
        return Estimate(f"class {row}", candidate, control, "difference", *interval, False)
    if isinstance(check, ScoreCheck):
        interval = mean_interval([float(x) for x in state.likelihood[row]], alpha)
        return Estimate("", candidate, control, "shift", *interval, False)
    label = f"p{100 * check.quantiles[row]:g}" if isinstance(check, LatencyCheck) else ""
    return Estimate(label, candidate, control, "odds ratio", *ratio_interval(state.likelihood[row], alpha), True)


def requests_needed(check: Check, state: CheckState, alpha: float) -> int | None:
    """About how many more requests of both arms until `check.safe` is shown, if there is no difference; 0 when it is;
    None when it cannot be said (no margin, one arm without requests, a rate too near its limit)."""
    if check.safe is None or min(state.requests) == 0:
        return None
    if safe_log_e(state, check.safe) >= -math.log(alpha):
        return 0
    share = state.requests[0] / sum(state.requests)
    if isinstance(check, LatencyCheck):
        needed = _latency_needs(check, state, share, alpha)
    else:
        needed = _rate_needs(check, state, share, alpha)
    return math.ceil(needed) if math.isfinite(needed) else None


def _rate_needs(check: Check, state: CheckState, share: float, alpha: float) -> float:
    """The quicker of the two ways; with both, each has to show twice as much."""
    safe = check.safe or Margin(ratio=1.0)
    n_c, k_c, n_s, k_s = state.totals[0]
    ways, level = [math.inf], alpha / 2.0 if safe.ratio and safe.below else alpha
    if safe.ratio is not None and isinstance(check, RateCheck):
        log_margin = log_odds_margin(check, state.history, safe.ratio)
        if log_margin:
            log_e = _log_e(state, ratio_key(safe.ratio))
            rate = (k_c + k_s + 0.5) / (n_c + n_s + 1.0)
            ways.append(events_to_safety(share, math.exp(log_margin), level, log_e) / rate)
    if safe.below is not None:
        log_e = _log_e(state, below_key(safe.below))
        rate, design = (k_c + 0.5) / (n_c + 1.0), isinstance(check, RateCheck)
        ways.append(requests_to_limit(rate, safe.below, level, log_e, design=design) / share)
    return min(ways)


def _latency_needs(check: LatencyCheck, state: CheckState, share: float, alpha: float) -> float:
    """The slowest quantile, each by the quicker of its ways; with two, each has to show twice as much."""
    level = alpha / 2.0 if check.ignore_below else alpha
    rows = range(len(check.quantiles))
    ways = (
        (_ratio_needs(check, state, row, share, level), _quick_needs(check, state, row, share, level)) for row in rows
    )
    return max(min(way) for way in ways)


def _ratio_needs(check: LatencyCheck, state: CheckState, row: int, share: float, alpha: float) -> float:
    ratio, total, edge = (check.safe and check.safe.ratio) or 1.0, float(state.history.sum()), state.edges[row]
    shifted = shift_edge(check.edges, edge, ratio) if edge >= 0 else None
    if shifted is None:
        return math.inf
    near, far = ((float(state.history[at + 1 :].sum()) + 0.5) / (total + 1.0) for at in (edge, shifted))
    if far >= near:
        return math.inf
    events = share * far + (1.0 - share) * near
    log_e = _log_e(state, ratio_key(ratio), row)
    return events_to_safety(share * far / events, near / far, alpha, log_e) / events


def _quick_needs(check: LatencyCheck, state: CheckState, row: int, share: float, alpha: float) -> float:
    if not check.ignore_below:
        return math.inf
    slow, total = float(state.history[floor_edge(check) + 1 :].sum()), float(state.history.sum())
    log_e = _log_e(state, QUICK, row)
    return requests_to_limit((slow + 0.5) / (total + 1.0), 1.0 - check.quantiles[row], alpha, log_e) / share


def _log_e(state: CheckState, key: str, row: int = 0) -> float:
    return float(state.processes[key].log_e[row]) if key in state.processes else 0.0
