"""`serin simulate` with its real process."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SPEC = """
model: digits
to: 2
strategy: steps
steps: [{weight: 20, pause: 30s}, {weight: 50, pause: 30s}]
analysis: {metrics: {errors: {safe: {or_below: 0.01}}, latency: false}}
"""


def simulated(*words: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "service.cli", "simulate", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def test_a_policy_is_tried_and_the_same_seed_tells_the_same(tmp_path: Path) -> None:
    (tmp_path / "rollout.yaml").write_text(SPEC)
    named = ("--scenario", "aa", "--scenario", "errors", "--fault-errors", "0.2")
    words = ("--spec", str(tmp_path / "rollout.yaml"), *named, "--runs", "3", "--json")
    one, other = (json.loads(simulated(*words, "--processes", count)) for count in ("1", "2"))
    assert one == other
    harmless, failing = one["scenarios"]
    assert harmless["endings"]["promoted"] == 3
    assert failing["endings"]["aborted"] == 3
    assert failing["exposed"]["median"] < 300


def test_what_cannot_be_rehearsed_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "rollout.yaml").write_text("{model: digits, to: 2, strategy: instant}")
    told: Any = simulated("--spec", str(tmp_path / "rollout.yaml"), code=2)
    assert "evidence" in told
    assert "Traceback" not in told


def test_who_ends_the_command_ends_all_that_it_began() -> None:
    command = [sys.executable, "-m", "service.cli", "simulate", "--scenario", "aa", "--processes", "2"]
    asked = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: len(descendants(asked.pid)) >= 3)  # the process of the word, and two of its pool
        begun = descendants(asked.pid)
    finally:
        asked.terminate()
        asked.wait(30)
    wait_until(lambda: not any(runs(pid) for pid in begun))


def wait_until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.1)


def descendants(pid: int) -> list[int]:
    found = [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] if runs(pid) else []
    return [*found, *(below for child in found for below in descendants(child))]


def runs(pid: int) -> bool:
    """Whether it is there, and not merely unburied."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
