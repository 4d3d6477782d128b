"""Faults: what the text says is what happens, and nothing else."""

from collections.abc import Callable, Iterator

import pytest

from router.errors import InvalidArgument
from service.faults import Effect, Fault, FaultInjected, Faults

GRAMMAR = "digits:2 slow=0.05; digits:3 fail=0.2 nonfinite=0.1 crash=0.001; digits:* fail=1 ;; commit.before=exit:3"


def draws(*numbers: float) -> Callable[[], float]:
    left: Iterator[float] = iter(numbers)
    return lambda: next(left)


def test_no_text_is_no_fault() -> None:
    assert not Faults.parse("  ")
    assert Faults.parse("").for_version("digits", 1) is None
    assert Faults.parse("").due("anything") is None


def test_the_documented_example_is_read_as_documented() -> None:
    faults = Faults.parse(GRAMMAR)
    assert faults
    assert faults.for_version("digits", 2) == Fault(slow_seconds=0.05, slow=1.0)
    assert faults.for_version("digits", 3) == Fault(fail=0.2, nonfinite=0.1, crash=0.001)
    assert faults.for_version("digits", 9) == Fault(fail=1.0)
    assert faults.for_version("other", 2) is None


def test_an_effect_happens_when_its_draw_is_below_its_probability() -> None:
    fault = Fault(slow_seconds=0.5, slow=0.1, fail=0.2, nonfinite=0.3, crash=0.4)
    assert fault.decide(draws(0.09, 0.19, 0.29, 0.39)) == Effect(0.5, fails=True, nonfinite=True, crashes=True)
    assert fault.decide(draws(0.1, 0.2, 0.3, 0.4)) == Effect()


def test_a_probability_of_one_always_happens_and_of_zero_never() -> None:
    assert Fault(fail=1.0).decide(lambda: 0.999999999).fails
    assert not Fault(fail=0.0).decide(lambda: 0.0).fails


def test_slowness_may_have_a_probability() -> None:
    assert Faults.parse("m:1 slow=2@0.25").for_version("m", 1) == Fault(slow_seconds=2.0, slow=0.25)


def test_a_point_acts_on_the_visit_that_was_named_and_only_then() -> None:
    faults = Faults.parse("commit.before=exit:3")
    assert [faults.due("commit.before") for _ in range(5)] == [None, None, "exit", None, None]
    assert faults.due("commit.after") is None


def test_a_point_that_fails_raises() -> None:
    with pytest.raises(FaultInjected):
        Faults.parse("commit.after=fail").hit("commit.after")


@pytest.mark.parametrize(
    "text",
    [
        "digits",
        "digits:2",
        "digits:0 fail=1",
        "digits:2 fail=2",
        "digits:2 fail=-0.1",
        "digits:2 fail=nan",
        "digits:2 fail=",
        "digits:2 burn=1",
        "commit.before=explode",
        "commit.before=exit:0",
        "commit.before=exit:1 fail=1",
    ],
)
def test_what_is_not_in_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Faults.parse(text)
