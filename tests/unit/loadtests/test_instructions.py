"""What is read of the files that callgrind writes."""

import shutil
from pathlib import Path

import pytest

from loadtests.instructions import CannotCount, count, least, read

WRITTEN = """# callgrind format
version: 1
pid: 7
part: 2
desc: Timerange: Basic block 12 - 99
desc: Trigger: Client Request: decode JSON / 50
events: Ir
summary: 40250
"""


def test_a_window_is_read_with_its_stage_and_the_instructions_of_one_call() -> None:
    assert read(WRITTEN) == ("decode JSON", 805.0)


def test_what_was_counted_to_the_end_of_the_program_is_no_stage() -> None:
    assert read(WRITTEN.replace("Client Request: decode JSON / 50", "Program termination")) is None


def test_of_several_windows_the_least_counts() -> None:
    assert least([("a", 5.0), None, ("b", 1.0), ("a", 4.0)]) == {"a": 4.0, "b": 1.0}


def test_without_the_tools_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(CannotCount, match="valgrind and a C compiler"):
        count(tmp_path)
