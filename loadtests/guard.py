"""Has the hot path become slower? `python -m loadtests.guard` compares it with what was recorded, stage by stage.

A stage counts by its ratio to a fixed loop of Python: in instructions where valgrind can count them, since nothing that
else runs on the machine changes those, else in time. Whole requests in the lane count by time. What seems more than a
tenth slower by time is measured again; only what is so each time is said. `--record` writes down what is now.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from timeit import default_timer

import uvloop

from loadtests import hotpath, instructions, lane

BASELINE = Path(__file__).with_name("hotpath.json")
BY_TIME, BY_INSTRUCTIONS = "time", "instructions"
ALLOWED = 1.1
LOOKS = 4
TURNS = 300
PASSES, PASS_MICROS = 150, 700
"""Short and many: the quietest moments of a busy machine are short too."""

LANE = {"a request in the lane, of 64 at a time": 64, "a request in the lane, alone": 1}

Ratios = dict[str, float]


def slower(recorded: Ratios, seen: Ratios) -> Ratios:
    """Stages whose ratio is more than a tenth above the recorded one, and how many times that it is."""
    found = {name: ratio / recorded[name] for name, ratio in seen.items() if name in recorded}
    return {name: times for name, times in found.items() if times > ALLOWED}


def look_at_stages() -> Ratios:
    """The ratio of each stage to the yardstick, in the quietest moments of both."""
    with TemporaryDirectory(prefix="serin-guard-") as folder:
        stages = hotpath.stages(Path(folder), passes=PASSES, pass_micros=PASS_MICROS)
    return by_yardstick({stage.name: stage.micros for stage in stages})


def look_at_lane() -> Ratios:
    """The same of whole requests."""
    found = {}
    for name, clients in LANE.items():
        with TemporaryDirectory(prefix="serin-guard-") as folder:
            own, other = uvloop.run(lane.micros(Path(folder), clients, TURNS, _yardstick_micros))
        found[name] = round(own / other, 4)
    return found


def counted_stages() -> Ratios:
    """The ratio of each stage to the yardstick in instructions. Raises CannotCount."""
    with TemporaryDirectory(prefix="serin-guard-") as folder:
        return by_yardstick(instructions.count(Path(folder)))


def by_yardstick(costs: Ratios) -> Ratios:
    """Each cost but the yardstick's by that."""
    unit = costs[hotpath.YARDSTICK]
    return {name: round(cost / unit, 4) for name, cost in costs.items() if name != hotpath.YARDSTICK}


def best_of(looks: int, recorded: Ratios, look: Callable[[], Ratios]) -> Ratios:
    """The least ratio of each stage; looks again only while something seems slower."""
    best: Ratios = {}
    for _ in range(looks):
        best = {name: min(ratio, best.get(name, ratio)) for name, ratio in look().items()}
        if recorded and not slower(recorded, best):
            break
    return best


def _yardstick_micros() -> float:
    begun = default_timer()
    hotpath.yardstick()
    return (default_timer() - begun) * 1e6


def _measured(recorded: dict[str, Ratios], *, also_time: bool = False) -> dict[str, Ratios]:
    """What is now, in the form of the record. `also_time`: of the stages, though their instructions can be counted."""
    known = recorded.get(BY_TIME, {})
    seen = {BY_TIME: best_of(LOOKS, known, look_at_lane)}
    try:
        seen[BY_INSTRUCTIONS] = counted_stages()
    except instructions.CannotCount as reason:
        print(f"instructions were not counted, the stages are timed: {reason}")
    if also_time or BY_INSTRUCTIONS not in seen:
        seen[BY_TIME] |= best_of(LOOKS, known, look_at_stages)
    return seen


def main() -> int:
    """0 when nothing is slower, 1 when something is, 2 when nothing was recorded."""
    parser = argparse.ArgumentParser(prog="loadtests.guard", description="Compare the hot path with the recorded one.")
    parser.add_argument("--record", action="store_true", help=f"write {BASELINE.name}")
    if parser.parse_args().record:
        BASELINE.write_text(json.dumps(_measured({}, also_time=True), indent=1, sort_keys=True) + "\n")
        print(f"recorded in {BASELINE.name}")
        return 0
    if not BASELINE.is_file():
        print("nothing was recorded: python -m loadtests.guard --record")
        return 2
    recorded = json.loads(BASELINE.read_text())
    worse = False
    for kind, seen in _measured(recorded).items():
        known = recorded.get(kind, {})
        for name, ratio in seen.items():
            before = f", recorded {known[name]:.3f}" if name in known else ", not recorded"
            print(f"{name:45} {ratio:8.3f} × yardstick by {kind}{before}")
        for name, times in slower(known, seen).items():
            worse = True
            print(f"slower: {name} takes {times:.2f} times what was recorded, by {kind}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
