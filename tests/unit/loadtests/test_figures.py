"""Saved results as a table and a picture."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from loadtests.figures import DOCUMENT, MEASURED, PICTURED, README, groups_of, marks, picture, table, with_block


def record(name: str, serin: float, *, regime: str = "as is", first: str = "reference") -> dict[str, Any]:
    rounds = {
        server: [{"requests": rate, "seconds": 1.0, "p99_ms": 4.0, "core_micros": 300.0}]
        for server, rate in ((first, 1000), ("serin", serin))
    }
    ratios = {first: 1.0, "serin": serin / 1000}
    return {"scenario": {"name": name, "model": "tiny"}, "regime": regime, "ratios": ratios, "rounds": rounds}


def test_a_server_has_a_line_in_the_table() -> None:
    lines = table(groups_of([record("10-tiny", 12_000)])).splitlines()
    assert lines[2:] == [
        "| 10-tiny | as is | FastAPI, def | 1.00 | 1,000 | 4.0 | 300 |",
        "|  |  | Serin | 12.00 | 12,000 | 4.0 | 300 |",
    ]


def test_of_what_was_measured_twice_the_later_counts_and_other_yardsticks_are_left_out() -> None:
    found = groups_of([record("a", 1000), record("a", 2000), record("b", 1000, first="alone"), {"stages": []}])
    assert [(group.name, group.bars[1].ratio) for group in found] == [("a", 2.0)]


def test_the_picture_is_well_formed_and_the_longest_bar_is_the_quickest() -> None:
    drawn = ElementTree.fromstring(picture(groups_of([record("a <b>", 4000)]), "foot & more"))
    bars = [float(part.get("width", "0")) for part in drawn.iter() if part.get("x") == "170"]
    assert bars[1] == pytest.approx(4 * bars[0], rel=0.01)


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    begin, end = marks("some")
    assert with_block(f"a\n{begin}\nold\n{end}\nb\n", "some", "new") == f"a\n{begin}\nnew\n{end}\nb\n"
    with pytest.raises(ValueError, match="are not in it"):
        with_block("a", "some", "new")


@pytest.mark.parametrize(("path", "name"), [(DOCUMENT, MEASURED), (README, PICTURED)])
def test_what_is_written_has_its_place(path: Path, name: str) -> None:
    assert "new" in with_block(path.read_text(), name, "new")
