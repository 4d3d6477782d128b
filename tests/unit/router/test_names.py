"""A caller's words in messages and in paths."""

import random
from pathlib import Path

import pytest

from router.names import is_name, number_of, shown

PIECES = [
    "..",
    ".",
    "/",
    "\\",
    "%2e",
    "%2f",
    "%5c",
    "\0",
    "\n",
    "~",
    "a",
    "digits",
    "-",
    "_",
    "C:",
    "file:",
    "#",
    "?",
    "\u2024",
    "\uff0e",
]


@pytest.mark.parametrize("word", ["digits", "dense_1/BiasAdd:0", "float input", "v1.2-rc", "x" * 64])
def test_plain_words_are_shown_as_they_are(word: str) -> None:
    assert shown(word) == f"'{word}'"


@pytest.mark.parametrize(
    "word", ["", "../up", "a/..", "/etc/passwd", "<script>", "a\nb", "\x1b[2J", "ж", "\ud800", "a'b", "x" * 65]
)
def test_of_others_only_the_length_is_told(word: str) -> None:
    assert shown(word) == f"(a text of {len(word)} characters)"


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("017", 17), ("9" * 18, 10**18 - 1)])
def test_digits_are_a_number(text: str, number: int) -> None:
    assert number_of(text) == number


@pytest.mark.parametrize("text", ["", "-1", "+1", " 1", "1_0", "\u00b2", "\u0661", "1.0", "9" * 19, "1\n"])
def test_what_is_no_number_of_ours_is_none(text: str) -> None:
    assert number_of(text) is None


def test_no_name_of_ten_thousand_leads_out_of_the_repository(tmp_path: Path) -> None:
    rng = random.Random(17)
    names = ["".join(rng.choices(PIECES, k=rng.randint(1, 6))) for _ in range(10_000)]

    taken = {name for name in names if is_name(name)}

    assert 10 < len(taken) < len(names)
    assert {(tmp_path / name).resolve().parent for name in taken} == {tmp_path.resolve()}
