"""Who may wait for a version, and how long: so many, and not for a time that does no good. Pure but for one callback.

A queue of fixed length is too long for a slow version and too short for a quick one: behind it, everybody is answered
late, and where callers have deadlines of their own, all that is run has been given up by the time it is done. So a
queue that has stood for a while (a burst is over sooner) takes in nobody who would wait for longer than `longest_ns`,
or for half of the time that he has; and what cannot be done in time any more is not begun while others wait.
"""

from collections.abc import Callable

from router.errors import NotBegun, ResourceExhausted, ShedReason

STANDING_NS = 250_000_000
"""A queue that has had SHORT or more in it for so long stands: it is no burst."""

SHORT = 4
"""Fewer than so many may always wait."""

UNHURRIED = 24
"""Fewer than so many may wait for as long as their deadlines allow: of very slow runs, a few are no flood."""

OVERRUN_PART = 4
"""Once a wait was too long, its bound is a fourth until the queue has gone: as much is answered, sooner; and when
the flood is over, a short queue is gone soon."""

PART_OF_TIME = 2.0
"""A wait in a queue that stands may take this part, the half, of a caller's time: how long it is, is an estimate."""

DOUBT = 0.95
"""So much less is a run taken to be whenever nobody was begun because of it, lest it be wrong for ever."""

LEAST_RETRY_SECONDS = 0.1
MOST_RETRY_SECONDS = 30.0


class Room:
    """The queue of one version in one worker, by its numbers. All times are of one clock that does not go back.

    `mean_ns`: what a run takes; `at_a_time`: of them, `rows_in_run` requests share one. `longest_ns`: of a wait in a
    queue that stands; 0: any. `on_queue` hears of every change of `queued`.
    """

    def __init__(self, most: int, longest_ns: int, at_a_time: int, mean_ns: float) -> None:
        self.most = most
        self.longest_ns = longest_ns
        self.at_a_time = at_a_time
        self.rows_in_run = 1
        self.mean_ns = mean_ns
        self.queued = 0
        self.on_queue: Callable[[int], None] = _nobody_asks
        self._long_since: int | None = None
        self._overrun = False

    def note(self, change: int, now_ns: int) -> None:
        """So many more, or fewer, wait."""
        self.queued += change
        if self.queued < SHORT:
            self._long_since, self._overrun = None, False
        elif self._long_since is None:
            self._long_since = now_ns
        self.on_queue(self.queued)

    def require(self, deadline_ns: int, now_ns: int) -> None:
        """Raises ResourceExhausted for one more who would have to wait, but may not."""
        reason = self._refusal(deadline_ns - now_ns, now_ns)
        if reason is None:
            return
        waits = f"{self.queued} requests already wait for this version"
        if reason is not ShedReason.QUEUE_FULL:
            waits += f", about {self._wait_ns() / 1e9:.1f} s"
        raise ResourceExhausted(waits, retry_after_seconds=self._retry_after(), reason=reason)

    def too_late(self, deadline_ns: int, now_ns: int) -> bool:
        """Whether a request whose turn has come is not to be begun: it cannot be done in time, and others wait."""
        return self.queued > 0 and deadline_ns - now_ns < self.mean_ns

    def require_time(self, deadline_ns: int, now_ns: int) -> None:
        """Raises NotBegun for who is `too_late`."""
        if self.too_late(deadline_ns, now_ns):
            self.doubt()
            raise NotBegun("the deadline would be over before the model could answer")

    def doubt(self) -> None:
        """Nobody was begun for the time that a run is said to take."""
        self.mean_ns *= DOUBT

    def ran(self, took_ns: int) -> None:
        """A run has ended."""
        self.mean_ns += 0.1 * (took_ns - self.mean_ns)

    def gave_up(self, after_ns: int) -> None:
        """A run was ended before it was done: it would have taken longer."""
        self.mean_ns = max(self.mean_ns, float(after_ns))

    def _refusal(self, left_ns: int, now_ns: int) -> ShedReason | None:
        if self.queued >= self.most:
            return ShedReason.QUEUE_FULL
        if self._long_since is None or now_ns - self._long_since < STANDING_NS:
            return None
        wait = self._wait_ns()
        longest_ns = self.longest_ns / OVERRUN_PART if self._overrun else self.longest_ns
        if longest_ns and self.queued >= UNHURRIED and wait > longest_ns:
            self._overrun = True
            return ShedReason.LONG_WAIT
        return ShedReason.DEADLINE if PART_OF_TIME * wait + self.mean_ns > left_ns else None

    def _wait_ns(self) -> float:
        return self.queued / self.rows_in_run * self.mean_ns / self.at_a_time

    def _retry_after(self) -> float:
        seconds = (self.queued / self.rows_in_run + 1) * self.mean_ns / 1e9 / self.at_a_time
        return min(MOST_RETRY_SECONDS, max(LEAST_RETRY_SECONDS, seconds))


def _nobody_asks(queued: int) -> None:
    return
