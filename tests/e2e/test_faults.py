"""The short form of the cheaper experiments of `python -m loadtests.faults`: what they promise holds, but for speed."""

import json
import subprocess
import sys

import pytest

from loadtests.faults.catalogue import experiments
from tests.e2e.conftest import ROOT, clean_environment

CHEAP = ("deadlines", "drain", "split", "odd_models", "bad_config", "split_brain", "races", "state_damage")
LIMIT_SECONDS = 300.0


def test_every_experiment_is_of_a_row_and_says_what_it_does() -> None:
    known = experiments()
    assert set(CHEAP) <= set(known)
    assert all(one.row.startswith("C") and one.caption.endswith(".") for one in known.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", CHEAP)
def test_the_short_form_holds(name: str) -> None:
    command = [sys.executable, "-m", "loadtests.faults", name, "--json"]
    done = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    assert done.returncode in (0, 1), done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert len(told["figures"]) >= 4
    assert [figure for figure in told["figures"] if not figure["held"] and not figure["timed"]] == []
