"""A worker's reports: how long changes are gathered."""

from router.follower import GATHER_SECONDS, MANY, gather_seconds


def test_a_few_versions_are_told_of_at_once_and_many_as_much_later() -> None:
    assert gather_seconds(0) == gather_seconds(MANY) == GATHER_SECONDS
    assert gather_seconds(40 * MANY) == 40 * GATHER_SECONDS


def test_whole_reports_while_models_load_are_linear_work() -> None:
    """So many versions that come one after the other, each told with all that are there."""

    def told(versions: int, each_seconds: float = 0.01) -> int:
        moment, total = 0.0, 0
        while (count := int(moment / each_seconds)) < versions:
            total += count
            moment += max(each_seconds, gather_seconds(count))
        return total

    assert told(20_000) < 2.2 * told(10_000)
