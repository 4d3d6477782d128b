"""The seam between the machine and its evidence: a rollout asks about its checks and gets verdicts and counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from router.checks import Check
from router.policy import Policy
from router.reports import InventoryVersion
from router.routes import Route
from router.strategies import Step
from router.verdict import Verdict, VerdictKind

NOISE_FLOOR: Final = "noise-floor"
"""How stable is called where it is run beside itself, and under which key of a question's memory it is remembered what
that gave."""


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """How often stable's answers differ from its own: `flipped` of `requests` that were run twice."""

    requests: int
    flipped: int

    @property
    def flip_rate(self) -> float | None:
        """None without requests."""
        return self.flipped / self.requests if self.requests else None


def noise_floor_of(memory: Mapping[str, Any]) -> NoiseFloor | None:
    """What the memory of a rollout says of it; None when it was not measured."""
    found = memory.get(NOISE_FLOOR)
    return None if found is None else NoiseFloor(found["requests"], found["flipped"])


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked in one tick of one step. `seconds`: how long the step has run. `memory`: what the last answer left,
    recorded in the same transaction as the phase; it lasts through all steps of the rollout, JSON values only.
    `policy`: how evidence judges the rollout; `steps`: all of them; `now`: seconds of a clock that does not go back;
    `window_seconds`: how long what was promoted is watched; `accepted`: checks whose harm a person has accepted."""

    rollout: str
    model: str
    step: int
    seconds: float
    route: Route
    stable: str
    candidates: tuple[str, ...]
    checks: tuple[Check, ...]
    memory: Mapping[str, Any] = field(default_factory=dict)
    policy: Policy | None = None
    steps: tuple[Step, ...] = ()
    now: float = 0.0
    window_seconds: float = 0.0
    accepted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Assessment:
    """One verdict for each check that was asked, and one for the evidence. `requests`: by variant, answered in this
    step; `mirrored`: requests that were also run on the candidate and compared in this step. `memory` None: nothing to
    remember anew. `log`: lines for the log of blocks, recorded with the memory."""

    verdicts: tuple[Verdict, ...] = ()
    requests: Mapping[str, int] = field(default_factory=dict)
    mirrored: int = 0
    memory: Mapping[str, Any] | None = None
    log: tuple[dict[str, Any], ...] = ()


class ContractKind(StrEnum):
    """How far a candidate keeps what stable promised. `unknown`: one of the two has no signature."""

    IDENTICAL = "identical"
    COMPATIBLE = "compatible"
    BREAKING = "breaking"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Contract:
    """The comparison, with each difference as a sentence."""

    kind: ContractKind
    differences: tuple[str, ...] = ()


class Assessor(Protocol):
    """What measures and judges. Only `assess` may wait; it should not do so for more than some seconds."""

    async def assess(self, question: Question) -> Assessment:
        """Measures and judges. A source that is away gives verdict `error`; a SerinError means the same for all."""
        ...

    async def watch(self, question: Question) -> Assessment:
        """What was promoted (`stable`), against the limits of the policy: `fail` takes it back."""
        ...

    def refuses(self, check: Check) -> str | None:
        """Why a check cannot be honoured here (a source or hook that nobody configured), or None."""
        ...

    def contract(self, stable: InventoryVersion, candidate: InventoryVersion) -> Contract:
        """Compares two versions as the inventory reports them."""
        ...


class Unmeasured:
    """The assessor of a program that measures nothing: every check is `no_data`, so nothing is ever promoted by it."""

    async def assess(self, question: Question) -> Assessment:
        """No data for anything."""
        told = "nothing here measures it"
        return Assessment(tuple(Verdict(VerdictKind.NO_DATA, check.name, told) for check in question.checks))

    async def watch(self, question: Question) -> Assessment:
        """No data."""
        return Assessment()

    def refuses(self, check: Check) -> str | None:
        """Refuses nothing."""
        return None

    def contract(self, stable: InventoryVersion, candidate: InventoryVersion) -> Contract:
        """Compares signatures as a whole."""
        if stable.signature is None or candidate.signature is None:
            return Contract(ContractKind.UNKNOWN)
        if stable.signature == candidate.signature:
            return Contract(ContractKind.IDENTICAL)
        return Contract(ContractKind.BREAKING, ("the signatures differ",))
