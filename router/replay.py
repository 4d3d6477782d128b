"""Reading a log of blocks again: whether it gives every verdict, and the wealth, that were recorded. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from router.analysis import Wealth
from router.demands import Shape, Stand, limits_of
from router.detector import Detector, detect
from router.evaluator import EVIDENCE, Evidence, block_of, judged, told_of
from router.policy import Policy
from router.strategies import Step

Document = dict[str, Any]

WATCH: Final = "watch"
"""Under which key of a rollout's memory the watch after promotion is kept."""

WATCH_ROWS: Final = 1_000_000_000
"""Lines of the watch are numbered from here on."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a log gave when it was read again. differs: the first line that says something else, and how; "" none."""

    rows: int
    blocks: int
    kind: str
    reason: str
    differs: str = ""


def replay(policy: Policy, steps: tuple[Step, ...], recorded: Mapping[str, Any], rows: Iterable[Document]) -> Replayed:
    """Every verdict from the logged blocks again, and at the end the wealth itself. `recorded`: the rollout's memory.
    Raises InvalidArgument when that cannot be read."""
    known = tuple(rows)
    gathered = [row for row in known if row["number"] <= WATCH_ROWS]
    watched = [row for row in known if row["number"] > WATCH_ROWS]
    found = Replayed(0, 0, "no_data", "nothing was logged")
    if recorded.get(EVIDENCE) is not None:
        found = _gathered(policy, steps, Evidence.from_json(recorded[EVIDENCE]), gathered)
    if found.differs or recorded.get(WATCH) is None:
        return found
    again = _watched(policy, recorded[WATCH], watched)
    return replace(again, rows=found.rows + again.rows, blocks=found.blocks + again.blocks)


def _gathered(policy: Policy, steps: tuple[Step, ...], kept: Evidence, rows: Sequence[Document]) -> Replayed:
    wealth, count, blocks, last = Wealth(), 0, 0, ("no_data", "nothing was logged")
    for row in rows:
        stand = Stand(steps, row["step"], _shape_from(row, kept), row["batched"], tuple(row["accepted"]))
        found = [block_of(told) for told in row["blocks"]]
        wealth, verdict = judged(policy, stand, wealth, found, row["epoch"])
        count, blocks, last = count + 1, blocks + len(found), (str(verdict.kind), verdict.reason)
        differs = _line_differs(row, count, told_of(verdict))
        if differs:
            return Replayed(count, blocks, *last, differs)
    if count != kept.rows:
        return Replayed(count, blocks, *last, f"the log has {count} lines, {kept.rows} were recorded")
    apart = _apart(wealth, kept.wealth)
    return Replayed(count, blocks, *last, f"the wealth of {apart} is not what was recorded" if apart else "")


def _watched(policy: Policy, kept: Mapping[str, Any], rows: Sequence[Document]) -> Replayed:
    detector, count, blocks, last = Detector(), 0, 0, ("no_data", "nothing was counted")
    alpha = policy.budgets.false_rollback
    for row in rows:
        found = [block_of(told) for told in row["blocks"]]
        detector, verdict = detect(limits_of(policy), detector, found, row["horizon"], alpha)
        count, blocks, last = count + 1, blocks + len(found), (str(verdict.kind), verdict.reason)
        told = {"kind": str(verdict.kind), "check": verdict.check, "log_m": verdict.numbers["log_m"]}
        differs = _line_differs(row, WATCH_ROWS + count, told)
        if differs:
            return Replayed(count, blocks, *last, differs)
    if count != kept["rows"]:
        return Replayed(count, blocks, *last, f"the log of the watch has {count} lines, {kept['rows']} were recorded")
    return Replayed(count, blocks, *last)


def _line_differs(row: Mapping[str, Any], number: int, told: Mapping[str, Any]) -> str:
    if row["number"] != number:
        return f"line {number} is missing: the log goes on with {row['number']}"
    differs = _differs(row["verdict"], told)
    return f"line {number}: {differs}" if differs else ""


CLOSE: Final = 1e-9


def _differs(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    for name, value in found.items():
        was = recorded[name]
        same = abs(value - was) <= CLOSE if isinstance(value, float) else value == was
        if not same:
            return f"{name} was {was!r}, and is {value!r} now"
    return ""


def _apart(one: Wealth, other: Wealth) -> str:
    """The first check whose e-processes differ; empty: none."""
    if one.checks.keys() != other.checks.keys():
        return "some check"
    for name, state in one.checks.items():
        for key, process in state.processes.items():
            theirs = other.checks[name].processes.get(key)
            pairs = [] if theirs is None else list(zip(process.log_e, theirs.log_e, strict=True))
            if theirs is None or any(not math.isclose(a, b, abs_tol=CLOSE, rel_tol=CLOSE) for a, b in pairs):
                return name
    return ""


def _shape_from(row: Mapping[str, Any], kept: Evidence) -> Shape | None:
    return kept.shape if row["shaped"] else None
