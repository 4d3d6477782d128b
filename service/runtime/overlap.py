"""Whether runs of one version beside each other get more of the processors than one after the other. Pure.

Two runs that share a core only slow each other down, and whoever needs the interpreter then waits for both: the one
that holds it waits for the other. Where cores are free, two runs are twice the work. What tells the two apart is how
much of its time a run computed: beside others on one core it is a part, on a core of its own it is nearly all.
"""

WINDOW_RUNS = 8
"""So many runs tell how much they compute."""

WORTH = 1.25
"""Runs beside each other must get so many times the processor time of one alone to be worth it."""

MOSTLY_WAITS = 0.1
"""Runs that compute less than this part of their time wait for something else, and may do so together."""

FIRST_REST_RUNS, LONGEST_REST_RUNS = 128, 8192
"""So many runs alone, and it is tried again: other programs come and go. Twice as many each time that it fails."""


class Overlap:
    """How many runs at a time: `most`, or one. It begins with `most`. `lone_core`: none can ever come free, so that
    runs that compute are not tried again."""

    def __init__(self, most: int, lone_core: bool = False) -> None:
        self.most = self.limit = most
        self._lone_core = lone_core
        self._alone = _Share()
        self._beside = _Share()
        self._rest = FIRST_REST_RUNS
        self._rested = self._begun_before = 0

    @property
    def one_by_one(self) -> bool:
        """Whether runs go so that could go beside each other: one that takes long is passed then."""
        return self.limit < self.most

    def ran(self, took_ns: int, cpu_ns: int, running: int, others_wait: bool) -> bool:
        """A run has ended that took so long and computed so long; `running`: at that moment, itself included.
        `others_wait`: for a place. Whether `limit` is another one now."""
        if self._begun_before:  # beside others that run no more
            self._begun_before -= 1
            return False
        before = self.limit
        if before == 1 and running == 1:
            self._alone.add(took_ns, cpu_ns, 1)
            self._judge_alone(others_wait)
        elif before > 1 and running > 1:  # at its end; one that ends last may have had company too
            self._beside.add(took_ns, cpu_ns, running)
            self._judge_beside()
            self._begun_before = running - 1 if self.limit == 1 else 0
        return self.limit != before

    def _judge_beside(self) -> None:
        beside = self._beside
        if beside.runs < WINDOW_RUNS or beside.share < MOSTLY_WAITS:
            return
        if not self._alone.runs or not self._is_worth():
            self.limit, self._rested = 1, 0
            self._alone = _Share()
            return
        self._rest = FIRST_REST_RUNS
        self._beside = _Share()  # look again

    def _judge_alone(self, others_wait: bool) -> None:
        self._rested += others_wait
        if self._alone.runs < WINDOW_RUNS:
            return
        if self._beside.runs:  # the first look since it fell
            if self._is_worth():
                self.limit, self._rest = self.most, FIRST_REST_RUNS
            self._beside = _Share()
        elif self._rested >= self._rest and not (self._lone_core and self._alone.share >= MOSTLY_WAITS):
            self.limit, self._rest = self.most, min(2 * self._rest, LONGEST_REST_RUNS)

    def _is_worth(self) -> bool:
        return self._beside.got >= WORTH * self._alone.got


class _Share:
    """Of the processors' time, what runs of one kind got: `share` of their own time, and `got` by all at a time."""

    def __init__(self) -> None:
        self.runs = self._running = self._took_ns = self._cpu_ns = 0

    def add(self, took_ns: int, cpu_ns: int, running: int) -> None:
        if self.runs >= 2 * WINDOW_RUNS:  # what is long past counts less
            self.runs, self._running = self.runs // 2, self._running // 2
            self._took_ns, self._cpu_ns = self._took_ns // 2, self._cpu_ns // 2
        self.runs += 1
        self._running += running
        self._took_ns += took_ns
        self._cpu_ns += cpu_ns

    @property
    def share(self) -> float:
        return self._cpu_ns / max(1, self._took_ns)

    @property
    def got(self) -> float:
        return self.share * self._running / max(1, self.runs)
