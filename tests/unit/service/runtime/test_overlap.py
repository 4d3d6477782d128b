"""Whether a version's runs go beside each other, by what they get of the processors."""

from dataclasses import dataclass
from itertools import pairwise

from service.runtime.overlap import FIRST_REST_RUNS, LONGEST_REST_RUNS, WINDOW_RUNS, Overlap

RUN_NS = 10_000_000


@dataclass
class Machine:
    """So many free cores, for runs that compute `computes` of the time that they need; always somebody waits."""

    cores: float
    computes: float = 1.0

    def run(self, overlap: Overlap) -> bool:
        """One more run ends, among as many as may run."""
        running = overlap.limit
        wanted = running * self.computes
        pace = min(1.0, self.cores / wanted)
        return overlap.ran(int(RUN_NS / pace), int(RUN_NS * self.computes), running, others_wait=True)

    def limits(self, overlap: Overlap, runs: int) -> list[int]:
        """The limit before each of so many runs."""
        found = []
        for _ in range(runs):
            found.append(overlap.limit)
            self.run(overlap)
        return found


def test_runs_that_share_a_core_go_one_by_one_and_are_tried_together_ever_less_often() -> None:
    overlap = Overlap(2)
    limits = Machine(cores=1.0).limits(overlap, 60_000)
    tries = [place for place in range(1, len(limits)) if limits[place] > limits[place - 1]]
    gaps = [after - before for before, after in pairwise(tries)]
    assert FIRST_REST_RUNS <= tries[0] <= FIRST_REST_RUNS + 2 * WINDOW_RUNS
    assert all(after > before for before, after in pairwise(gaps) if after < LONGEST_REST_RUNS)
    assert LONGEST_REST_RUNS <= gaps[-1] <= LONGEST_REST_RUNS + 2 * WINDOW_RUNS
    assert limits.count(2) < 0.01 * len(limits)


def test_runs_that_have_a_core_each_go_together() -> None:
    limits = Machine(cores=2.0).limits(Overlap(2), 1000)
    assert limits[0] == 2
    assert limits.count(1) <= 2 * WINDOW_RUNS  # one look at how they are alone
    assert limits[-500:] == [2] * 500


def test_runs_that_wait_for_something_else_go_together_all_the_time() -> None:
    assert Machine(cores=1.0, computes=0.01).limits(Overlap(4), 200) == [4] * 200


def test_a_core_that_comes_free_is_found_and_one_that_is_taken_too() -> None:
    overlap = Overlap(2)
    Machine(cores=1.0).limits(overlap, 500)
    assert overlap.limit == 1
    Machine(cores=2.0).limits(overlap, 4000)
    assert overlap.limit == 2
    Machine(cores=1.0).limits(overlap, 10 * WINDOW_RUNS)
    assert overlap.limit == 1


def test_on_a_machine_with_one_core_runs_that_compute_are_not_tried_together_again() -> None:
    limits = Machine(cores=1.0).limits(Overlap(2, lone_core=True), 10_000)
    assert limits[: WINDOW_RUNS + 1] == [2] * WINDOW_RUNS + [1]
    assert limits.count(2) == WINDOW_RUNS


def test_there_runs_that_have_begun_to_wait_go_together_again() -> None:
    overlap = Overlap(2, lone_core=True)
    Machine(cores=1.0).limits(overlap, 1000)
    assert overlap.limit == 1
    assert Machine(cores=1.0, computes=0.01).limits(overlap, 4 * FIRST_REST_RUNS)[-1] == 2


def test_one_by_one_stays_so_while_nobody_waits() -> None:
    overlap = Overlap(2)
    machine = Machine(cores=1.0)
    while overlap.limit == 2:
        machine.run(overlap)
    for _ in range(10 * FIRST_REST_RUNS):
        assert not overlap.ran(RUN_NS, RUN_NS, 1, others_wait=False)


def test_runs_that_began_before_the_limit_fell_do_not_count_as_alone() -> None:
    overlap = Overlap(3)
    while overlap.limit == 3:
        Machine(cores=1.0).run(overlap)
    for running in (2, 1):  # had company, and got a third of a core: as runs alone they would speak for company
        overlap.ran(3 * RUN_NS, RUN_NS, running, others_wait=True)
    for _ in range(WINDOW_RUNS):
        overlap.ran(RUN_NS, RUN_NS, 1, others_wait=True)
    assert overlap.limit == 1


def test_one_that_ends_beside_another_that_stepped_aside_tells_nothing() -> None:
    overlap = Overlap(2)
    machine = Machine(cores=1.0)
    while overlap.limit == 2:
        machine.run(overlap)
    for _ in range(1000):
        assert not overlap.ran(RUN_NS, RUN_NS // 2, 2, others_wait=True)
