"""The processes of a trial: one for each worker, all loaded before the first begins."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from router.errors import DeadlineExceeded, FailedPrecondition
from service.tuning import Outcome, Setup

LOAD_SECONDS = 120.0
SPARE_SECONDS = 60.0
LAST_LETTERS = 300


@dataclass(frozen=True, slots=True)
class Subject:
    """What is tried, and by how many callers for how long. `inputs`: a file of request bodies, or ""."""

    models: str
    model: str
    version: int
    callers: int
    seconds: float
    inputs: str = ""


def attempt(subject: Subject, setup: Setup) -> tuple[Outcome, str]:
    """One setup, measured; and where its inputs came from. Raises FailedPrecondition, DeadlineExceeded."""
    with ExitStack() as stack:
        shares = _shares(subject.callers, setup.workers)
        workers = [stack.enter_context(_worker(subject, setup, callers)) for callers in shares]
        for worker in workers:
            _ready(worker)
        for worker in workers:
            _send(worker, "go")
        found = [_result(worker, subject.seconds + SPARE_SECONDS) for worker in workers]
    latencies = sorted(latency for one in found for latency in one["latencies_ms"])
    per_second = sum(one["requests"] / one["seconds"] for one in found)
    failed = sum(one["failed"] for one in found)
    return Outcome(setup, per_second, _at(latencies, 0.5), _at(latencies, 0.99), failed), found[0]["inputs"]


@contextmanager
def _worker(subject: Subject, setup: Setup, callers: int) -> Iterator[subprocess.Popen[str]]:
    told = {name: getattr(subject, name) for name in ("models", "model", "version", "seconds", "inputs")}
    told |= {"threads": setup.threads, "execution": setup.execution, "callers": callers}
    process = subprocess.Popen(
        [sys.executable, "-m", "service.trial"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _send(process, json.dumps(told))
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _send(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        raise _failure(process) from None


def _ready(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise _failure(process)


def _result(process: "subprocess.Popen[str]", seconds: float) -> dict[str, Any]:
    try:
        out, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded(f"a trial took more than {seconds:.0f} s") from None
    if process.returncode:
        raise FailedPrecondition(_last(errors))
    found: dict[str, Any] = json.loads(out)
    return found


def _failure(process: "subprocess.Popen[str]") -> FailedPrecondition:
    _, errors = process.communicate()
    return FailedPrecondition(_last(errors) or f"a trial ended with exit code {process.returncode}")


def _last(errors: str) -> str:
    return errors.strip().rpartition("\n")[2][-LAST_LETTERS:]


def _shares(callers: int, workers: int) -> list[int]:
    return [max(1, callers // workers + (number < callers % workers)) for number in range(workers)]


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
