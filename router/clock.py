"""Time that a rollout has spent: honest about clocks that jump, controllers that were away and machines that rebooted.

`seconds` is CLOCK_BOOTTIME: it goes on while the machine sleeps and no controller runs, and no clock setting moves it.
It means nothing in another boot, so time across a reboot does not count.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Now:
    """This moment. `wall`: seconds since 1970, for dates and for people only."""

    boot_id: str
    seconds: float
    wall: float


@dataclass(frozen=True, slots=True)
class Clock:
    """What was spent up to `mark`, in the boot that it was marked in."""

    boot_id: str = ""
    mark: float = 0.0
    step_seconds: float = 0.0
    total_seconds: float = 0.0


def at(clock: Clock, now: Now, step_counts: bool, total_counts: bool) -> Clock:
    """The clock marked anew; the time since its last mark is added to what counts."""
    passed = max(0.0, now.seconds - clock.mark) if clock.boot_id == now.boot_id else 0.0
    return Clock(
        now.boot_id,
        now.seconds,
        clock.step_seconds + (passed if step_counts else 0.0),
        clock.total_seconds + (passed if total_counts else 0.0),
    )
