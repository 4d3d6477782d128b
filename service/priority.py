"""How what nobody waits for gives way to those that answer requests: threads of workers, and whole processes."""

import ctypes
import os
import platform
import struct
import sys
import threading
from typing import Final

NICE: Final = 10
"""Of a thread that runs models or copies, below the event loop. Much lower, and on a busy machine such a thread would
hold up the interpreter by what it runs itself. Higher, and after each burst of work the loop would have had more than
its share: until that is made up for, it waits for the kernel's tick, up to 4 ms."""

SHORTEST_SLICE_NS: Final = 100_000
"""For an event loop that answers requests. Whoever wakes up has the processor at once from one that asks for longer
slices than its own (EEVDF; settable since Linux 6.12), from others at the next tick. There are no shorter ones."""

SLICE_NS: Final = 2 * SHORTEST_SLICE_NS
"""For the threads beside it: longer than the loop's, and no longer than that, since one that holds the interpreter must
not wait for others to end theirs."""

LONG_SLICE_NS: Final = 20_000_000
"""For processes that nobody waits for."""

_NORMAL: Final = 0
_SET_ATTRIBUTES: Final = {"x86_64": 314, "aarch64": 274}
"""The number of the system call sched_setattr."""

_FORM: Final = "=IIQiIQQQ"
"""size, policy, flags, nice, priority, slice, and two of no use here (sched_setattr(2))."""


def lower_priority(nice: int) -> None:
    """Of the thread that calls, below its process; only Linux has priorities of threads."""
    _set(nice, SLICE_NS)


def give_way() -> None:
    """Of a process, to be called before it has threads: it has as much of the processor as others, and is interrupted
    by whoever wakes up. What it starts does so too."""
    _set(0, LONG_SLICE_NS)


def come_first() -> None:
    """Of a process whose event loop answers requests, to be called before it has threads: when it wakes up, it has the
    processor at once from whoever asks for slices of the usual length or longer."""
    _set(0, SHORTEST_SLICE_NS)


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
