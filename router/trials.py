"""What a policy is tried on: a service as it is, and what may be wrong with a new version; what came out, in numbers.

Pure; numpy only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from router.errors import InvalidArgument
from router.figures import LATENCY_EDGES_SECONDS
from router.plan import RolloutSpec
from router.rehearsal import Ending, Outcome, Play
from router.rollout import span
from router.synthetic import SHARES, Behaviour, Latency, Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The service, and the faults. rate: requests a second; errors: of stable; fault_*: what is wrong in the scenario
    of that name: a rate of errors, a factor, a share of classes that moves, a shift in sd; late_seconds: when errors
    begin in the scenario `late`; horizon_seconds: how long a rollout is followed at most."""

    rate: float = 100.0
    errors: float = 0.001
    latency_seconds: float = 0.02
    fault_errors: float = 0.01
    fault_latency: float = 1.5
    fault_classes: float = 0.05
    fault_score: float = 0.3
    late_seconds: float = 600.0
    horizon_seconds: float = 6 * 3600.0

    def __post_init__(self) -> None:
        _require(0.0 < self.rate <= 100_000.0, f"requests a second lie between 0 and 100,000, not at {self.rate:g}")
        _require(0.0 <= self.errors < 0.9, f"a rate of errors lies between 0 and 0.9, not at {self.errors:g}")
        _require(self.errors < self.fault_errors <= 1.0, "the fault's rate of errors must be above stable's")
        _require(0.00002 <= self.latency_seconds <= 30.0, "a latency lies between 20 µs and 30 s")
        _require(1.0 < self.fault_latency <= 100.0, "the fault's factor of latency lies above 1")
        _require(0.0 < self.fault_classes < SHARES[0], f"a share that moves lies between 0 and {SHARES[0]:g}")
        _require(0.0 < abs(self.fault_score) <= 5.0, "a shift of the score lies within 5 sd, and is not 0")
        _require(0.0 < self.late_seconds < self.horizon_seconds <= 30 * 86_400.0, "late comes before the end")


@dataclass(frozen=True, slots=True)
class Scenario:
    """name: for flags; told: for people; harmless: whether an abort would be a false alarm."""

    name: str
    told: str
    traffic: Traffic
    harmless: bool = False


def scenarios(setting: Setting) -> tuple[Scenario, ...]:
    """All of them: nothing wrong first."""
    stable = Behaviour(errors=setting.errors)
    latency = Latency(LATENCY_EDGES_SECONDS, setting.latency_seconds)
    moved = setting.fault_classes
    shares = (SHARES[0] - moved, *SHARES[1:-1], SHARES[-1] + moved)
    failing = replace(stable, errors=setting.fault_errors)
    errors = f"errors {_percent(setting.errors)} -> {_percent(setting.fault_errors)}"
    classes = f"class {_percent(SHARES[0])} -> {_percent(shares[0])}, {_percent(SHARES[-1])} -> {_percent(shares[-1])}"
    faults = (
        ("errors", errors, failing, 0.0),
        ("latency", f"latency x{setting.fault_latency:g}", replace(stable, slower=setting.fault_latency), 0.0),
        ("tail", f"latency x{setting.fault_latency:g} above p95", replace(stable, tail=setting.fault_latency), 0.0),
        ("class", classes, replace(stable, shares=shares), 0.0),
        ("score", f"score {setting.fault_score:+g} sd", replace(stable, score=setting.fault_score), 0.0),
        ("late", f"{errors} after {span(setting.late_seconds)}", failing, setting.late_seconds),
    )
    harmless = Scenario("aa", "nothing is wrong", Traffic(stable, stable, latency), True)
    return harmless, *(Scenario(name, told, Traffic(bad, stable, latency, at)) for name, told, bad, at in faults)


def plays(spec: RolloutSpec, setting: Setting, names: Sequence[str] = ()) -> dict[Scenario, Play]:
    """A play for each scenario that is named (none named: all). Raises InvalidArgument for a name that is none, and for
    a rollout that cannot be rehearsed."""
    known = {scenario.name: scenario for scenario in scenarios(setting)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InvalidArgument(f"scenario {unknown[0]!r} is none of {', '.join(known)}")
    wanted = [known[name] for name in dict.fromkeys(names)] or list(known.values())
    return {one: Play(spec, one.traffic, setting.rate, setting.horizon_seconds) for one in wanted}


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle and the slowest tenth of some numbers; None without any."""

    median: float | None = None
    slow: float | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """What the runs of a scenario came to. endings: how many of each; at_most: the rate of aborts is below that with
    95 % confidence; noticed, exposed: of aborts and holds, from the onset; promoted: of promotions."""

    runs: int
    endings: dict[Ending, int]
    abort_rate: float
    at_most: float
    noticed_seconds: Spread
    exposed: Spread
    promoted_seconds: Spread


def summary(outcomes: Sequence[Outcome]) -> Summary:
    """Of at least one run."""
    found = {ending: sum(outcome.ending is ending for outcome in outcomes) for ending in Ending}
    noticed = [one for one in outcomes if one.ending in (Ending.ABORTED, Ending.HELD)]
    promoted = [one.seconds for one in outcomes if one.ending is Ending.PROMOTED]
    aborted = found[Ending.ABORTED]
    return Summary(
        runs=len(outcomes),
        endings=found,
        abort_rate=aborted / len(outcomes),
        at_most=upper_bound(aborted, len(outcomes)),
        noticed_seconds=_spread([one.seconds for one in noticed]),
        exposed=_spread([one.exposed for one in noticed]),
        promoted_seconds=_spread(promoted),
    )


def upper_bound(hits: int, n: int, confidence: float = 0.95) -> float:
    """The rate at which so few hits would come in 5 % of such series only (Clopper & Pearson 1934, one side)."""
    if hits >= n:
        return 1.0
    low, high = hits / n, 1.0
    for _ in range(50):
        middle = (low + high) / 2.0
        logs = (
            math.log(math.comb(n, k)) + (k and k * math.log(middle)) + (n - k) * math.log1p(-middle)
            for k in range(hits + 1)
        )
        low, high = (middle, high) if sum(map(math.exp, logs)) > 1.0 - confidence else (low, middle)
    return high


def _spread(numbers: Sequence[float]) -> Spread:
    if not numbers:
        return Spread()
    ranked = sorted(numbers)
    return Spread(ranked[(len(ranked) - 1) // 2], ranked[min(len(ranked) - 1, math.ceil(0.9 * len(ranked)) - 1)])


def _percent(share: float) -> str:
    return f"{100.0 * share:.4g} %"


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise InvalidArgument(text)
