"""Reads the clock that rollouts measure their pauses with."""

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from router.clock import Now

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_clock(wall: Callable[[], datetime]) -> Callable[[], Now]:
    """A clock of this boot. Where the system has no CLOCK_BOOTTIME, monotonic time is as near as it gets."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    boot_id = _boot_id()
    return lambda: Now(boot_id, time.clock_gettime(clock), wall().timestamp())


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return "unknown"
