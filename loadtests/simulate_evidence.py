"""How often the evidence is wrong, and how soon it is right: the tables of the docs, made by simulation.

    python -m loadtests.simulate_evidence [--minutes 10] [--seed 1] [--only "x1.5, 50 %"] [table ...]

Every row goes through `router.analysis.assess`, 100 requests a second, a block and a look each second. A row runs until
its share of the time is used or its runs are done, whichever is first, and says how many runs it made. Seeded: with the
same number of runs the same numbers come out, whatever the machine.
"""

import argparse
import math
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import islice

import numpy as np

from loadtests.simulated_rows import HOUR, TABLES, Row
from loadtests.simulated_traffic import EDGES, RATE, World
from router.analysis import ASSIGNMENT, Decision, Wealth, assess
from router.contrasts import safe_log_e
from router.detector import Detector, detect
from router.evidence import Arm, Block
from router.sequential import Budgets, LimitCheck, SequentialCheck, default_checks
from router.synthetic import constant
from router.verdict import VerdictKind

NEVER = math.inf
AT_ONCE = 32
SHARES_OF_RUNS = ("false_alarms", "margins", "moving", "batches")


def run(table: str, number: int, seed: int) -> tuple[float, ...]:
    """Requests until the end of one run of a table's row, at each alpha (infinite if it never came)."""
    row = TABLES[table]()[number]
    if row.after_promotion is not None:
        return (_watch(row.after_promotion, row.world.onset, seed),)
    if row.ends is Decision.ABORT:
        return _until_abort(row, seed)
    if row.ends is Decision.ADVANCE:
        return _until_safe(row, seed)
    found, wealth, budgets = [NEVER] * len(row.alphas), Wealth(), Budgets()
    for block in islice(row.world.blocks(np.random.default_rng(seed)), row.seconds):
        wealth, verdict = assess(row.checks, wealth, [block], budgets)
        for column, alpha in enumerate(row.alphas):
            if found[column] == NEVER and verdict.assignment_log_e >= -math.log(alpha):
                found[column] = float((block.index + 1) * RATE)
        if NEVER not in found:
            break
    return tuple(found)


def _until_abort(row: Row, seed: int) -> tuple[float, ...]:
    """The same for harm: many blocks at once, and more the longer it lasts, since a crossing is remembered."""
    found, wealth, taken = [NEVER] * len(row.alphas), Wealth(), 0
    stream = islice(row.world.blocks(np.random.default_rng(seed)), row.seconds)
    while NEVER in found and (blocks := list(islice(stream, max(AT_ONCE, taken // 4)))):
        wealth, taken = _search(row, wealth, blocks, found), taken + len(blocks)
    return tuple(found)


def _search(row: Row, before: Wealth, blocks: Sequence[Block], found: list[float]) -> Wealth:
    """The wealth after these blocks. In which of them a level was crossed for the first time is found by halving."""
    after, _ = assess(row.checks, before, blocks, Budgets(false_rollback=max(row.alphas)))
    reached = _reached(after, row.alphas, found)
    if reached and len(blocks) > 1:
        half = len(blocks) // 2
        return _search(row, _search(row, before, blocks[:half], found), blocks[half:], found)
    for column in reached:
        found[column] = float((blocks[-1].index + 1) * RATE)
    return after


def _until_safe(row: Row, seed: int) -> tuple[float, ...]:
    """The same for safety: many blocks at once, and one by one where it may have been shown on the way."""
    found, wealth = [NEVER] * len(row.alphas), Wealth()
    stream = islice(row.world.blocks(np.random.default_rng(seed)), row.seconds)
    least = -math.log(max(row.alphas))
    while NEVER in found and (blocks := list(islice(stream, AT_ONCE))):
        before, (wealth, _) = wealth, assess(row.checks, wealth, blocks)
        if min(_highest_safe(check, wealth) for check in row.checks if check.safe is not None) < least:
            continue
        for block in blocks:
            before, verdict = assess(row.checks, before, [block])
            reached = min((c.safe_log_e for c in verdict.checks if c.safe_log_e is not None), default=0.0)
            for column, alpha in enumerate(row.alphas):
                if found[column] == NEVER and reached >= -math.log(alpha):
                    found[column] = float((block.index + 1) * RATE)
    return tuple(found)


def _highest_safe(check: SequentialCheck, wealth: Wealth) -> float:
    """No less than the evidence of safety has ever been."""
    state = wealth.checks[check.name]
    peaked = {name: replace(process, log_e=process.peak) for name, process in state.processes.items()}
    return safe_log_e(replace(state, processes=peaked), check.safe) if check.safe is not None else 0.0


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description="Operating characteristics of the evidence, by simulation.")
    parser.add_argument("tables", nargs="*", default=list(TABLES), help=f"of {', '.join(TABLES)}")
    parser.add_argument("--minutes", type=float, default=10.0, help="for everything, about (10)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="rows with this in their names, and nothing else")
    options = parser.parse_args(arguments)
    wanted = {
        table: [(at, row) for at, row in enumerate(TABLES[table]()) if options.only in row.name]
        for table in options.tables
    }
    each = options.minutes * 60.0 / max(1, sum(map(len, wanted.values())))
    with ProcessPoolExecutor(options.processes) as pool:
        for table, rows in wanted.items():
            print(f"\n{table}: {TABLES[table].__doc__}\n")
            for number, row in rows:
                found: list[tuple[float, ...]] = []
                began = time.monotonic()
                while len(found) < row.runs and (not found or time.monotonic() - began < each):
                    first = options.seed * 100_000 + len(found)
                    seeds = range(first, first + min(row.runs - len(found), 2 * options.processes))
                    found += pool.map(run, [table] * len(seeds), [number] * len(seeds), seeds)
                print(line(table, row, found), flush=True)
    if options.only:
        return
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
        if table in SHARES_OF_RUNS:
            told.append(f"alpha {alpha:g}: {crossed.mean():6.1%}")
        else:
            median, late = (np.quantile(ends, q, method="lower") for q in (0.5, 0.9))
            told.append(f"alpha {alpha:g}: {median:9,.0f} (p90 {late:9,.0f})")
    return f"  {row.name:50} {'  '.join(told)}   {len(found)} runs"


if __name__ == "__main__":
    main()
