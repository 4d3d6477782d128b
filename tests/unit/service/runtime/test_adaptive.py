"""The limit of concurrency that finds itself, against machines of which it is known how much they can do at once."""

from collections.abc import Callable

import pytest

from service.runtime.adaptive import AdaptiveLimit

BASE_NS = 1_000_000


def shared(cores: int) -> Callable[[int], int]:
    """How long a run takes where so many run at once and `cores` of them get a core of their own."""
    return lambda running: BASE_NS * max(1, running) // min(cores, max(1, running))


def settled(limit: AdaptiveLimit, time_of: Callable[[int], int], *, runs: int = 5000, others_wait: bool = True) -> int:
    for _ in range(runs):
        limit.ran(time_of(limit.limit), 0, limit.limit, others_wait)
    return limit.limit


@pytest.mark.parametrize("cores", [1, 2, 4, 8])
def test_it_settles_near_what_the_machine_does_at_once(cores: int) -> None:
    limit = AdaptiveLimit(64)
    settled(limit, shared(cores))
    found = [settled(limit, shared(cores), runs=1) for _ in range(20_000)]
    assert max(found) <= 2 * cores + 1
    assert sum(value >= cores for value in found) > 0.9 * len(found)


def test_what_only_waits_may_run_beside_all_others() -> None:
    limit = AdaptiveLimit(32)
    settled(limit, alike)
    found = [settled(limit, alike, runs=1) for _ in range(20_000)]
    assert set(found) == {16, 32}
    assert found.count(32) > 0.9 * len(found)


def test_it_is_quick_to_grow_as_long_as_nothing_is_lost() -> None:
    assert settled(AdaptiveLimit(16), alike, runs=120) == 16


def test_it_grows_again_when_the_machine_can_do_more() -> None:
    limit = AdaptiveLimit(16)
    assert settled(limit, shared(1)) <= 3
    assert settled(limit, alike, runs=800) == 16


def test_it_does_not_grow_while_nobody_waits() -> None:
    limit = AdaptiveLimit(32)
    assert settled(limit, alike, others_wait=False) == 1


def test_a_version_that_became_slower_for_good_finds_its_limit_again() -> None:
    limit = AdaptiveLimit(16)
    settled(limit, alike, runs=120)
    assert min(settled(limit, slow, runs=1) for _ in range(250)) == 1
    assert max(settled(limit, slow, runs=1) for _ in range(1600)) == 16


def test_one_window_at_most_halves_it() -> None:
    limit = AdaptiveLimit(16)
    settled(limit, alike, runs=120)
    found = [settled(limit, lambda running: 1000 * BASE_NS, runs=1) for _ in range(25)]
    assert set(found) == {16, 8}


def alike(running: int) -> int:
    return BASE_NS


def slow(running: int) -> int:
    return 10 * BASE_NS
