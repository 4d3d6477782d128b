"""How often the evidence is wrong, and how soon it is right: the tables of the docs, made by simulation.

    python -m loadtests.simulate_evidence [--minutes 10] [--seed 1] [table ...]

Every row goes through `router.analysis.assess`, 100 requests a second, a block and a look each second. A row runs until
its share of the time is used or its runs are done, whichever is first, and says how many runs it made. Seeded: with the
same number of runs the same numbers come out, whatever the machine.
"""

import argparse
import math
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from loadtests.simulated_traffic import EDGES, RATE, Batches, World, ramp, reference
from router.analysis import ASSIGNMENT, Decision, Wealth, assess
from router.detector import Detector, detect
from router.evidence import Arm, Block
from router.sequential import (
    Action,
    Budgets,
    ClassCheck,
    LatencyCheck,
    LimitCheck,
    Margin,
    RateCheck,
    ScoreCheck,
    SequentialCheck,
    default_checks,
)
from router.synthetic import SHARES, Behaviour, Path, constant
from router.verdict import VerdictKind

HOUR = 3600
NEVER = math.inf
AT_ONCE = 32


def full_policy() -> tuple[SequentialCheck, ...]:
    """All four metrics acting, no tolerance anywhere."""
    return (
        RateCheck(name="errors", weight=0.3, action=Action.ABORT),
        LatencyCheck(
            name="latency", weight=0.3, action=Action.ABORT, edges=EDGES, max_increase=0.0, reference=reference()
        ),
        ClassCheck(name="class_share", weight=0.2, action=Action.ABORT, classes=len(SHARES), tolerance=0.0),
        ScoreCheck(name="score", weight=0.2, action=Action.ABORT, buckets=10, min_auc_shift=0.0),
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
    world: World | Batches
    checks: tuple[SequentialCheck, ...] = field(default_factory=full_policy)
    ends: Decision | str = Decision.ABORT
    seconds: int = HOUR
    runs: int = 200
    alphas: tuple[float, ...] = (0.05, 0.01)
    after_promotion: float | None = None
    """The new stable's rate of errors, for a row about the watch."""


def run(table: str, number: int, seed: int) -> tuple[float, ...]:
    """Requests until the end of one run of a table's row, at each alpha (infinite if it never came)."""
    row = TABLES[table]()[number]
    if row.after_promotion is not None:
        return (_watch(row.after_promotion, row.world.onset, seed),)
    if row.ends is Decision.ABORT:
        return _until_abort(row, seed)
    found = [NEVER] * len(row.alphas)
    wealth = Wealth()
    budgets = Budgets()
    for block in islice(row.world.blocks(np.random.default_rng(seed)), row.seconds):
        wealth, verdict = assess(row.checks, wealth, [block], budgets)
        if row.ends is Decision.ADVANCE:
            reached = min((c.safe_log_e for c in verdict.checks if c.safe_log_e is not None), default=0.0)
        else:
            reached = verdict.assignment_log_e
        for column, alpha in enumerate(row.alphas):
            if found[column] == NEVER and reached >= -math.log(alpha):
                found[column] = float((block.index + 1) * RATE)
        if NEVER not in found:
            break
    return tuple(found)


def _until_abort(row: Row, seed: int) -> tuple[float, ...]:
    """The same for harm: many blocks at once, since a crossing is remembered; those of a crossing one by one."""
    found, wealth = [NEVER] * len(row.alphas), Wealth()
    budgets = Budgets(false_rollback=max(row.alphas))
    stream = islice(row.world.blocks(np.random.default_rng(seed)), row.seconds)
    while NEVER in found and (blocks := list(islice(stream, AT_ONCE))):
        before, (wealth, _) = wealth, assess(row.checks, wealth, blocks, budgets)
        if not _reached(wealth, row.alphas, found):
            continue
        for block in blocks:
            before, _ = assess(row.checks, before, [block], budgets)
            for column in _reached(before, row.alphas, found):
                found[column] = float((block.index + 1) * RATE)
    return tuple(found)


def _reached(wealth: Wealth, alphas: Sequence[float], found: Sequence[float]) -> list[int]:
    """Which levels harm has crossed that it had not before."""
    peak = max((log_e for name, log_e in wealth.crossed.items() if name != ASSIGNMENT), default=0.0)
    return [at for at, alpha in enumerate(alphas) if found[at] == NEVER and peak >= -math.log(alpha)]


def _watch(errors: float, onset: int, seed: int) -> float:
    """Requests until the watch after promotion raises its alarm, against a limit of 1 % errors (an hour, alpha 1 %)."""
    checks = [LimitCheck(name="slo", limit=0.01, arm="stable")]
    detector, rng = Detector(), np.random.default_rng(seed)
    for second in range(HOUR):
        failed = int(rng.binomial(RATE, errors if second >= onset else 0.01))
        block = Block("m", "r", 0, "simulated", second, stable=Arm(done=RATE, errors=failed))
        detector, verdict = detect(checks, detector, [block], HOUR, 0.01)
        if verdict.kind is VerdictKind.FAIL:
            return float((second + 1) * RATE)
    return NEVER


# ---- the tables -----------------------------------------------------------------------------------------------------


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


TABLES = {table.__name__: table for table in (false_alarms, margins, detection, promotion, after_promotion)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description="Operating characteristics of the evidence, by simulation.")
    parser.add_argument("tables", nargs="*", default=list(TABLES), help=f"of {', '.join(TABLES)}")
    parser.add_argument("--minutes", type=float, default=10.0, help="for everything, about (10)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    each = options.minutes * 60.0 / sum(len(TABLES[table]()) for table in options.tables)
    with ProcessPoolExecutor(options.processes) as pool:
        for table in options.tables:
            print(f"\n{table}: {TABLES[table].__doc__}\n")
            for number, row in enumerate(TABLES[table]()):
                found: list[tuple[float, ...]] = []
                began = time.monotonic()
                while len(found) < row.runs and (not found or time.monotonic() - began < each):
                    first = options.seed * 100_000 + len(found)
                    seeds = range(first, first + min(row.runs - len(found), 2 * options.processes))
                    found += pool.map(run, [table] * len(seeds), [number] * len(seeds), seeds)
                print(line(table, row, found), flush=True)
    taken = ", ".join(f"{peeking(share, options.seed):.0%} at {share:.0%}" for share in (0.05, 0.5))
    print(f"\nAn ordinary test at 5 % that is looked at each second takes back this many harmless canaries: {taken}.")
    print(
        f"\nA tick of 20 models x 3 checks: {tick_ms(100):.0f} ms of CPU time at 100 requests a block, half of them the"
    )
    print(f"candidate's, {tick_ms(1_000):.0f} ms at 1,000, {tick_ms(10_000):.0f} ms at 10,000.")


def peeking(share: float, seed: int, runs: int = 1000) -> float:
    """What the evidence is for: how many harmless canaries (errors 1 %, an hour) an ordinary test of two proportions
    takes back at the 5 % level (|z| above 1.96) when it is looked at each second."""
    rng = np.random.default_rng(seed)
    arms = [rng.binomial(RATE, share, (runs, HOUR))]
    arms.append(RATE - arms[0])
    n, k = (np.cumsum(np.stack(each), axis=2).astype(float) for each in (arms, [rng.binomial(a, 0.01) for a in arms]))
    pooled = k.sum(axis=0) / n.sum(axis=0)
    spread = np.sqrt(pooled * (1.0 - pooled) * (1.0 / np.maximum(n[0], 1.0) + 1.0 / n[1]))
    difference = k[0] / np.maximum(n[0], 1.0) - k[1] / n[1]
    known = (n[0] > 0.0) & (spread > 0.0)
    return float((known & (np.abs(difference) > 1.96 * spread)).any(axis=1).mean())


def tick_ms(requests: int) -> float:
    """CPU time of a tick over 20 models: default errors and latency, class shares; blocks of so many requests."""
    checks = [check for check in default_checks(EDGES, classes=5) if check.name in ("errors", "latency", "class_share")]
    blocks = list(islice(World(share=constant(0.5), rate=requests).blocks(np.random.default_rng(0)), 60))
    wealth, _ = assess(checks, Wealth(), blocks[:40])
    began = time.process_time()
    for block in blocks[40:]:
        assess(checks, wealth, [block])
    return (time.process_time() - began) * 1e3


def line(table: str, row: Row, found: Sequence[tuple[float, ...]]) -> str:
    """A row of a table: shares of runs that ended, or medians of those requests."""
    told = []
    for number, alpha in enumerate(row.alphas):
        ends = np.array([each[number] for each in found]) - row.world.onset * RATE
        crossed = np.isfinite(ends)
        if table in ("false_alarms", "margins"):
            told.append(f"alpha {alpha:g}: {crossed.mean():6.1%}")
        else:
            median, late = (np.quantile(ends, q, method="lower") for q in (0.5, 0.9))
            told.append(f"alpha {alpha:g}: {median:9,.0f} (p90 {late:9,.0f})")
    return f"  {row.name:50} {'  '.join(told)}   {len(found)} runs"


if __name__ == "__main__":
    main()
