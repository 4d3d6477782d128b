"""The rows of the tables about evidence: which world, judged by which checks, and what a run waits for."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from loadtests.simulated_batches import Queues
from loadtests.simulated_traffic import EDGES, Batches, World, ramp, reference
from router.analysis import ASSIGNMENT, Decision
from router.sequential import (
    Action,
    ClassCheck,
    LatencyCheck,
    Margin,
    RateCheck,
    ScoreCheck,
    SequentialCheck,
)
from router.synthetic import SHARES, Behaviour, Path, constant

HOUR = 3600


def full_policy(*, tolerant: bool = False) -> tuple[SequentialCheck, ...]:
    """All four metrics acting; with no tolerance anywhere, or with those that are the default."""
    return (
        replace(errors_check(*((1.2, 0.001) if tolerant else (1.0, 0.0))), weight=0.3),
        replace(latency_check(0.1 if tolerant else 0.0), weight=0.3),
        ClassCheck(name="class_share", weight=0.2, action=Action.ABORT, classes=len(SHARES), tolerance=0.02 * tolerant),
        ScoreCheck(name="score", weight=0.2, action=Action.ABORT, buckets=10, min_auc_shift=0.03 * tolerant),
    )


def errors_check(tolerated: float = 1.2, floor: float = 0.001, safe: Margin | None = None) -> RateCheck:
    """Errors alone."""
    return RateCheck(
        name="errors",
        action=Action.ABORT,
        tolerated=tolerated,
        ignore_below=floor,
        safe=safe,
        required=safe is not None,
    )


def latency_check(max_increase: float = 0.1, safe: Margin | None = None) -> LatencyCheck:
    """Latency alone."""
    return LatencyCheck(
        name="latency", action=Action.ABORT, edges=EDGES, max_increase=max_increase, reference=reference(), safe=safe,
        required=safe is not None,
    )  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of a table. `ends`: what the run waits for; seconds: how long at most; runs: at most."""

    name: str
    world: World | Batches | Queues
    checks: tuple[SequentialCheck, ...] = field(default_factory=full_policy)
    ends: Decision | str = Decision.ABORT
    seconds: int = HOUR
    runs: int = 200
    alphas: tuple[float, ...] = (0.05, 0.01)
    after_promotion: float | None = None
    """The new stable's rate of errors, for a row about the watch."""


def false_alarms() -> list[Row]:
    """Nothing is wrong: how often is the rollout aborted within an hour?"""
    tide: Path = lambda second: 1.0 + 0.8 * math.sin(second / 300.0)  # noqa: E731
    load: Path = lambda second: 1.0 + 0.3 * math.sin(second / 300.0)  # noqa: E731
    outage: Path = lambda second: 8.0 if 2900 <= second < 3200 else 1.0  # noqa: E731
    batched = (replace(latency_check(0.0), control="baseline"),)
    return [
        Row("A/A, 5 %", World()),
        Row("A/A, 50 %", World(share=constant(0.5))),
        Row("A/A, ramp", World(share=ramp)),
        Row("A/A, ramp, errors x0.2-1.8", World(Behaviour(0.01), Behaviour(0.01), ramp, error_tide=tide)),
        Row("A/A, ramp, load +-30 %", World(share=ramp, load_tide=load)),
        Row("A/A, batches of 32 that stall, a mark a batch", Batches(32, "batch"), batched),
        Row("A/A, the same, a mark a request (not what is done)", Batches(32, "request"), batched, runs=20),
        Row(
            "A/A, ramp, outage x8 in the last step", World(Behaviour(0.005), Behaviour(0.005), ramp, error_tide=outage)
        ),
    ]


