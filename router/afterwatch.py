"""The watch after promotion: blocks of the new stable version against its limits. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from router.arms import read_arms
from router.cursor import Cursor, Ground, Subject
from router.cutting import cut
from router.demands import Shape, limits_of
from router.detector import Detector, detect
from router.errors import InvalidArgument
from router.evaluator import json_of
from router.policy import Policy
from router.replay import WATCH, WATCH_ROWS
from router.tally import BlockCopy
from router.verdict import Number, Verdict, VerdictKind

NOBODY: Final = ("", 0)


@dataclass(frozen=True, slots=True)
class Beat:
    """What is watched at this moment. window_seconds: how long it will be, for the budget of false alarms."""

    rollout: str
    policy: Policy
    model: str
    promoted: tuple[str, int]
    epoch: int
    now: float
    window_seconds: float


@dataclass(frozen=True, slots=True)
class Kept:
    """What is to be remembered, the verdict, and a line for the log of blocks."""

    memory: dict[str, Any]
    verdict: Verdict
    row: dict[str, Any] | None = None


def keep_watch(beat: Beat, recorded: Mapping[str, Any] | None, copies: Sequence[BlockCopy]) -> Kept:
    """One look. Raises InvalidArgument when what was recorded cannot be read."""
    detector, cursor, rows = _recalled(recorded)
    subject = Subject(beat.model, NOBODY, beat.promoted)
    ground = Ground(beat.model, beat.rollout, beat.epoch, beat.now, None, False)
    cursor, blocks = cut(cursor, read_arms(copies, subject, Shape()), ground, beat.policy)
    horizon = max(1, math.ceil(beat.window_seconds))  # no block is shorter than a second
    alpha = beat.policy.budgets.false_rollback
    detector, verdict = detect(limits_of(beat.policy), detector, blocks, horizon, alpha)
    row = None
    if blocks:
        rows += 1
        told = {"kind": str(verdict.kind), "check": verdict.check, "log_m": verdict.numbers["log_m"]}
        row = {"number": WATCH_ROWS + rows, "horizon": horizon, "blocks": [json_of(one) for one in blocks]}
        row["verdict"] = told
    elif verdict.kind is VerdictKind.NO_DATA and detector.seen:
        verdict = Verdict(VerdictKind.PASS, "", "limits are kept", verdict.numbers)  # only nothing since the last block
    memory = {"detector": detector.to_json(), "cursor": cursor.to_json(), "rows": rows}
    return Kept(memory, _named(verdict), row)


def _recalled(recorded: Mapping[str, Any] | None) -> tuple[Detector, Cursor, int]:
    if recorded is None:
        return Detector(), Cursor(), 0
    try:
        rows = int(recorded["rows"])
        return Detector.from_json(recorded["detector"]), Cursor.from_json(recorded["cursor"]), rows
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidArgument(f"a watch that cannot be read: {error!r}") from error


def _named(verdict: Verdict) -> Verdict:
    """With the check in the reason, and odds in place of nats."""
    numbers: dict[str, Number] = {
        name: round(value, 6) if isinstance(value, float) else value for name, value in verdict.numbers.items()
    }
    reason = f"{verdict.check}: {verdict.reason}" if verdict.kind is VerdictKind.FAIL else verdict.reason
    return Verdict(verdict.kind, WATCH, reason, numbers)
