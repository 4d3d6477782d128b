"""docs/security.md answers every kind of attack, and the tests that it names are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text()
ROWS = {found[1]: found[2] for found in re.finditer(r"^\| (B\d+) \| [^|]+ \| ([^|]+) \|$", TEXT, re.M)}
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT)
CASE_ROW = re.compile(r'"(B\d+)"')


def test_every_row_is_answered() -> None:
    assert list(ROWS) == [f"B{number}" for number in range(1, 38)]


@pytest.mark.parametrize("row", ROWS)
def test_an_answer_is_a_test_or_a_reason(row: str) -> None:
    assert re.search(r"`tests/|Cannot occur|Open|Locked", ROWS[row])


@pytest.mark.parametrize(("file", "test"), sorted(set(NAMED)))
def test_a_test_that_is_named_is_there(file: str, test: str) -> None:
    text = (ROOT / file).read_text()
    assert not test or f"def {test}(" in text


def test_the_corpus_names_rows_that_there_are() -> None:
    for file in (ROOT / "tests" / "hostile").glob("*.py"):
        assert set(CASE_ROW.findall(file.read_text())) <= set(ROWS), file
