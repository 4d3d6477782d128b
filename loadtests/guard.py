"""Has the hot path become slower? `python -m loadtests.guard` compares it with what was recorded, stage by stage.

A stage counts by its ratio to a fixed loop of Python, so that another machine or a busy day matters little. What seems
more than a tenth slower is measured again; only what is so each time is said. `--record` writes down what is now.
"""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from timeit import default_timer

import uvloop

from loadtests import hotpath, lane

BASELINE = Path(__file__).with_name("hotpath.json")
ALLOWED = 1.1
LOOKS = 4
TURNS = 300
PASSES, PASS_MICROS = 150, 700
"""Short and many: the quietest moments of a busy machine are short too."""

LANE = {"a request in the lane, of 64 at a time": 64, "a request in the lane, alone": 1}


def slower(recorded: dict[str, float], seen: dict[str, float]) -> dict[str, float]:
    """Stages whose ratio is more than a tenth above the recorded one, and how many times that it is."""
    found = {name: ratio / recorded[name] for name, ratio in seen.items() if name in recorded}
    return {name: times for name, times in found.items() if times > ALLOWED}


def look() -> dict[str, float]:
    """The ratio of each stage to the yardstick, in the quietest moments of both."""
    with TemporaryDirectory(prefix="serin-guard-") as folder:
        stages = hotpath.stages(Path(folder), passes=PASSES, pass_micros=PASS_MICROS)
        unit = next(stage.micros for stage in stages if stage.name == hotpath.YARDSTICK)
        ratios = {stage.name: stage.micros / unit for stage in stages if stage.name != hotpath.YARDSTICK}
        for name, clients in LANE.items():
            own, other = uvloop.run(lane.micros(Path(folder), clients, TURNS, _yardstick_micros))
            ratios[name] = own / other
    return {name: round(ratio, 4) for name, ratio in ratios.items()}


def best_of(looks: int, recorded: dict[str, float]) -> dict[str, float]:
    """The least ratio of each stage; looks again only while something seems slower."""
    best: dict[str, float] = {}
    for _ in range(looks):
        best = {name: min(ratio, best.get(name, ratio)) for name, ratio in look().items()}
        if recorded and not slower(recorded, best):
            break
    return best


def _yardstick_micros() -> float:
    begun = default_timer()
    hotpath.yardstick()
    return (default_timer() - begun) * 1e6


def main() -> int:
    """0 when nothing is slower, 1 when something is, 2 when nothing was recorded."""
    parser = argparse.ArgumentParser(prog="loadtests.guard", description="Compare the hot path with the recorded one.")
    parser.add_argument("--record", action="store_true", help=f"write {BASELINE.name}")
    record = parser.parse_args().record
    if record:
        BASELINE.write_text(json.dumps(best_of(LOOKS, {}), indent=1, sort_keys=True) + "\n")
        print(f"recorded in {BASELINE.name}")
        return 0
    if not BASELINE.is_file():
        print("nothing was recorded: python -m loadtests.guard --record")
        return 2
    recorded = json.loads(BASELINE.read_text())
    seen = best_of(LOOKS, recorded)
    for name, ratio in seen.items():
        before = recorded.get(name)
        print(f"{name:45} {ratio:8.3f} × yardstick" + (f", recorded {before:.3f}" if before else ", not recorded"))
    worse = slower(recorded, seen)
    for name, times in worse.items():
        print(f"slower: {name} takes {times:.2f} times what was recorded")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
