"""Which lost requests a kill explains."""

import pytest

from loadtests.faults.callers import Sent
from loadtests.faults.worker_kills import Kill, losses, respawns

DYING = Kill(at=10.0, gone=10.3, replaced_seconds=0.4)


def lost(begun: float, done: float, error: str = "closed") -> Sent:
    return Sent(1, 0, begun, begun, done, error=error, begun=begun)


def figures(*sent: Sent) -> dict[str, float]:
    return {figure.name: figure.value for figure in losses(sent, [Kill(4.0, 4.1, 0.1), DYING])}


@pytest.mark.parametrize(
    ("begun", "done", "stray"),
    [
        (9.99, 10.01, 0),  # before the kill
        (10.29, 10.31, 0),  # on a connection of a process that had not closed it yet
        (10.31, 10.32, 1),  # everybody could know by then
        (9.0, 9.99, 1),  # ended before
    ],
)
def test_what_was_begun_before_the_worker_was_gone_is_explained(begun: float, done: float, stray: int) -> None:
    found = figures(lost(begun, done))

    assert (found["lost"], found["lost that were not under way at a kill"]) == (1, stray)
    assert found["lost at most by one kill"] == 1 - stray


def test_a_request_that_nobody_ever_answered_is_no_matter_of_a_kill() -> None:
    found = figures(lost(9.9, 39.9, "TimeoutError"))

    assert (found["lost that were not under way at a kill"], found["lost that waited in vain"]) == (0, 1)


def test_how_long_a_worker_was_missing_is_told_of_all_kills() -> None:
    killed = [Kill(0.0, 0.1, 0.2), Kill(2.0, 2.1, 1.9), Kill(4.0, 4.5, 0.3)]
    found = {figure.name: figure.value for figure in respawns(killed)}

    assert found["seconds until replaced, longest"] == 1.9
    assert found["seconds until replaced, median"] == 0.3
    assert found["seconds until a process was gone, longest"] == 0.5
