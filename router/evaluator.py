"""The one evaluator of a rollout: from a reading of the counters and what it remembers to a verdict. Pure.

What it remembers (wealth, how far blocks were cut, which outputs are watched) is recorded in the same transaction as
the rollout's phase and its event, with the blocks in a table beside it. So a restart goes on from the last digit, and
`replay` gives the same answer from the log.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

from router.analysis import ASSIGNMENT, SequentialVerdict, Wealth, assess
from router.cursor import Cursor, full, lean
from router.demands import Shape, Stand, Watched, checks_at
from router.errors import InvalidArgument
from router.evidence import Block
from router.policy import Metric, Policy
from router.sequential import Action
from router.shelves import Shelves
from router.verdict import Verdict, VerdictKind

EVIDENCE: Final = "evidence"
"""Under which key of a rollout's memory it is kept; and the name by which its verdict goes."""

WATCH: Final = "watch"
"""The same for the watch after promotion."""

VERSION: Final = 1
LOST: Final = "evidence lost"
UNSHAPED: Final = (str(Metric.CLASS_SHARE), str(Metric.SCORE))

Document = dict[str, Any]


@lru_cache(maxsize=256)  # the same at each look
def _shape_json(shape: Shape) -> Document:
    return {name: {**told, "labels": list(told["labels"])} for name, told in asdict(shape).items()}


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """All that is remembered. shape: None until both versions were counted; rows: how many lines the log has;
    shelves: how far labels were cut."""

    wealth: Wealth = field(default_factory=Wealth)
    cursor: Cursor = field(default_factory=Cursor)
    shape: Shape | None = None
    rows: int = 0
    shelves: Shelves = field(default_factory=Shelves)

    def to_json(self) -> Document:
        """Plain JSON values; numbers come back exactly."""
        shape = None if self.shape is None else _shape_json(self.shape)
        told = {"version": VERSION, "shape": shape, "rows": self.rows}
        return {
            **told,
            "cursor": self.cursor.to_json(),
            "shelves": self.shelves.to_json(),
            "wealth": self.wealth.to_json(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Evidence":
        """Raises InvalidArgument for what another version wrote, or what is none: it counts as lost then."""
        if content.get("version") != VERSION:
            raise InvalidArgument(f"evidence of version {content.get('version')}, this release reads {VERSION}")
        try:
            told = content["shape"]
            shape = None
            if told is not None:
                shape = Shape(Watched.from_json(told["classes"]), Watched.from_json(told["scores"]))
            cursor, shelves = Cursor.from_json(content["cursor"]), Shelves.from_json(content["shelves"])
            return cls(Wealth.from_json(content["wealth"]), cursor, shape, content["rows"], shelves)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidArgument(f"evidence that cannot be read: {error!r}") from error


def judged(
    policy: Policy, stand: Stand, wealth: Wealth, blocks: Iterable[Block], epoch: int
) -> tuple[Wealth, SequentialVerdict]:
    """One look: the same for live traffic, for a replay and for a simulation."""
    checks = checks_at(policy, stand)
    wealth, verdict = assess(checks, wealth, blocks, policy.budgets, epoch)
    if ASSIGNMENT in wealth.crossed and policy.assignment is Action.REPORT:
        told = {name: log_e for name, log_e in wealth.crossed.items() if name != ASSIGNMENT}
        wealth, verdict = assess(checks, replace(wealth, crossed=told), (), policy.budgets, epoch)
    if stand.shape is not None:
        return wealth, verdict
    known = {name: state for name, state in wealth.checks.items() if name not in UNSHAPED}
    return replace(wealth, checks=known), verdict  # how many cells those two have is not known yet


def verdict_from(finding: SequentialVerdict) -> Verdict:
    """All checks together, as one verdict of the rollout."""
    said = finding.as_verdict()
    reason = f"{said.check}: {said.reason}" if said.check else said.reason
    numbers = {name: round(value, 6) if isinstance(value, float) else value for name, value in said.numbers.items()}
    return Verdict(said.kind, EVIDENCE, reason, numbers, said.asks)


def lost(why: str) -> Verdict:
    """Whoever lost the wealth may not begin again with a full budget: the rollout ends (it can be started anew)."""
    return Verdict(VerdictKind.FAIL, EVIDENCE, f"{LOST}: {why}")


# The log


def json_of(block: Block) -> Document:
    """A block as the log has it."""
    return {
        "model": block.model, "rollout": block.rollout, "epoch": block.epoch, "source": block.source,
        "index": block.index, "stratum": block.stratum, "problem": block.problem,
        "candidate": lean(block.candidate), "stable": lean(block.stable),
        **({} if block.baseline is None else {"baseline": lean(block.baseline)}),
    }  # fmt: skip


def block_of(told: Mapping[str, Any]) -> Block:
    """A block from the log."""
    arms = {name: full(told[name]) for name in ("candidate", "stable", "baseline") if name in told}
    return Block(**{**told, **arms})


def told_of(verdict: SequentialVerdict) -> Document:
    """A verdict as the log has it."""
    return {
        "decision": str(verdict.decision),
        "kind": str(verdict.kind),
        "check": verdict.check,
        "reason": verdict.reason,
        "harm_log_e": verdict.harm_log_e,
        "hold_log_e": verdict.hold_log_e,
        "assignment_log_e": verdict.assignment_log_e,
    }
