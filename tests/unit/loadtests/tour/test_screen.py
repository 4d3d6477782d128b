"""The screen of the demo, and what decides its exit code."""

from io import StringIO

import numpy as np
from rich.console import Console

from loadtests.tour.screen import Screen, percent, picture


def screen() -> tuple[Screen, StringIO]:
    written = StringIO()
    return Screen(Console(file=written, width=100, highlight=False)), written


def test_a_tour_holds_only_when_every_claim_did() -> None:
    shown, _ = screen()
    assert not shown.held
    shown.claim("good", True, "1 of 1")
    assert shown.held
    shown.claim("bad", False, "0 of 1")
    assert not shown.held


def test_the_summary_repeats_every_claim_with_what_was_seen() -> None:
    shown, written = screen()
    shown.claim("version 2 gets its share", True, "10.1 %")
    written.truncate(0)
    shown.summary()
    assert "✓" in written.getvalue()
    assert "10.1 %" in written.getvalue()


def test_without_a_terminal_there_are_no_escape_codes() -> None:
    shown, written = screen()
    shown.step("a step")
    shown.typed("serin route set digits 1=100", "revision [7]\n")
    with shown.waiting("a moment"):
        pass
    assert "\x1b" not in written.getvalue()
    assert "revision [7]" in written.getvalue()


def test_a_digit_is_drawn_light_where_it_is_paper_and_dark_where_it_is_ink() -> None:
    pixels = np.zeros(64, np.float32)
    pixels[0] = 16
    lines = picture(pixels)
    assert lines[0] == "@@" + " " * 14
    assert lines[1:] == [" " * 16] * 7


def test_shares_are_told_in_percent() -> None:
    assert percent(0.1234) == "12.3 %"
