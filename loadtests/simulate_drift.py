"""How often drift is claimed where there is none, and found where there is some: the tables of the docs, by simulation.

    python -m loadtests.simulate_drift [--runs 400] [--seed 1] [table ...]

A reference of 10,000 normal values makes ten bins; windows of n live values are compared with it. Seeded: the same runs
give the same numbers on every machine.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from router.drift import Distances, Level, distances, level_of
from router.input_match import Split, compare

REFERENCE = 10_000
SIZES = (200, 500, 1_000, 5_000)
SHIFTS = (0.25, 0.5)
NORMAL_DECILES = tuple(NormalDist().inv_cdf(tenth / 10) for tenth in range(1, 10))
KOLMOGOROV = 1.3581
"""Critical value of the two-sample test at p = 0.05, large samples."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class World:
    """One reference, its inner deciles, and the counts between them."""

    values: Values
    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "World":
        values = np.sort(rng.standard_normal(REFERENCE))
        edges = np.quantile(values, np.arange(0.1, 1.0, 0.1))
        return cls(values, tuple(edges.tolist()), binned(values, edges))

    def window(self, rng: np.random.Generator, n: int, shift: float) -> tuple[Values, tuple[int, ...]]:
        live = rng.standard_normal(n) + shift
        return live, binned(live, np.asarray(self.edges))

    def distances(self, live: tuple[int, ...], features: int = 1) -> Distances:
        return distances("number", self.counts, live, self.edges, features)


def binned(values: Values, edges: Values) -> tuple[int, ...]:
    """Counts of len(edges) + 1 bins; a value on an edge belongs below it."""
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return tuple(counts.tolist())


def kolmogorov(reference: Values, live: Values) -> bool:
    """Whether the two-sample Kolmogorov-Smirnov test says "different" at p < 0.05. `reference` is sorted."""
    ordered = np.sort(live)
    everywhere = np.concatenate([reference, ordered])
    gaps = np.searchsorted(reference, everywhere, "right") / len(reference)
    gaps -= np.searchsorted(ordered, everywhere, "right") / len(ordered)
    n, m = len(live), len(reference)
    return bool(np.abs(gaps).max() > KOLMOGOROV * math.sqrt((n + m) / (n * m)))


def common_rules(runs: int, seed: int) -> list[list[str]]:
    """The share of windows in which the usual rules fire."""
    rows = []
    for n in SIZES:
        hits = np.zeros(5)
        for run in range(runs):
            rng = np.random.default_rng([seed, n, run])
            world = World.drawn(rng)
            (still, still_counts), (moved, _) = world.window(rng, n, 0.0), world.window(rng, n, 0.1)
            (_, far_counts) = world.window(rng, n, 0.5)
            same, far = world.distances(still_counts), world.distances(far_counts)
            hits += [same.js > 0.1, (same.wasserstein or 0.0) > 0.1, far.psi > 0.2,
                     kolmogorov(world.values, still), kolmogorov(world.values, moved)]  # fmt: skip
        rows.append([f"{n:,}", *(percent(hit / runs) for hit in hits)])
    return rows


def serin_rule(runs: int, seed: int, features: int = 30) -> list[list[str]]:
    """Serin's rule with `features` looked at together: false alarms of any of them in one window and in two that follow
    one another; and how many of the features that moved are found, in two windows and in four."""
    rows = []
    for n in SIZES:
        alarms, found = np.zeros(2), np.zeros((len(SHIFTS), 2))
        for run in range(runs):
            rng = np.random.default_rng([seed, n, run, 1])
            still = np.array([_levels(rng, n, 0.0, features, windows=4) for _ in range(features)])
            alarms += [still[:, 0].any(), two_in_a_row(still).any()]
            for at, shift in enumerate(SHIFTS):
                moved = _levels(rng, n, shift, features, windows=4)
                found[at] += [moved[:2].all(), two_in_a_row(moved[None]).any()]
        rows.append([f"{n:,}", *(percent(count / runs) for count in (*alarms, *found.ravel()))])
    return rows


