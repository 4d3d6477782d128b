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

SHORT_SLICE_NS: Final = 100_000
"""The shortest there is, for threads: one that holds the interpreter must not wait for another to end a long one."""

LONG_SLICE_NS: Final = 20_000_000
"""For processes. Whoever wakes up has the processor at once from one that asks for longer slices than its own (EEVDF;
settable since Linux 6.12); from one with slices of the usual length or shorter at the next tick, up to 4 ms later."""

USUAL_SLICE_NS: Final = 0

_NORMAL: Final = 0
_SET_ATTRIBUTES: Final = {"x86_64": 314, "aarch64": 274}
"""The number of the system call sched_setattr."""

_FORM: Final = "=IIQiIQQQ"
"""size, policy, flags, nice, priority, slice, and two of no use here (sched_setattr(2))."""


def lower_priority(nice: int) -> None:
    """Of the thread that calls, below its process, in the shortest slices; only Linux has priorities of threads."""
    _set(nice, SHORT_SLICE_NS)


def give_way() -> None:
    """Of a process, to be called before it has threads: it has as much of the processor as others, and is interrupted
    by whoever wakes up. What it starts does so too."""
    _set(0, LONG_SLICE_NS)


def give_way_no_more() -> None:
    """For a process that one which gives way has started."""
    _set(0, USUAL_SLICE_NS)


def _set(nice: int, slice_ns: int) -> None:
    if sys.platform != "linux":
        return
    thread = threading.get_native_id()
    lowest = min(19, os.getpriority(os.PRIO_PROCESS, thread) + nice)
    os.setpriority(os.PRIO_PROCESS, thread, lowest)
    number = _SET_ATTRIBUTES.get(platform.machine())
    if number is not None:
        wanted = struct.pack(_FORM, struct.calcsize(_FORM), _NORMAL, 0, lowest, 0, slice_ns, 0, 0)
        ctypes.CDLL(None).syscall(number, 0, wanted, 0)  # an older kernel leaves the slice alone
