"""docs/reliability.md answers every row, and the experiments and tests that it names are there."""

import re
from pathlib import Path

import pytest

from loadtests.faults.catalogue import experiments

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "reliability.md").read_text()
TABLE = TEXT[TEXT.index("<!-- experiments -->") : TEXT.index("<!-- end -->")]
ROWS = {found[1]: found[2] for found in re.finditer(r"^\| (C\d+) \| [^|]+ \| ([^|]+) \| [^|]+ \|$", TABLE, re.M)}
KNOWN = experiments()
ELSEWHERE = {"C6", "C7", "C8"}
"""Rows about overload: a page of their own may have their experiments."""


def test_every_row_is_answered() -> None:
    assert list(ROWS) == [f"C{number}" for number in range(1, 27)]


@pytest.mark.parametrize("row", ROWS)
def test_what_a_row_names_is_there(row: str) -> None:
    for name in re.findall(r"`([^`]+)`", ROWS[row]):
        assert name in KNOWN or (ROOT / name).exists() or name.startswith("python -m loadtests."), name


@pytest.mark.parametrize("name", [name for name, one in KNOWN.items() if one.row not in ELSEWHERE])
def test_an_experiment_stands_in_its_row(name: str) -> None:
    assert f"`{name}`" in ROWS[KNOWN[name].row]


def test_commands_name_experiments_that_there_are() -> None:
    named = re.findall(r"python -m loadtests\.faults (\w+)", TEXT)
    assert named
    assert set(named) <= set(KNOWN)
