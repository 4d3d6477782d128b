"""Deaths are told by the files that a dead process would leave."""

from pathlib import Path

import msgspec
import pytest

from service.runtime.ledger import PATIENCE, Attempt, Ledger, cause_of_death
from service.runtime.verdict import Verdict

GOOD, BAD = Verdict(True, signature={"inputs": []}), Verdict(False, "broken")
SEGFAULT = "Fatal Python error: Segmentation fault\n\nThread 0x1 (most recent call first):\n  File x\n"
TIMEOUT = "Timeout (0:01:00)!\nThread 0x1 (most recent call first):\n"


def die(directory: Path, key: str = "content", words: str = "") -> None:
    """Leave what a process leaves that dies during a first load."""
    (directory / "inventory.attempt").write_bytes(msgspec.json.encode(Attempt(key, "m:1")))
    (directory / "inventory.crash").write_text(words)


def test_good_verdicts_outlive_the_process(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.remember("content", GOOD)
    ledger.save()
    assert Ledger(tmp_path).verdict("content") == GOOD


def test_failures_are_tried_again_in_the_next_life(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.remember("content", BAD)
    ledger.save()
    assert Ledger(tmp_path).verdict("content") is None


def test_a_digest_holds_as_long_as_the_stamp(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.remember_digest("m/1", "stamp", "sha256:a")
    ledger.save()
    assert Ledger(tmp_path).digest("m/1", "stamp") == "sha256:a"
    assert Ledger(tmp_path).digest("m/1", "other") is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 0}', b"[]", b"\xff"])
def test_a_damaged_memory_costs_only_time(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "inventory.json").write_bytes(content)
    (tmp_path / "inventory.attempt").write_bytes(content)
    ledger = Ledger(tmp_path)
    assert ledger.mourned is None
    ledger.remember("content", GOOD)
    ledger.save()
    assert Ledger(tmp_path).verdict("content") == GOOD


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (SEGFAULT, "the process that first loaded it died: Segmentation fault"),
        (TIMEOUT, "the process that first loaded it took too long and was ended"),
    ],
)
def test_a_death_by_a_fault_or_the_alarm_blames_the_content_at_once_and_for_good(
    tmp_path: Path, words: str, reason: str
) -> None:
    die(tmp_path, words=words)
    ledger = Ledger(tmp_path)
    assert ledger.mourned == f"m:1: {reason}"
    assert ledger.verdict("content") == Verdict(False, reason)
    again = Ledger(tmp_path)
    assert again.mourned is None
    assert again.verdict("content") == Verdict(False, reason)


def test_a_death_without_words_blames_only_when_it_comes_again_and_again(tmp_path: Path) -> None:
    for _ in range(PATIENCE - 1):
        die(tmp_path)
        assert Ledger(tmp_path).verdict("content") is None
    die(tmp_path)
    verdict = Ledger(tmp_path).verdict("content")
    assert verdict is not None
    assert "ended 3 times" in verdict.reason


def test_a_load_that_was_lived_through_blames_nobody(tmp_path: Path) -> None:
    die(tmp_path)
    with Ledger(tmp_path).attempt("content", "m:1"):
        pass
    assert Ledger(tmp_path).mourned is None


def test_an_orderly_end_during_a_load_blames_nobody(tmp_path: Path) -> None:
    die(tmp_path)
    Ledger(tmp_path).give_up_attempt()
    assert Ledger(tmp_path).mourned is None


def test_last_words_of_an_earlier_life_blame_nobody_later(tmp_path: Path) -> None:
    die(tmp_path, "first", SEGFAULT)
    Ledger(tmp_path)
    (tmp_path / "inventory.attempt").write_bytes(msgspec.json.encode(Attempt("second", "m:2")))
    assert Ledger(tmp_path).verdict("second") is None


def test_a_second_killer_does_not_make_the_first_forgotten(tmp_path: Path) -> None:
    for key in ("first", "second"):
        die(tmp_path, key, SEGFAULT)
        Ledger(tmp_path)
    ledger = Ledger(tmp_path)
    assert ledger.verdict("first") is not None
    assert ledger.verdict("second") is not None


def test_other_words_are_no_cause() -> None:
    assert cause_of_death("") is None
    assert cause_of_death("Traceback (most recent call last):") is None
