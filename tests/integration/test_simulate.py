"""`serin simulate` with its real process."""

import json
import subprocess
import sys
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