def margins() -> list[Row]:
    """Exactly at the margin: how often is it crossed within an hour?"""
    half, shift = constant(0.5), EDGES[1] / EDGES[0]
    off = tuple(share + 0.02 * (number == 0) - 0.02 * (number == 1) for number, share in enumerate(SHARES))
    classes = (ClassCheck(name="c", action=Action.ABORT, classes=5, tolerance=0.02),)
    swing: Path = lambda second: 1.0 + 0.95 * math.sin(second / 150.0)  # noqa: E731
    swinging = World(Behaviour(0.24), Behaviour(0.2), ramp, error_tide=swing)
    two = (errors_check(safe=Margin(2.0, 0.02)),)
    twice, doubled = World(Behaviour(0.04), Behaviour(0.02), half), World(Behaviour(0.02), Behaviour(0.01))
    return [
        Row("harm: errors 1 % x1.2, 50 %", World(Behaviour(0.012), Behaviour(0.01), half), (errors_check(),)),
        Row("harm: errors 20 % x1.2, 50 %", World(Behaviour(0.24), Behaviour(0.2), half), (errors_check(),)),
        Row("harm: errors 1-39 % x1.2, ramp", swinging, (errors_check(),)),
        Row("harm: errors 0 -> 0.1 %, 50 %", World(Behaviour(0.001), Behaviour(0.0), half), (errors_check(),)),
        Row("harm: latency x1.1, 50 %", World(Behaviour(slower=shift), share=half), (latency_check(),)),
        Row("harm: class 40 -> 42 %, 50 %", World(Behaviour(shares=off), share=half), classes),
        Row("promotion: errors x2 of 2 %, 50 %", twice, two, Decision.ADVANCE),
        Row("promotion: errors x2 of 1 %, floor 2 %, 5 %", doubled, two, Decision.ADVANCE),
        Row(
            "promotion: latency x1.21, 50 %", World(Behaviour(slower=shift * shift), share=half),
            (latency_check(safe=Margin(1.2)),), Decision.ADVANCE,
        ),
    ]  # fmt: skip


def detection() -> list[Row]:
    """Something is wrong: requests until the rollout is aborted (median)."""
    off = (SHARES[0] - 0.05, SHARES[1] + 0.05, *SHARES[2:])
    rare = (SHARES[0] - 0.05, *SHARES[1:4], SHARES[4] + 0.05)
    faults = [
        ("errors 0.1 -> 1 %", Behaviour(0.01), Behaviour()),
        ("errors 1 -> 5 %", Behaviour(0.05), Behaviour(0.01)),
        ("latency x1.2", Behaviour(slower=1.2), Behaviour()),
        ("latency x1.5", Behaviour(slower=1.5), Behaviour()),
        ("latency x1.2 above p95", Behaviour(tail=1.2), Behaviour()),
        ("latency x1.5 above p95", Behaviour(tail=1.5), Behaviour()),
        ("class 40 -> 35 %, 30 -> 35 %", Behaviour(shares=off), Behaviour()),
        ("class 40 -> 35 %, 5 -> 10 %", Behaviour(shares=rare), Behaviour()),
        ("score +0.1 sd", Behaviour(score=0.1), Behaviour()),
    ]
    rows = []
    for share in (0.05, 0.5):
        for name, candidate, stable in faults:
            rows.append(Row(f"{name}, {share:.0%}", World(candidate, stable, constant(share)), seconds=900, runs=100))
    late = World(Behaviour(0.02), Behaviour(0.005), constant(0.2), onset=1800)
    rows.append(Row("late: errors 0.5 -> 2 % after 30 min, 20 %", late, runs=60))
    one = (errors_check(),)
    rows.append(Row("default errors alone: 0.1 -> 1 %, 5 %", World(Behaviour(0.01)), one, seconds=900, runs=100))
    rows.append(Row("default errors alone: 0.05 -> 50 %, 5 %", World(Behaviour(0.5), Behaviour(0.0005)), one, runs=100))
    wrong = World(share=constant(0.05), actual_share=constant(0.06))
    none = (replace(one[0], action=Action.REPORT),)
    rows.append(Row("assignment: 6 % for 5 %", wrong, none, ASSIGNMENT, runs=60, alphas=(0.001,)))
    return rows


def promotion() -> list[Row]:
    """Nothing is wrong: requests until it is shown (median, alpha 5 %)."""
    rows = []
    for share in (0.5, 0.05):
        for name, rate, margin in (
            ("errors 0.1 %, x2", 0.001, Margin(2.0)),
            ("errors 0.1 %, x2 or below 0.5 %", 0.001, Margin(2.0, 0.005)),
            ("errors 1 %, x1.5", 0.01, Margin(1.5)),
            ("errors 1 %, x1.5 or below 2 %", 0.01, Margin(1.5, 0.02)),
        ):
            world, check = World(Behaviour(rate), Behaviour(rate), constant(share)), errors_check(safe=margin)
            row = Row(f"{name}, {share:.0%}", world, (check,), Decision.ADVANCE, 2 * HOUR, 60, (0.05,))
            rows.append(row)
        slow = (latency_check(safe=Margin(1.2)),)
        rows.append(
            Row(f"latency x1.2 at p50, p95 and p99, {share:.0%}", World(share=constant(share)), slow, Decision.ADVANCE,
                HOUR, 60, (0.05,))
        )  # fmt: skip
    return rows


