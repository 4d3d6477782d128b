"""How threads that nobody waits for give way to those that answer requests."""

import os
import sys
import threading
from typing import Final

NICE: Final = 10
"""Much lower, and on a busy machine such a thread would hold up the interpreter by what it runs itself."""


def lower_priority(nice: int) -> None:
    """Of the thread that calls; only Linux has priorities for single threads."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
