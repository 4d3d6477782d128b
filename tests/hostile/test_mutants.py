"""Damaged model files in a running gateway: every one gets a state and a reason, and nobody else notices (B22).

By hand, with a number and a seed: python -m tests.hostile.test_mutants 6000 1
"""

import shutil
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest

from tests.e2e.conftest import Running, eventually, gateway
from tests.hostile.mutants import Mutant, mutants
from tests.unit.service.runtime.tiny import place, times

BATCH = 500
"""Mutants in the directory at a time."""

EVERY = 10
"""One mutant in so many comes as a version beside good ones, the others as models of their own."""

PATIENCE_SECONDS = 120.0
LATE_SECONDS = 2.0
ROW = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.5, 2.5]}]}


@dataclass(slots=True)
class Load:
    """Good requests, one after the other, for as long as it goes."""

    url: str
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=30.0) as http:
            while not self._ended.wait(0.01):
                begun = monotonic()
                try:
                    answer = http.post("/v2/models/good/infer", json=ROW)
                    right = answer.status_code == 200 and answer.json()["outputs"][0]["data"] == [3.0, 5.0]
                    self.answered += right
                    if not right:
                        self.failures.append(answer.text[:300])
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                self.slowest_seconds = max(self.slowest_seconds, monotonic() - begun)

    def end(self) -> None:
        self._ended.set()


@contextmanager
def under_load(url: str) -> Iterator[Load]:
    load = Load(url)
    thread = threading.Thread(target=load.run, daemon=True)
    thread.start()
    try:
        yield load
    finally:
        load.end()
        thread.join(60.0)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of them. `restarts`: of the inventory."""

    states: Counter[str]
    answers: Counter[int]
    restarts: int
    seconds: float
    load: Load
    workers_before: Sequence[int]
    workers_after: Sequence[int]
    unexplained: list[str]

    def assert_harmless(self) -> None:
        assert self.workers_after == self.workers_before
        assert not self.load.failures, self.load.failures[:3]
        assert self.load.answered > 0
        assert not self.unexplained, self.unexplained[:5]
        assert self.states["UNAVAILABLE"] > self.states["READY"] > 0
        assert set(self.answers) <= {200, 400, 429, 500, 503, 504}

    def __str__(self) -> str:
        told = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        asked = ", ".join(f"{count} times {status}" for status, count in sorted(self.answers.items()))
        return (
            f"{sum(self.states.values())} mutants in {self.seconds:.0f} s: {told}\n"
            f"answers of those that are ready: {asked}\n"
            f"deaths of the inventory: {self.restarts}; of workers: "
            f"{len(set(self.workers_before) - set(self.workers_after))}\n"
            f"good requests beside them: {self.load.answered} answered, {len(self.load.failures)} failed, "
            f"slowest {self.load.slowest_seconds * 1000:.0f} ms"
        )


def expose(running: Running, seed: int, count: int) -> Report:
    """Give the gateway so many mutants, in batches, and ask each that it serves for an answer."""
    workers, begun = running.workers(), monotonic()
    states: Counter[str] = Counter()
    answers: Counter[int] = Counter()
    unexplained: list[str] = []
    source = enumerate(mutants(seed, count))
    with under_load(running.http) as load:
        while batch := list(islice(source, BATCH)):
            places = [_placed(running.models, number, mutant) for number, mutant in batch]
            found = _settled(running, places)
            for (_, mutant), where in zip(batch, places, strict=True):
                state, reason = found[where]
                states[state] += 1
                if state != "READY" and (not reason or "unexpectedly" in reason):
                    unexplained.append(f"{mutant.accident}: {state} {reason}")
            answers.update(_asked(running, [where for where in places if found[where][0] == "READY"]))
            for model, version in places:
                shutil.rmtree(running.models / model / version)
        sleep(1.0)
    restarts = sum(line["event"] == "inventory died" for line in running.log_lines())
    seconds = monotonic() - begun
    return Report(states, answers, restarts, seconds, load, workers, running.workers(), unexplained)


def _placed(models: Path, number: int, mutant: Mutant) -> tuple[str, str]:
    """Published as people do it: whole, under its name at once."""
    model, version = ("beside", str(number + 2)) if number % EVERY == 0 else (f"mutant-{number}", "1")
    hidden = models / f".incoming-{number}"
    hidden.mkdir()
    (hidden / "model.onnx").write_bytes(mutant.content)
    (models / model).mkdir(exist_ok=True)
    hidden.rename(models / model / version)
    return model, version


def _settled(running: Running, places: list[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, str]]:
    """State and reason of each, when all have one."""
    wanted = set(places)

    def look() -> dict[tuple[str, str], tuple[str, str]]:
        index = httpx.post(f"{running.http}/v2/repository/index", timeout=30.0).json()
        found = {(one["name"], one.get("version", "")): (one.get("state", ""), one.get("reason", "")) for one in index}
        told = {where: found[where] for where in wanted if where in found}
        waiting = [where for where in places if told.get(where, ("LOADING", ""))[0] not in ("READY", "UNAVAILABLE")]
        assert not waiting, (len(waiting), waiting[:5])
        return told

    result: dict[tuple[str, str], tuple[str, str]] = eventually(look, seconds=PATIENCE_SECONDS, every=0.2)
    return result


def _asked(running: Running, places: list[tuple[str, str]]) -> Iterator[int]:
    with httpx.Client(base_url=running.http, timeout=60.0) as http:
        for model, version in places:
            described = http.get(f"/v2/models/{model}/versions/{version}").json()
            inputs = []
            for one in described.get("inputs", []):
                shape = [size if size > 0 else 1 for size in one["shape"]]
                count = 1
                for size in shape:
                    count *= size
                if count > 100_000:
                    break
                blank = {"BYTES": "a", "BOOL": True}.get(one["datatype"], 1)
                inputs.append(
                    {"name": one["name"], "shape": shape, "datatype": one["datatype"], "data": [blank] * count}
                )
            begun = monotonic()
            answer = http.post(f"/v2/models/{model}/versions/{version}/infer", json={"inputs": inputs})
            yield answer.status_code
            if monotonic() - begun > LATE_SECONDS:
                print(f"{model}:{version} took {monotonic() - begun:.1f} s to answer {answer.status_code}")


@contextmanager
def fresh() -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="serin-") as name:
        directory = Path(name)
        place(directory / "models", "good", 1, times(2.0))
        place(directory / "models", "beside", 1, times(2.0))
        seconds = ("--request-timeout-seconds", "5", "--load-timeout-seconds", "20")
        with gateway(directory, "--workers", "2", *seconds) as running:
            yield running


@pytest.mark.parametrize("count", [150, pytest.param(6000, marks=pytest.mark.slow)])
def test_damaged_models_get_a_reason_and_harm_nobody(count: int) -> None:
    with fresh() as running:
        report = expose(running, count, count)
    print(report)
    report.assert_harmless()


if __name__ == "__main__":
    with fresh() as exposed:
        told = expose(exposed, int(sys.argv[2]), int(sys.argv[1]))
    print(told)
    told.assert_harmless()
