"""Whether small runs go on the event loop, by what was seen of them."""

from service.runtime.inlining import PROOF_RUNS, SECOND_LOOKS, STEADY_RUNS, Inlining
from service.runtime.profile import INLINE_NS

QUICK, SLOW = INLINE_NS - 1, INLINE_NS


def runs_until_back(inlining: Inlining, cpu_ns: int = QUICK, most: int = 100 * PROOF_RUNS) -> int | None:
    """In threads, before small runs go on the loop again."""
    for runs in range(most):
        if inlining.elements >= 0:
            return runs
        inlining.ran_in_thread(cpu_ns)
    return None


def test_each_return_takes_twice_as_many_quick_runs() -> None:
    inlining, found = Inlining(8), []
    for _ in range(4):
        inlining.leave()
        found.append(runs_until_back(inlining))
    assert found == [PROOF_RUNS, 2 * PROOF_RUNS, 4 * PROOF_RUNS, 8 * PROOF_RUNS]
    assert (inlining.elements, inlining.at_best) == (8, 8)


def test_after_steady_runs_on_the_loop_it_is_as_at_first() -> None:
    inlining = Inlining(8)
    for _ in range(3):
        inlining.leave()
        runs_until_back(inlining)
    while inlining.has_second_look():
        pass
    inlining.runs = STEADY_RUNS - 1
    inlining.leave()
    assert not inlining.has_second_look()
    assert runs_until_back(inlining) == 8 * PROOF_RUNS
    inlining.runs = STEADY_RUNS
    inlining.leave()
    assert inlining.has_second_look()
    assert runs_until_back(inlining) == PROOF_RUNS


def test_slow_runs_in_threads_bring_nothing_back_and_are_forgotten_by_the_next_look() -> None:
    inlining = Inlining(8)
    inlining.leave()
    assert runs_until_back(inlining, SLOW, PROOF_RUNS) is None
    assert runs_until_back(inlining) == PROOF_RUNS


def test_what_ran_in_threads_before_it_left_proves_nothing() -> None:
    inlining = Inlining(8)
    for _ in range(PROOF_RUNS - 1):
        inlining.ran_in_thread(0)
    inlining.leave()
    assert runs_until_back(inlining) == PROOF_RUNS


def test_a_second_look_brings_back_at_once_what_was_quick_in_it_and_there_are_only_so_many() -> None:
    inlining, looks = Inlining(8), 0
    inlining.leave()
    while inlining.has_second_look():
        inlining.looked_again(SLOW)
        assert inlining.elements < 0
        inlining.looked_again(QUICK)
        assert inlining.elements == 8
        inlining.leave()
        looks += 1
    assert looks == SECOND_LOOKS


def test_a_version_that_is_never_quick_is_never_brought_to_the_loop() -> None:
    inlining = Inlining(-1)
    assert runs_until_back(inlining, 0, 2 * PROOF_RUNS) is None
