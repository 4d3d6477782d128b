"""What a tick of the controller costs that judges many rollouts by evidence, in CPU time of its process.

    python -m loadtests.judge_cost [--models 20] [--ticks 60] [--requests 100]

Every tick: `--requests` requests of each model are counted by two workers, one reading of all counters is shared by all
rollouts, each cuts a block, weighs it, and what it remembers and logs is encoded as for the database. Three checks:
errors (three margins), latency (three quantiles) and ten classes.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from router.assessor import Question
from router.counters import Segment
from router.hooks import Sender
from router.judge import Judge
from router.layout import How, Outcome
from router.plan import RolloutSpec
from router.routes import Route, Variant
from router.sources import Sources
from router.spec import parse_spec
from router.tally import Reader
from router.telemetry import Recorder, SeriesName, WatchedFamily

CLASSES = WatchedFamily("label", "class", labels=tuple("0123456789"))
METRICS = {"outputs_valid": False, "score": False}
ANALYSIS = {"warmup": {"seconds": 0, "requests": 0}, "metrics": METRICS}


@dataclass(slots=True)
class Fleet:
    """Two workers that count what is asked of them."""

    directory: Path
    models: int
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    workers: list[Recorder] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.workers = [Recorder(Segment.open(self.directory, slot)) for slot in (0, 1)]

    def count(self, requests: int) -> None:
        """So many more of each model, half of them to the candidate."""
        rng = self.rng
        for model in range(self.models):
            for number in range(requests):
                version = 1 + (rng.random() < 0.5)
                series = self.workers[number % 2].variant(
                    SeriesName(f"m{model}", version, str(version), 1), (CLASSES,), 0
                )
                outcome = Outcome.ERROR if rng.random() < 0.01 else Outcome.OK
                series.assigned(How.SPLIT_DRAWN)
                micros = int(500 * rng.lognormvariate(0.0, 0.5))
                series.observe(outcome, 1000 * micros, (1000, 0, 1000, 1000), (rng.randrange(10),))

    def close(self) -> None:
        for worker in self.workers:
            worker.segment.close()


@cache
def spec_of(model: int) -> RolloutSpec:
    """Read once, as a rollout's is."""
    steps = [{"weight": 50}, {"weight": 60, "safe": {"ratio": 2}}, {"weight": 70, "safe": {"ratio": 3}}]
    return parse_spec({"model": f"m{model}", "to": 2, "steps": steps, "analysis": ANALYSIS})


def question(model: int, now: float, memory: dict[str, Any]) -> Question:
    """What the pilot would ask."""
    spec = spec_of(model)
    route = Route(f"m{model}", (Variant("1", 1, 500_000), Variant("2", 2, 500_000)), epoch=1)
    return Question(f"m{model}-1", f"m{model}", 0, now, route, "1", ("2",), (), memory, spec.analysis, spec.steps, now)


async def measure(models: int, ticks: int, requests: int) -> list[float]:
    """Milliseconds of CPU time of each tick."""
    with tempfile.TemporaryDirectory(prefix="serin-cost-") as directory:
        fleet = Fleet(Path(directory), models)
        judge = Judge(Reader(Path(directory)).read, Sources({}), {}, Sender(time.monotonic))
        memories: list[dict[str, Any]] = [{} for _ in range(models)]
        spent = []
        for tick in range(ticks):
            fleet.count(requests if tick else 0)
            asked = [question(model, float(2 * tick), memories[model]) for model in range(models)]
            begun = time.process_time()
            said = await asyncio.gather(*(judge.assess(one) for one in asked))
            for found in said:
                msgspec.json.encode(found.memory)
                msgspec.json.encode(found.log)
            spent.append(1e3 * (time.process_time() - begun))
            memories = [dict(found.memory or {}) for found in said]
            assert tick == 0 or all(found.log for found in said)
        fleet.close()
        return spent[ticks // 2 :]


def main() -> None:
    parser = argparse.ArgumentParser(description="What a tick of the controller costs.")
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--ticks", type=int, default=60)
    parser.add_argument("--requests", type=int, default=100)
    given = parser.parse_args()
    spent = sorted(asyncio.run(measure(given.models, given.ticks, given.requests)))
    print(f"{given.models} rollouts, 3 checks, {given.requests} requests each a tick:")
    print(
        f"median {statistics.median(spent):.1f} ms, least {spent[0]:.1f} ms, most {spent[-1]:.1f} ms of CPU time a tick"
    )


if __name__ == "__main__":
    main()