def two_in_a_row(fired: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[features]: whether a window and the one after it both fired."""
    return np.asarray((fired[:, 1:] & fired[:, :-1]).any(axis=1))


def _levels(rng: np.random.Generator, n: int, shift: float, features: int, windows: int) -> NDArray[np.bool_]:
    world = World.drawn(rng)
    counts = (world.window(rng, n, shift)[1] for _ in range(windows))
    return np.array([level_of("number", world.distances(live, features)) is Level.ALARM for live in counts])


def sizes(runs: int, seed: int) -> list[list[str]]:
    """What a shift of the mean amounts to, at n = 5,000: means of the runs."""
    rows = []
    for shift in (0.1, *SHIFTS):
        sums = np.zeros(3)
        for run in range(runs):
            rng = np.random.default_rng([seed, run, 2])
            world = World.drawn(rng)
            found = world.distances(world.window(rng, 5_000, shift)[1])
            sums += [found.psi, found.js, found.wasserstein or 0.0]
        rows.append([f"+{shift:g} sd", *(f"{total / runs:.3f}" for total in sums)])
    return rows


LOOKS, REQUESTS, FEATURES, CALLERS = 60, 1_000, 5, 2_000
"""Of one split: looks, requests between two of them, features, and callers where these are told apart."""


def equal_inputs(runs: int, seed: int) -> list[list[str]]:
    """How often a split's versions are said to get different inputs, and after how many requests (median)."""
    scenarios: dict[str, Callable[[np.random.Generator], int]] = {
        "equal, 5 % split": lambda rng: _split(rng, 0.05, 0.0),
        "equal, 50 % split, the world drifts by 1 sd": lambda rng: _split(rng, 0.5, 0.0, world=1.0),
        "one of 5 features +0.25 sd, 5 % split": lambda rng: _split(rng, 0.05, 0.25),
        "one of 5 features +0.25 sd, 50 % split": lambda rng: _split(rng, 0.5, 0.25),
        "equal, few busy callers, each request counted": lambda rng: _callers(rng, each_once=False),
        "equal, few busy callers, each caller counted once": lambda rng: _callers(rng, each_once=True),
    }
    rows = []
    for at, (name, run) in enumerate(scenarios.items()):
        found = [run(np.random.default_rng([seed, at, number, 3])) for number in range(runs)]
        told = [requests for requests in found if requests]
        rows.append([name, percent(len(told) / runs), f"{int(np.median(told)):,}" if told else "-"])
    return rows


def _split(rng: np.random.Generator, share: float, shift: float, world: float = 0.0) -> int:
    """Requests until a difference is claimed; 0 if none is. `shift`: of the candidate's first feature."""
    arms, edges = _nothing(), np.asarray(NORMAL_DECILES)
    known = compare(None, _seen(arms))
    for look in range(LOOKS):
        candidates = int(rng.binomial(REQUESTS, share))
        for arm, n in enumerate((candidates, REQUESTS - candidates)):
            for feature in range(FEATURES):
                mean = world * look / LOOKS + (shift if arm == 0 and feature == 0 else 0.0)
                arms[arm, feature, :-1] += binned(rng.standard_normal(n) + mean, edges)
        known = compare(known, _seen(arms))
        if known.differs:
            return known.requests
    return 0


def _callers(rng: np.random.Generator, each_once: bool) -> int:
    """Callers who always send the same, Zipf many requests each, and stay with their version."""
    arms = _nothing()
    habits, versions = rng.integers(0, 10, (CALLERS, FEATURES)), rng.integers(0, 2, CALLERS)
    busy = 1.0 / np.arange(1, CALLERS + 1)
    seen, known = np.zeros(CALLERS, dtype=bool), compare(None, _seen(arms))
    for _ in range(LOOKS):
        callers = rng.choice(CALLERS, REQUESTS, p=busy / busy.sum())
        if each_once:
            callers = np.unique(callers)
            callers = callers[~seen[callers]]
            seen[callers] = True
        for arm in (0, 1):
            own = callers[versions[callers] == arm]
            for feature in range(FEATURES):
                arms[arm, feature] += np.bincount(habits[own, feature], minlength=11)
        known = compare(known, _seen(arms))
        if known.differs:
            return known.requests
    return 0


def _nothing() -> NDArray[np.int64]:
    """Counts by version, feature and bin; the last bin is for missing values."""
    return np.zeros((2, FEATURES, 11), dtype=np.int64)


def _seen(arms: NDArray[np.int64]) -> Split:
    candidate, stable = ({str(at): tuple(counts.tolist()) for at, counts in enumerate(arm)} for arm in arms)
    return Split("a split", 1, dict.fromkeys(candidate, "number"), candidate, stable)


def percent(share: float) -> str:
    """Whole percent; a share below half a percent keeps a digit."""
    return f"{share:.0%}" if share >= 0.01 or share == 0 else f"{share:.1%}"


TABLES: dict[str, tuple[str, Callable[[int, int], list[list[str]]]]] = {
    "common": (
        "live n | JS > 0.1, no drift | W/sd > 0.1, no drift | PSI > 0.2, +0.5 sd | KS p < .05, no drift | KS, +0.1 sd",
        common_rules,
    ),
    "serin": (
        "live n | 30 features, no drift: any in 1 window | 2 in a row of 4 | +0.25 sd: 2 windows | of 4 | "
        "+0.5 sd: 2 windows | of 4",
        serin_rule,
    ),
    "sizes": ("shift | PSI | JS | W/sd", sizes),
    "inputs": ("versions of a split | said to differ | after requests, median", equal_inputs),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Simulate the rules that claim drift.")
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("table", nargs="*", default=list(TABLES), help=f"of {', '.join(TABLES)}")
    asked = parser.parse_args(arguments)
    for name in asked.table:
        headings, simulate = TABLES[name]
        print(f"{name}, {asked.runs} runs, seed {asked.seed}\n| {headings} |")
        print("|" + "---|" * (headings.count("|") + 1))
        for row in simulate(asked.runs, asked.seed):
            print(f"| {' | '.join(row)} |")
        print()


if __name__ == "__main__":
    main()
