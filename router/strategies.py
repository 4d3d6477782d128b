"""Strategies as lists of steps: canary, blue-green, A/B, shadow, cohort and instant are lists for one machine."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from router.names import PPM

DEFAULT_WEIGHTS = (10_000, 50_000, 250_000, 500_000)
"""1, 5, 25 and 50 %: the whole traffic is what promotion gives."""

DEFAULT_PAUSE_SECONDS = 300.0
PREVIEW_HEADER = "serin-preview"


class Strategy(StrEnum):
    """What people call a list of steps. `steps`: they wrote the list themselves."""

    CANARY = "canary"
    BLUE_GREEN = "blue-green"
    AB = "ab"
    SHADOW = "shadow"
    INSTANT = "instant"
    COHORT = "cohort"
    STEPS = "steps"


class StepKind(StrEnum):
    """What a step does with traffic: `pause` nothing new; `noise` also runs requests on stable itself; `cohort` and
    `preview` send a header to the candidate."""

    WEIGHT = "weight"
    PAUSE = "pause"
    NOISE = "noise"
    SHADOW = "shadow"
    COHORT = "cohort"
    PREVIEW = "preview"
    SWITCH = "switch"
    SHARE = "share"


class End(StrEnum):
    """After the last step: the candidate is promoted, or a person is asked to decide."""

    PROMOTE = "promote"
    DECIDE = "decide"


@dataclass(frozen=True, slots=True)
class Wait:
    """What a step waits for, all of it. `requests`: at least so many on the candidate (of a shadow step: mirrored).

    `until`: a wall-clock time in seconds since 1970. `deadline_seconds` None: the rollout's own.
    """

    seconds: float = 0.0
    requests: int = 0
    approval: bool = False
    until: float | None = None
    deadline_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class StepSafe:
    """What evidence must show at one step: fewer than `ratio` times stable's errors, less than `increase` more latency
    (0.2 is 20 %). None: what the policy says."""

    ratio: float | None = None
    increase: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `weight_ppm`: of the candidate (weight, switch); `share_ppm`: of requests that are mirrored, to it or
    (noise) to stable.

    `header`, `value`: who gets the candidate outside the split (cohort, preview); without a value presence is enough.
    `checked`: whether the rollout's checks must pass before the step is left; `safe`: margins of its own.
    """

    kind: StepKind
    wait: Wait = Wait()
    weight_ppm: int = 0
    share_ppm: int = 0
    header: str = ""
    value: str | None = None
    checked: bool = True
    safe: StepSafe | None = None


def canary(weights: Sequence[int] = DEFAULT_WEIGHTS, wait: Wait = Wait(DEFAULT_PAUSE_SECONDS)) -> tuple[Step, ...]:
    """Growing weights, each for the same wait."""
    return tuple(Step(StepKind.WEIGHT, wait, weight_ppm=weight) for weight in weights)


def blue_green(preview: Step, bake_seconds: float = 0.0) -> tuple[Step, ...]:
    """Green is loaded everywhere and reachable by header; then all traffic at once, watched for `bake_seconds` before
    it counts as promoted (0: at once)."""
    if bake_seconds <= 0:
        return (preview,)
    return (preview, Step(StepKind.SWITCH, Wait(bake_seconds), weight_ppm=PPM))


def preview(wait: Wait, share_ppm: int = 0, header: str = PREVIEW_HEADER, value: str | None = None) -> Step:
    """No weight, but reachable by header. Checked only when requests are mirrored: else there is nothing to see."""
    return Step(StepKind.PREVIEW, wait, share_ppm=share_ppm, header=header, value=value, checked=share_ppm > 0)


def ab(wait: Wait) -> tuple[Step, ...]:
    """Fixed shares (those of the candidates) until the wait is over."""
    return (Step(StepKind.SHARE, wait),)


def shadow(share_ppm: int, wait: Wait, noise_requests: int = 0) -> tuple[Step, ...]:
    """A share of the requests is also run on the candidate; before that, if asked, on stable itself."""
    step = Step(StepKind.SHADOW, wait, share_ppm=share_ppm)
    return (noise(share_ppm, Wait(requests=noise_requests)), step) if noise_requests else (step,)


def noise(share_ppm: int, wait: Wait) -> Step:
    """A share of the requests is also run on stable itself: how often its answers differ without any candidate."""
    return Step(StepKind.NOISE, wait, share_ppm=share_ppm, checked=False)


def cohort(header: str, value: str | None, wait: Wait) -> tuple[Step, ...]:
    """Requests with the header go to the candidate; it gets no other."""
    return (Step(StepKind.COHORT, wait, header=header, value=value),)


def instant() -> tuple[Step, ...]:
    """No step at all: promoted as soon as it is loaded everywhere and keeps the contract."""
    return ()


def least_seconds(steps: Iterable[Step]) -> float:
    """The shortest time in which the steps can be walked."""
    return sum(step.wait.seconds for step in steps)


def weight_at(steps: Sequence[Step], index: int) -> int:
    """The candidate's weight during step `index`: that of the last step so far that sets one."""
    set_so_far = [step.weight_ppm for step in steps[: index + 1] if step.kind in (StepKind.WEIGHT, StepKind.SWITCH)]
    return set_so_far[-1] if set_so_far else 0


def mirrors(step: Step) -> bool:
    """Whether requests are also run on the candidate."""
    return step.share_ppm > 0 and step.kind is not StepKind.NOISE


def rules_at(steps: Sequence[Step], index: int) -> tuple[tuple[str, str | None], ...]:
    """(header, value) that lead to the candidate during step `index`: testers stay with it until the end."""
    return tuple(dict.fromkeys((step.header, step.value) for step in steps[: index + 1] if step.header))


def shares_at(steps: Sequence[Step], index: int) -> bool:
    """Whether the candidates have their fixed shares during step `index`."""
    return any(step.kind is StepKind.SHARE for step in steps[: index + 1])


def label(step: Step) -> str:
    """A step in a few words, such as `weight 5 %`."""
    amounts = {
        StepKind.WEIGHT: f"weight {_percent(step.weight_ppm)}",
        StepKind.NOISE: f"noise floor {_percent(step.share_ppm)}",
        StepKind.SHADOW: f"shadow {_percent(step.share_ppm)}",
        StepKind.SWITCH: "all traffic",
        StepKind.SHARE: "fixed shares",
    }
    return amounts.get(step.kind, str(step.kind))


def _percent(ppm: int) -> str:
    return f"{ppm / 10_000:g} %"
