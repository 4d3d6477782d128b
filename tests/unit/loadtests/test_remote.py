"""What a hop costs: how the rounds are summed up."""

from loadtests.measured import Measured
from loadtests.remote import LOCAL, PASSED, report


def at(p50: float) -> Measured:
    return Measured(10, 1.0, p50, 2 * p50)


def test_each_way_is_compared_with_the_local_one_of_its_round() -> None:
    rounds = [{LOCAL: at(1.0), PASSED: at(3.0)}, {LOCAL: at(2.0), PASSED: at(5.0)}, {LOCAL: at(1.0), PASSED: at(9.0)}]
    assert report(rounds) == {LOCAL: 1.0, PASSED: 3.0}
