"""The demo itself: it ends by itself, and only with 0 when everything that it claims was so."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_demo_holds_what_it_claims() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "loadtests.demo"], capture_output=True, text=True, timeout=300, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✗ " not in done.stdout.rpartition("In short")[2]
    assert "version 2   promoted" in done.stdout
    assert "version 3   aborted by labels" in done.stdout
    assert "\x1b" not in done.stdout
