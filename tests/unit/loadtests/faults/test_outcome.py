import pytest

from loadtests.faults.outcome import Figure, Outcome, at_least, at_most, exactly, shown


@pytest.mark.parametrize(
    ("figure", "held"),
    [
        (at_most("lost", 3, 3), True),
        (at_most("lost", 3.1, 3), False),
        (at_least("share", 0.9, 0.9), True),
        (at_least("share", 0.8, 0.9), False),
        (exactly("lost", 0), True),
        (exactly("lost", 1), False),
        (shown("requests", -1), True),
    ],
)
def test_a_figure_holds_up_to_its_gate(figure: Figure, held: bool) -> None:
    assert figure.held is held


def test_one_figure_that_does_not_hold_is_enough() -> None:
    assert Outcome([exactly("lost", 0), shown("requests", 9)]).held
    assert not Outcome([exactly("lost", 0), exactly("wrong", 1)]).held


def test_figures_are_read_with_their_gate() -> None:
    assert at_most("p99", 1.25, 1.5).text == "1.25 (gate: at most 1.5)"
    assert shown("requests", 12_000).text == "12,000"
