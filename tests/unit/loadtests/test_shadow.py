"""What a shadow costs: how the rounds are summed up."""

from loadtests.measured import Measured
from loadtests.shadow import Pair, report


def test_the_median_of_the_rounds_is_what_counts() -> None:
    pairs = [Pair(Measured(10, 1.0, 1.0, 2.0), Measured(10, 1.0, 1.0, p99)) for p99 in (2.1, 9.0, 2.0)]
    assert report(pairs) == 1.05
