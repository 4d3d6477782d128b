"""The watch after promotion: blocks of the new stable version against its limits. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from router.arms import read_arms
from router.cutting import Cursor, Ground, Subject, cut
from router.demands import Shape, limits_of
from router.detector import Detector, detect
from router.errors import InvalidArgument
from router.policy import Policy
from router.tally import BlockCopy
from router.verdict import Number, Verdict, VerdictKind

WATCH: Final = "watch"
"""Under which key of a rollout's memory it is kept."""

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


def keep_watch(
    beat: Beat, recorded: Mapping[str, Any] | None, copies: Sequence[BlockCopy]
) -> tuple[dict[str, Any], Verdict]:
    """What is to be remembered, and the verdict. Raises InvalidArgument when what was recorded cannot be read."""
    detector, cursor = _recalled(recorded)
    subject = Subject(beat.model, NOBODY, beat.promoted)
    ground = Ground(beat.model, beat.rollout, beat.epoch, beat.now, None, False)
    cursor, blocks = cut(cursor, read_arms(copies, subject, Shape()), ground, beat.policy)
    horizon = max(1, math.ceil(beat.window_seconds))  # no block is shorter than a second
    alpha = beat.policy.budgets.false_rollback
    detector, verdict = detect(limits_of(beat.policy), detector, blocks, horizon, alpha)
    if verdict.kind is VerdictKind.NO_DATA and detector.seen:
        verdict = Verdict(VerdictKind.PASS, "", "limits are kept", verdict.numbers)  # only since the last block
    return {"detector": detector.to_json(), "cursor": cursor.to_json()}, _named(verdict)


def _recalled(recorded: Mapping[str, Any] | None) -> tuple[Detector, Cursor]:
    if recorded is None:
        return Detector(), Cursor()
    try:
        return Detector.from_json(recorded["detector"]), Cursor.from_json(recorded["cursor"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidArgument(f"a watch that cannot be read: {error!r}") from error


def _named(verdict: Verdict) -> Verdict:
    """With the check in the reason, and odds in place of nats."""
    numbers: dict[str, Number] = {
        name: round(value, 6) if isinstance(value, float) else value for name, value in verdict.numbers.items()
    }
    reason = f"{verdict.check}: {verdict.reason}" if verdict.kind is VerdictKind.FAIL else verdict.reason
    return Verdict(verdict.kind, WATCH, reason, numbers)
