"""A thread that stands back, and the others that do not."""

import ctypes
import os
import platform
import struct
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.priority import LONG_SLICE_NS, SHORTEST_SLICE_NS, SLICE_NS, come_first, give_way, lower_priority

FORM = "=IIQiIQQQ"
GET_ATTRIBUTES = {"x86_64": 315, "aarch64": 275}
"""The number of the system call sched_getattr."""


@pytest.mark.skipif(sys.platform != "linux", reason="single threads have priorities on Linux only")
def test_only_the_thread_that_asks_stands_back_and_by_so_much() -> None:
    before, seen = os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), list[int]()

    def work() -> None:
        lower_priority(3)
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        lower_priority(100)
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [min(19, before + 3), 19]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


def slice_ns() -> int:
    """The slices that the thread asks for; 0 where the kernel does not tell."""
    number, room = GET_ATTRIBUTES.get(platform.machine()), ctypes.create_string_buffer(struct.calcsize(FORM))
    if sys.platform != "linux" or number is None or ctypes.CDLL(None).syscall(number, 0, room, len(room), 0):
        return 0
    return int(struct.unpack(FORM, room.raw)[5])


def test_who_answers_requests_asks_for_the_shortest_slices_and_who_gives_way_for_long_ones() -> None:
    def seen(calls: Callable[[], None]) -> tuple[int, int]:
        def work() -> tuple[int, int]:
            calls()
            return slice_ns(), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(work).result()

    def both() -> None:
        give_way()
        come_first()

    usual, nice = seen(lambda: None)
    if not usual:
        pytest.skip("this kernel does not tell the slices of a thread")
    assert seen(give_way) == (LONG_SLICE_NS, nice)
    assert seen(both) == (SHORTEST_SLICE_NS, nice)
    assert seen(lambda: lower_priority(1)) == (SLICE_NS, min(19, nice + 1))
    assert SHORTEST_SLICE_NS < SLICE_NS < usual < LONG_SLICE_NS