def after_promotion() -> list[Row]:
    """After promotion, against an SLO of 1 % errors: requests until the alarm (median); none is due at 1 %."""
    return [
        Row("errors stay at 1 %", World(), runs=60, alphas=(0.01,), after_promotion=0.01),
        Row("errors 1 -> 5 % after 30 min", World(onset=1800), runs=60, alphas=(0.01,), after_promotion=0.05),
        Row("errors 1 -> 2 % after 30 min", World(onset=1800), runs=60, alphas=(0.01,), after_promotion=0.02),
    ]


def moving() -> list[Row]:
    """Nothing is wrong or all is exactly at the margin, and everything moves: how often is that crossed in an hour?"""
    tide: Path = lambda second: 1.0 + 0.8 * math.sin(second / 300.0)  # noqa: E731
    load: Path = lambda second: (1.0 + 0.3 * math.sin(second / 200.0)) * (3.0 if _is_out(second) else 1.0)  # noqa: E731
    errors: Path = lambda second: tide(second) * (8.0 if _is_out(second) else 1.0)  # noqa: E731
    mix: Path = lambda second: 0.5 + 0.5 * math.sin(second / 250.0)  # noqa: E731
    swing: Path = lambda second: 1.0 + 0.9 * math.sin(second / 150.0)  # noqa: E731
    slow: Path = lambda second: 1.0 + 0.3 * math.sin(second / 200.0)  # noqa: E731
    one, half, shift = Behaviour(0.005), constant(0.5), EDGES[1] / EDGES[0]
    everything = World(one, one, ramp, error_tide=errors, load_tide=load, mix_tide=mix)
    third, exact = (errors_check(safe=Margin(1.5)),), World(Behaviour(0.15), Behaviour(0.1), half, error_tide=swing)
    latency = (latency_check(safe=Margin(1.2)),)
    slower, slower_still = Behaviour(slower=shift), Behaviour(slower=shift * shift)
    return [
        Row("A/A, ramp, all drifts, two outages", everything, runs=400),
        Row("the same with the default tolerances", everything, full_policy(tolerant=True), runs=400),
        Row("promotion: errors 1-19 % x1.5, 50 %", exact, third, Decision.ADVANCE, runs=600),
        Row("promotion: the same, ramp", replace(exact, share=ramp), third, Decision.ADVANCE, runs=400),
        Row("harm: latency x1.1, load +-30 %, ramp", World(slower, share=ramp, load_tide=slow), (latency_check(),)),
        Row("promotion: latency x1.21, load +-30 %, 50 %", World(slower_still, share=half, load_tide=slow), latency,
            Decision.ADVANCE, runs=400),
        Row("promotion: the same, ramp", World(slower_still, share=ramp, load_tide=slow), latency, Decision.ADVANCE,
            runs=400),
    ]  # fmt: skip


def _is_out(second: float) -> bool:
    """Both versions suffer in these minutes: one in the second step, one in the last."""
    return 1200 <= second < 1320 or 2900 <= second < 3200


def batches() -> list[Row]:
    """Equal versions, each with a queue that runs what waits together, on a machine that stands still three times a
    minute for 0.2 s in the mean, and some with one run in a hundred ten times as slow: how often does the latency of
    one of them abort the rollout within an hour, without tolerance?"""
    against = {"stable": (latency_check(0.0),), "baseline": (replace(latency_check(0.0), control="baseline"),)}
    rows = []
    for seconds, told in ((0.004, "few run together"), (0.01, "a third run together")):
        for share, control in (
            (0.05, "stable"),
            (0.05, "baseline"),
            (0.25, "stable"),
            (0.25, "baseline"),
            (0.5, "stable"),
        ):
            for slow in (0.0, 0.01):
                queues = Queues(share, control == "baseline", run_seconds=seconds, slow_runs=slow)
                name = f"{told}, {share:.0%} against {control}" + (", slow runs" if slow else "")
                rows.append(Row(name, queues, against[control], runs=100))
    bursts = Queues(0.5, run_seconds=0.01, burst=8)
    return [
        *rows,
        Row("bursts of 8, 50 % against stable", bursts, against["stable"], runs=100),
        Row("bursts of 8, 25 % against baseline", replace(bursts, share=0.25, baseline=True), against["baseline"],
            runs=100),
    ]  # fmt: skip


TABLES: dict[str, Callable[[], list[Row]]] = {
    table.__name__: table for table in (false_alarms, margins, moving, batches, detection, promotion, after_promotion)
}
