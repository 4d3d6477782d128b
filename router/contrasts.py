"""Checks and blocks brought together: one way in for every kind of check, and the e-values that come out. Pure.

All that a bet depends on (margins in odds, latency edges, design points) is taken from blocks before this one, so each
e-process is a test supermartingale (statistics.md 3 and 4).
"""

import math
from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np

from router.errors import InvalidArgument
from router.evidence import Block
from router.families import Floats
from router.latencies import marked_quantiles, observe_latency
from router.ledger import EACH, FLOOR, HARM, QUICK, CheckState, Observed, Observing, Placed, margin_keys
from router.rates import observe_limit, observe_rate
from router.sequences import RATIO_POINTS
from router.sequential import ClassCheck, LatencyCheck, LimitCheck, Margin, RateCheck, ScoreCheck, SequentialCheck
from router.shifts import observe_classes, observe_score
from router.tilts import Ask, answer
from router.wealth import Bet, Played, log_mean_exp, play


def start(check: SequentialCheck) -> CheckState:
    """A check that has seen nothing, but for the reference of a latency check."""
    rows, history, points = 1, np.zeros(2), RATIO_POINTS
    edges: tuple[int, ...] = ()
    if isinstance(check, LatencyCheck):
        rows, edges = len(check.quantiles), (-1,) * len(marked_quantiles(check))
        history = np.asarray(check.reference or (0,) * (len(check.edges) + 1), dtype=np.float64)
    elif isinstance(check, RateCheck):
        history = np.zeros(4)
    elif isinstance(check, ClassCheck):
        rows, history, points = check.classes, np.zeros(check.classes), 3
    elif isinstance(check, ScoreCheck):
        history, points = np.zeros(check.buckets), 3
    return CheckState(-1, (0, 0), np.zeros((rows, 4)), history, edges, {}, np.zeros((rows, points)))


def observe(check: SequentialCheck, state: CheckState, blocks: Sequence[Block]) -> tuple[CheckState, Floats]:
    """The state after a run of blocks in their order, and log e of harm after each of them. A block that counted
    nothing of this check's changes nothing; nor does any, when the check is suspended. Raises InvalidArgument when
    cells do not fit the check."""
    return observe_all([check], {check.name: state}, blocks)[check.name]


def observe_all(
    checks: Sequence[SequentialCheck], states: Mapping[str, CheckState], blocks: Sequence[Block]
) -> dict[str, tuple[CheckState, Floats]]:
    """`observe` for all checks of a rollout, by name: what they ask of the blocks is answered together, and what they
    bet is played together."""
    looking = {check.name: _observing(check, states[check.name], blocks) for check in checks}
    asked: dict[str, Sequence[Ask]] = {}
    found: dict[str, Placed | Observed] = {}
    for name, observing in looking.items():
        try:
            asked[name] = next(observing)
        except StopIteration as ended:
            found[name] = ended.value
    answers = iter(answer([ask for asks in asked.values() for ask in asks]))
    for name, asks in asked.items():
        try:
            looking[name].send([next(answers) for _ in asks])
        except StopIteration as ended:
            found[name] = ended.value
    seen = _settled(found)
    return {check.name: _path(check, states[check.name], seen[check.name]) for check in checks}


def _settled(found: Mapping[str, Placed | Observed]) -> dict[str, Observed]:
    """What became of the bets; those on as many blocks are played together."""
    runs: dict[int, dict[tuple[str, str], Bet]] = {}
    for name, placed in found.items():
        if isinstance(placed, Placed):
            for process, bet in placed.bets.placed.items():
                runs.setdefault(len(bet.llr), {})[name, process] = bet
    played: dict[str, dict[str, Played]] = {}
    for bets in runs.values():
        for (name, process), outcome in play(bets).items():
            played.setdefault(name, {})[process] = outcome
    return {name: one.settle(played[name]) if isinstance(one, Placed) else one for name, one in found.items()}


def _path(check: SequentialCheck, state: CheckState, found: Observed) -> tuple[CheckState, Floats]:
    if found.told.all():
        return found.state, found.harm
    path = np.concatenate([[harm_log_e(check, state)], found.harm])
    return found.state, path[np.cumsum(found.told)]


def _observing(check: SequentialCheck, state: CheckState, blocks: Sequence[Block]) -> Observing:
    if check.suspended or not blocks:
        return _ignoring(state, blocks)
    if isinstance(check, RateCheck):
        return observe_rate(check, state, blocks)
    if isinstance(check, LatencyCheck):
        return observe_latency(check, state, blocks)
    if isinstance(check, ClassCheck):
        return observe_classes(check, state, blocks)
    if isinstance(check, ScoreCheck):
        return observe_score(check, state, blocks)
    if isinstance(check, LimitCheck):
        return observe_limit(check, state, blocks)
    raise InvalidArgument(f"{check.name}: there is no check of kind {type(check).__name__}")


def _ignoring(state: CheckState, blocks: Sequence[Block]) -> Observing:
    return Observed(state, np.zeros(len(blocks), dtype=np.bool_))
    yield ()  # what makes it a generator


def harm_log_e(check: SequentialCheck, state: CheckState) -> float:
    """Log e-value of harm, nats: the mean over quantiles or classes, of each the least of "ratio" (by runs, and by each
    request) and "floor", which is valid for their union; of a score, at most 0 while the estimated shift is below its
    gate."""
    harm = state.processes.get(HARM)
    if harm is None:
        return 0.0
    parts = [state.processes[name].log_e for name in (HARM, EACH, FLOOR) if name in state.processes]
    log_e = float(log_mean_exp(np.minimum.reduce(parts)))
    if isinstance(check, ScoreCheck) and abs(score_shift(state)) < check.min_auc_shift:
        log_e = min(log_e, 0.0)
    return log_e


def score_shift(state: CheckState) -> float:
    """The estimated P(candidate's score is higher than the control's) - 1/2."""
    weighted, weight, _ = state.likelihood[0]
    return float(weighted / weight) if weight > 0.0 else 0.0


def safe_log_e(state: CheckState, margin: Margin) -> float:
    """Log e-value of "within the margin", nats: the mean of the ways to show it (ratio, floor), and the least of that
    over the quantiles, for it must hold at each."""
    keys = [*margin_keys(margin), *([QUICK] if QUICK in state.processes else [])]
    ways = [state.processes[key].log_e if key in state.processes else np.zeros(1) for key in keys]
    return float(reduce(np.logaddexp, ways).min()) - math.log(len(ways))
