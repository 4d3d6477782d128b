"""Whether the small runs of a version go on the event loop: away after a slow one there, and back after quick ones in
threads. Pure.

A run that was slow because the machine was, and not the model, must not cost the version its quick way for good, and a
version that is slow now and then must stay away.
"""

from service.runtime.profile import INLINE_NS

PROOF_RUNS = 64
"""So many runs in threads with a quick mean bring a version back to the loop; twice as many each time, until it has
stayed there for STEADY_RUNS."""

STEADY_RUNS = 4096

SECOND_LOOKS = 8
"""So often until then a slow run is repeated at once in a thread: one that is quick there was slow for no reason of the
version's, and costs it nothing more. Else of two equal versions the one that was hit would stay the slower for long."""


class Inlining:
    """`elements`: runs of up to so many input elements go on the loop; -1: none do. `at_best`: the same when none was
    slow. `runs`: on the loop since it is there; who runs counts."""

    def __init__(self, elements: int) -> None:
        self.elements = self.at_best = elements
        self.runs = 0
        self._proof_runs = PROOF_RUNS
        self._second_looks = self._runs_in_threads = self._cpu_ns = 0

    def leave(self) -> None:
        """A run there was slow."""
        self.elements = -1
        self._runs_in_threads = self._cpu_ns = 0
        if self.runs >= STEADY_RUNS:
            self._proof_runs, self._second_looks = PROOF_RUNS, 0
        self.runs = 0

    def has_second_look(self) -> bool:
        """Whether what was slow may run again at once, in a thread; it is counted."""
        self._second_looks += 1
        return self._second_looks <= SECOND_LOOKS

    def looked_again(self, cpu_ns: int) -> None:
        """There it computed so long."""
        if cpu_ns < INLINE_NS:
            self.elements = self.at_best

    def ran_in_thread(self, cpu_ns: int) -> None:
        """A run has ended there that computed so long."""
        self._runs_in_threads += 1
        self._cpu_ns += cpu_ns
        if self.elements >= self.at_best or self._runs_in_threads < self._proof_runs:
            return
        if self._cpu_ns < INLINE_NS * self._runs_in_threads:
            self.elements = self.at_best
            self._proof_runs *= 2
        self._runs_in_threads = self._cpu_ns = 0
