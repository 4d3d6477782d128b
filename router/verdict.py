"""What a check says about a candidate: one of five words, with its reason and its numbers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Number = int | float | str | bool | None
"""A value that is shown beside a verdict; text for what is no number, such as `inf`."""


class VerdictKind(StrEnum):
    """Only `pass` lets a rollout go on and only `fail` ends it; the other three hold it."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no_data"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`check`: the name of the check that speaks (empty: all together). `numbers` must be JSON values. `asks`: by name,
    what only a person can settle before this can pass."""

    kind: VerdictKind
    check: str = ""
    reason: str = ""
    numbers: Mapping[str, Number] = field(default_factory=dict)
    asks: tuple[str, ...] = ()


_ORDER = (VerdictKind.FAIL, VerdictKind.ERROR, VerdictKind.NO_DATA, VerdictKind.INCONCLUSIVE)


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """One verdict for all: `fail` beats everything, then error, no_data, inconclusive; `pass` only if all pass.

    Without any verdict it is `no_data`: what nobody has looked at has not passed.
    """
    found = tuple(verdicts)
    if not found:
        return Verdict(VerdictKind.NO_DATA, reason="nothing has been measured yet")
    for kind in _ORDER:
        alike = [verdict for verdict in found if verdict.kind is kind]
        if alike:
            return Verdict(kind, alike[0].check, "; ".join(_told(verdict) for verdict in alike))
    return Verdict(VerdictKind.PASS, reason=f"{len(found)} of {len(found)} checks pass")


def _told(verdict: Verdict) -> str:
    return f"{verdict.check}: {verdict.reason}" if verdict.check else verdict.reason
