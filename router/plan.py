"""What a rollout is to do, as a checked value: what `router.spec` makes of a person's document."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from router.checks import Check
from router.policy import Policy
from router.routes import KeySource
from router.safeguards import DEFAULT_WORST, FALLBACK_REASONS, Comparison, FallbackReason
from router.strategies import End, Step, Strategy


class OnDeadline(StrEnum):
    """At a step's deadline, and at the end of `max_duration`, where `hold` means `abort`.

    `promote`: only when every check passes and there is at least one; else `abort`.
    """

    HOLD = "hold"
    ABORT = "abort"
    PROMOTE = "promote"


class OnInconclusive(StrEnum):
    """When a step has waited long enough and its checks cannot tell."""

    HOLD = "hold"
    ABORT = "abort"


class AllowedContract(StrEnum):
    """How far the candidate may leave stable's contract; `breaking` allows everything."""

    IDENTICAL = "identical"
    COMPATIBLE = "compatible"
    BREAKING = "breaking"


@dataclass(frozen=True, slots=True)
class Arm:
    """A candidate. `version`: a number or an alias. `weight_ppm`: its fixed share (A/B only)."""

    version: str
    name: str = ""
    weight_ppm: int = 0


@dataclass(frozen=True, slots=True)
class Safety:
    """Per-request fallback to stable: for which failures, and at most for which share of the requests."""

    reasons: tuple[FallbackReason, ...] = FALLBACK_REASONS
    budget_ppm: int = 200_000


@dataclass(frozen=True, slots=True)
class ExposureLimit:
    """At most so many on the candidate until a step's checks have passed for the first time. None: no limit."""

    requests: int | None = None
    keys: int | None = None
    failures: int | None = None


@dataclass(frozen=True, slots=True)
class Pairs:
    """What is kept of the most different pairs of answers to mirrored requests."""

    most: int = DEFAULT_WORST
    inputs: bool = False
    values: bool = True


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds and what happens at their end. `window_seconds`: how long a rollback is one command."""

    max_seconds: float
    step_seconds: float | None = None
    on_deadline: OnDeadline = OnDeadline.ABORT
    on_inconclusive: OnInconclusive = OnInconclusive.HOLD
    window_seconds: float = 3600.0
    ready_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class RolloutSpec:
    """One rollout. `source`: the version that is stable now (None: the one with all the weight). `salt` "": the
    rollout's id. `analysis`: how evidence judges it; None: it does not. `document`: what it was made of, with every
    default written out; two specs with the same are one."""

    model: str
    strategy: Strategy
    to: tuple[Arm, ...]
    steps: tuple[Step, ...]
    end: End
    limits: Limits
    source: str | None = None
    key: KeySource | None = None
    salt: str = ""
    checks: tuple[Check, ...] = ()
    analysis: Policy | None = None
    fallback: Safety | None = None
    exposure: ExposureLimit | None = None
    contract: AllowedContract = AllowedContract.COMPATIBLE
    compare: tuple[Comparison, ...] = ()
    pairs: Pairs = Pairs()
    document: dict[str, Any] = field(default_factory=dict)
