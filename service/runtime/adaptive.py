"""How many runs of a version at a time serve it best, found out from how long they take. Pure.

More at a time than the machine, or a server elsewhere, can do at once only make each of them slower. So the limit
shrinks while runs take longer than at their best, and grows while they do not and others wait, twice as many each time
until the first loss. This is the gradient of Netflix's concurrency-limits (Gradient2) over windows of runs; what is the
best is measured anew now and then at half the limit, as BBR (RFC draft, ProbeRTT) looks for the shortest way.
"""

WINDOW_RUNS = 20
"""So many runs, and as many as run at a time, are judged together: their mean is steadier than one of them."""

TOLERANCE = 1.5
"""Runs may take so many times their best before there are too many of them."""

MOST_LOSS = 0.5
"""One window at most halves the limit."""

PROBE_WINDOWS = 50
"""After so many windows, one is run at half the limit."""


class AdaptiveLimit:
    """Of the runs of one version: from one to `most`. `one_by_one`: see Overlap."""

    one_by_one = False

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = 1
        self._best_ns = self._sum_ns = 0.0
        self._runs = self._windows = self._begun_before = 0
        self._others_waited = False
        self._doubles = True
        self._after_probe = 0

    def ran(self, took_ns: int, cpu_ns: int, running: int, others_wait: bool) -> bool:
        """A run has ended. `others_wait`: for a place. Whether `limit` is another one now. What it computed says
        nothing here."""
        if self._begun_before:  # beside more, or fewer
            self._begun_before -= 1
            return False
        self._sum_ns += took_ns
        self._runs += 1
        self._others_waited |= others_wait
        if self._runs < max(WINDOW_RUNS, self.limit):
            return False
        before = self.limit
        self.limit = self._after(self._sum_ns / self._runs, self._others_waited)
        self._sum_ns, self._runs, self._others_waited = 0.0, 0, False
        self._begun_before = before if self.limit != before else 0
        return self.limit != before

    def _after(self, mean_ns: float, waited: bool) -> int:
        if self._after_probe:
            limit, self._after_probe, self._best_ns = self._after_probe, 0, mean_ns
            return limit
        self._best_ns = mean_ns if self.limit == 1 else min(self._best_ns, mean_ns)
        limit = self._moved(mean_ns, waited)
        self._windows += 1
        if self._windows % PROBE_WINDOWS or limit == 1:
            return limit
        self._after_probe = limit
        return limit // 2

    def _moved(self, mean_ns: float, waited: bool) -> int:
        if mean_ns > TOLERANCE * self._best_ns:
            self._doubles = False
            return max(1, int(self.limit * max(MOST_LOSS, TOLERANCE * self._best_ns / mean_ns)))
        if not waited:
            return self.limit
        return min(self.most, 2 * self.limit if self._doubles else self.limit + 1)
