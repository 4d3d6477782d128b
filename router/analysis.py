"""From blocks to a verdict: `assess(checks, wealth, blocks) -> (wealth, verdict)`. Pure, and replayable from a log.

Harm of all checks that abort is merged into one e-value (weighted mean), tested against the budget of the whole
rollout; so is that of checks that hold. A crossing is remembered, whichever look it fell between. Safety must be shown
for each required check by itself, so it needs no correction.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from router.contrasts import harm_log_e, observe_all, safe_log_e, start
from router.errors import InvalidArgument
from router.evidence import Block
from router.families import Floats
from router.ledger import CheckState
from router.sequential import Action, Budgets, LimitCheck, SequentialCheck
from router.splits import Split, observe_split, start_process
from router.verdict import Number, Verdict, VerdictKind
from router.wealth import EProcess, merge, merge_paths

WEALTH_VERSION = 1
ASSIGNMENT = "assignment"
"""The name under which a broken split is reported."""
PROBLEM_TICKS = 60
"""A source that has said nothing for so long since its last problem is gone for good, not away."""

_AT_ONCE = 256
"""So many blocks are computed together: some MB."""


class Decision(StrEnum):
    """What the rollout should do."""

    ABORT = "abort"
    HOLD = "hold"
    ADVANCE = "advance"


@dataclass(frozen=True, slots=True, eq=False)
class Wealth:
    """All that an evaluator must remember of a rollout; whoever loses it may not go on (rulings 15).

    checks: by name; assignment: the e-process of the split, and assigned: (candidate, both, expected candidate);
    seen: the last (index, epoch, stratum) of each source; crossed: name -> merged log e when its budget was spent;
    peaks: the highest log e of harm of each check; problems: source -> why it is away; epoch: the latest seen.
    """

    checks: Mapping[str, CheckState] = field(default_factory=dict)
    assignment: EProcess = field(default_factory=lambda: start_process())
    assigned: tuple[int, int, float] = (0, 0, 0.0)
    seen: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    crossed: Mapping[str, float] = field(default_factory=dict)
    peaks: Mapping[str, float] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    epoch: int = -1

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; floats come back exactly (Python and orjson write the shortest text that does)."""
        return {
            "version": WEALTH_VERSION,
            "checks": {name: state.to_json() for name, state in self.checks.items()},
            "assignment": self.assignment.to_json(),
            "assigned": list(self.assigned),
            "seen": {source: list(last) for source, last in self.seen.items()},
            "crossed": dict(self.crossed),
            "peaks": dict(self.peaks),
            "problems": dict(self.problems),
            "epoch": self.epoch,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Wealth":
        """Raises InvalidArgument for another version's wealth, or what is none: it counts as lost then."""
        if content.get("version") != WEALTH_VERSION:
            raise InvalidArgument(f"evidence of version {content.get('version')}, this release reads {WEALTH_VERSION}")
        try:
            candidate, both, expected = content["assigned"]
            return cls(
                checks={name: CheckState.from_json(state) for name, state in content["checks"].items()},
                assignment=EProcess.from_json(content["assignment"]),
                assigned=(candidate, both, expected),
                seen={source: (index, epoch, stratum) for source, (index, epoch, stratum) in content["seen"].items()},
                **{name: dict(content[name]) for name in ("crossed", "peaks", "problems")},
                epoch=content["epoch"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidArgument(f"evidence that cannot be read: {error!r}") from error


@dataclass(frozen=True, slots=True)
class CheckVerdict:
    """One check. harm_log_e, safe_log_e: nats, safe None without a margin; p_value: of harm, valid at every look;
    requests: (candidate, control) in this epoch."""

    name: str
    kind: VerdictKind
    reason: str
    action: Action
    required: bool
    harm_log_e: float
    safe_log_e: float | None
    p_value: float
    requests: tuple[int, int]


@dataclass(frozen=True, slots=True)
class SequentialVerdict:
    """All checks together. check: the one that decided; *_log_e: merged e-values, nats."""

    decision: Decision
    kind: VerdictKind
    check: str
    reason: str
    checks: tuple[CheckVerdict, ...]
    harm_log_e: float
    hold_log_e: float
    assignment_log_e: float

    def as_verdict(self) -> Verdict:
        """In the words of the rollout machine: fail aborts, pass goes on, the others hold."""
        numbers: dict[str, Number] = {
            "harm_log_e": self.harm_log_e,
            "hold_log_e": self.hold_log_e,
            "assignment_log_e": self.assignment_log_e,
        }
        return Verdict(self.kind, self.check, self.reason, numbers, self.asks)

    @property
    def asks(self) -> tuple[str, ...]:
        """The checks whose harm holds, where nothing else comes first: a person may accept what they show."""
        shifted = tuple(check.name for check in self.checks if check.kind is VerdictKind.FAIL)
        return shifted if self.decision is Decision.HOLD and self.check in shifted else ()


def assess(
    checks: Sequence[SequentialCheck],
    wealth: Wealth,
    blocks: Iterable[Block],
    budgets: Budgets | None = None,
    epoch: int | None = None,
) -> tuple[Wealth, SequentialVerdict]:
    """Take new blocks into account and say what they mean. Blocks are taken in the order of `Block.order`, each
    once: one that its source has passed already is left out. `epoch`: the running one; nothing passes without
    requests in it (None: the latest seen). Raises InvalidArgument for checks of one name, or cells that do not fit."""
    budgets = budgets or Budgets()
    if len({check.name for check in checks}) < len(checks):
        raise InvalidArgument("two checks have the same name")
    ordered = sorted(blocks, key=lambda block: block.order)
    for first in range(0, len(ordered), _AT_ONCE):
        wealth = _take(checks, wealth, ordered[first : first + _AT_ONCE], budgets)
    return wealth, _judge(checks, wealth, budgets, wealth.epoch if epoch is None else epoch)


def _take(checks: Sequence[SequentialCheck], wealth: Wealth, ordered: Sequence[Block], budgets: Budgets) -> Wealth:
    """The wealth after a run of blocks. What each block says depends on counts alone and is computed for all of them at
    once; what is owned after each follows in their order."""
    wealth, new = _listen(wealth, ordered)
    if not new:
        return wealth
    states = {check.name: wealth.checks.get(check.name) or start(check) for check in checks}
    observed = observe_all(checks, states, new)
    harms = {name: path for name, (_, path) in observed.items()}
    split = observe_split(Split(wealth.assignment, wealth.assigned), new, -math.log(budgets.broken_assignment))
    crossed = dict(wealth.crossed)
    for action, alpha in ((Action.ABORT, budgets.false_rollback), (Action.HOLD, budgets.false_hold)):
        for culprit, merged in _crossings(checks, harms, action, -math.log(alpha)).items():
            crossed[culprit] = max(merged, crossed.get(culprit, merged))
    return replace(
        wealth,
        checks={**wealth.checks, **{name: state for name, (state, _) in observed.items()}},
        assignment=split.process,
        assigned=split.assigned,
        crossed=crossed if split.broken is None else {**crossed, ASSIGNMENT: split.broken},
        peaks={**wealth.peaks, **{name: max(float(x.max()), wealth.peaks.get(name, 0.0)) for name, x in harms.items()}},
        epoch=max(wealth.epoch, *(block.epoch for block in new)),
    )


def _listen(wealth: Wealth, ordered: Sequence[Block]) -> tuple[Wealth, list[Block]]:
    """Who has said what: the blocks that are new and counted something, and what is known of their sources."""
    seen, problems, new = dict(wealth.seen), dict(wealth.problems), []
    for block in ordered:
        place = block.order[:3]
        if place <= seen.get(block.source, (-1, -1, -1)):
            continue
        seen[block.source] = place
        problems.pop(block.source, None)
        if block.problem:
            problems[block.source] = block.problem
        else:
            new.append(block)
    return replace(wealth, seen=seen, problems=problems), new


def _crossings(
    checks: Sequence[SequentialCheck], harms: Mapping[str, Floats], action: Action, threshold: float
) -> dict[str, float]:
    """The checks that had the largest part when the merged e-value of an action was at its threshold or above, and the
    highest such value of each."""
    members = [check for check in checks if check.action is action]
    if all(float(harms[check.name].max()) < threshold for check in members):
        return {}  # a mean is no more than the largest of its parts
    paths, weights = np.stack([harms[check.name] for check in members]), [check.weight for check in members]
    merged, leaders = merge_paths(paths, weights)
    found: dict[str, float] = {}
    for place in np.flatnonzero(merged >= threshold):
        culprit = members[int(leaders[place])].name
        found[culprit] = max(float(merged[place]), found.get(culprit, threshold))
    return found


def _merged(checks: Sequence[SequentialCheck], harms: Mapping[str, float], action: Action) -> float:
    """The weighted mean of the e-values of one action (log)."""
    members = [check for check in checks if check.action is action]
    return merge([harms[check.name] for check in members], [check.weight for check in members])


def _judge(checks: Sequence[SequentialCheck], wealth: Wealth, budgets: Budgets, epoch: int) -> SequentialVerdict:
    told = tuple(_judge_check(check, wealth, budgets, epoch) for check in checks)
    harms = {check.name: check.harm_log_e for check in told}
    harm, hold = (_merged(checks, harms, action) for action in (Action.ABORT, Action.HOLD))
    decision, kind, name, reason = _decide(told, wealth, harm, budgets)
    return SequentialVerdict(decision, kind, name, reason, told, harm, hold, float(wealth.assignment.log_e[0]))


def _judge_check(check: SequentialCheck, wealth: Wealth, budgets: Budgets, epoch: int) -> CheckVerdict:
    state = wealth.checks.get(check.name) or start(check)
    harm = harm_log_e(check, state)
    safe = None if check.safe is None else safe_log_e(state, check.safe)
    requests = state.requests if state.epoch >= epoch else (0, 0)
    kind, reason = _kind(check, wealth, requests, safe, -math.log(budgets.false_promotion))
    p_value = math.exp(-max(0.0, wealth.peaks.get(check.name, 0.0)))
    return CheckVerdict(check.name, kind, reason, check.action, check.required, harm, safe, p_value, requests)


def _kind(
    check: SequentialCheck, wealth: Wealth, requests: tuple[int, int], safe: float | None, needed: float
) -> tuple[VerdictKind, str]:
    """The first of these that holds: fail, error, exempt, inconclusive by decree, no data, too few, not shown, pass."""
    if check.name in wealth.crossed and check.action is not Action.REPORT:
        return VerdictKind.FAIL, f"evidence of harm {odds_text(wealth.crossed[check.name])}"
    latest = max((index for index, _, _ in wealth.seen.values()), default=0)
    for source, text in sorted(wealth.problems.items()):
        if latest - wealth.seen[source][0] < PROBLEM_TICKS:
            return VerdictKind.ERROR, f"{source}: {text}"
    if check.exempt:
        return VerdictKind.PASS, check.exempt
    if check.suspended or check.doubtful:
        return VerdictKind.INCONCLUSIVE, check.suspended or check.doubtful
    if requests[0] == 0 or (requests[1] == 0 and not isinstance(check, LimitCheck)):
        missing = "candidate" if requests[0] == 0 else check.control
        return VerdictKind.NO_DATA, f"nothing was counted of the {missing} in this epoch"
    if requests[0] < check.min_requests:
        return VerdictKind.INCONCLUSIVE, f"{requests[0]} of {check.min_requests} requests"
    if safe is not None and safe < needed:
        return VerdictKind.INCONCLUSIVE, f"evidence of safety {odds_text(safe)}, {odds_text(needed)} needed"
    return VerdictKind.PASS, "no harm shown" if safe is None else f"evidence of safety {odds_text(safe)}"


def _decide(
    told: Sequence[CheckVerdict], wealth: Wealth, harm: float, budgets: Budgets
) -> tuple[Decision, VerdictKind, str, str]:
    """(decision, kind, check, reason). Abort beats everything; only evidence lets a rollout go on."""
    failed = [check for check in told if check.kind is VerdictKind.FAIL]
    for check in failed:
        if check.action is Action.ABORT:
            return Decision.ABORT, VerdictKind.FAIL, check.name, check.reason
    if ASSIGNMENT in wealth.crossed:
        candidate, both, expected = wealth.assigned
        reason = f"assignment is broken: the candidate got {candidate} of {both} requests, {expected:.0f} were due"
        return Decision.HOLD, VerdictKind.INCONCLUSIVE, ASSIGNMENT, reason
    for check in failed:
        return Decision.HOLD, VerdictKind.INCONCLUSIVE, check.name, f"{check.reason}: a person must decide"
    acting = [check for check in told if check.action is not Action.REPORT]
    needed = [check for check in acting if check.required] or acting
    for kind, among in (
        (VerdictKind.ERROR, acting), (VerdictKind.NO_DATA, needed), (VerdictKind.INCONCLUSIVE, needed),
    ):  # fmt: skip
        for check in among:
            if check.kind is kind:
                return Decision.HOLD, kind, check.name, check.reason
    if not needed:
        return Decision.HOLD, VerdictKind.NO_DATA, "", "there is no check that could show anything"
    if harm >= -0.5 * math.log(budgets.false_rollback):
        return Decision.HOLD, VerdictKind.INCONCLUSIVE, "", f"harm is suspected, {odds_text(harm)}: wait for more"
    return Decision.ADVANCE, VerdictKind.PASS, "", f"{len(needed)} of {len(needed)} required checks pass"


def odds_text(log_e: float) -> str:
    """An e-value as odds: "37 : 1" for it, "1 : 37" against it."""
    value = math.exp(min(abs(log_e), 60.0))
    number = f"{value:.1f}" if value < 10.0 else f"{value:.0f}" if value < 1e6 else f"{value:.0e}"
    return f"{number} : 1" if log_e >= 0.0 else f"1 : {number}"
