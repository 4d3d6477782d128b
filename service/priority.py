"""How what nobody waits for gives way to those that answer requests: threads of workers, and whole processes."""

import ctypes
import os
import platform
import struct
import sys
import threading
from typing import Final

NICE: Final = 10
"""Much lower, and on a busy machine such a thread would hold up the interpreter by what it runs itself."""

SLICE_NS: Final = 100_000
"""The shortest there is: a thread that has the processor may keep it for so long when another one wakes up. By default
that is some milliseconds, whatever the priorities are (EEVDF; settable since Linux 6.12)."""

_NORMAL: Final = 0
_SET_ATTRIBUTES: Final = {"x86_64": 314, "aarch64": 274}
"""The number of the system call sched_setattr."""

_FORM: Final = "=IIQiIQQQ"
"""size, policy, flags, nice, priority, slice, and two of no use here (sched_setattr(2))."""


def lower_priority(nice: int) -> None:
    """Of the thread that calls and of what it starts, below its process; only Linux has priorities of threads.

    With 0 it has as much of the processor as others, in the shortest slices.
    """
    if sys.platform != "linux":
        return
    thread = threading.get_native_id()
    lowest = min(19, os.getpriority(os.PRIO_PROCESS, thread) + nice)
    os.setpriority(os.PRIO_PROCESS, thread, lowest)
    number = _SET_ATTRIBUTES.get(platform.machine())
    if number is not None:
        wanted = struct.pack(_FORM, struct.calcsize(_FORM), _NORMAL, 0, lowest, 0, SLICE_NS, 0, 0)
        ctypes.CDLL(None).syscall(number, 0, wanted, 0)  # an older kernel leaves the slice alone
