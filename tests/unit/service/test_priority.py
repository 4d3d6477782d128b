"""A thread that stands back, and the others that do not."""

import ctypes
import os
import platform
import struct
import sys
import threading
from collections.abc import Callable

import pytest

from service.priority import SLICE_NS, lower_priority, take_short_slices

GET_ATTRIBUTES = {"x86_64": 315, "aarch64": 275}


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


def slice_after(change: Callable[[], None]) -> int:
    """What sched_getattr(2) says of a thread that made the change; 0 where slices cannot be set."""
    seen = list[int]()

    def work() -> None:
        change()
        told = ctypes.create_string_buffer(48)
        ctypes.CDLL(None).syscall(GET_ATTRIBUTES.get(platform.machine(), -1), 0, told, len(told), 0)
        seen.append(struct.unpack_from("=IIQiIQ", told.raw)[5])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return seen[0]


@pytest.mark.skipif(sys.platform != "linux", reason="slices are Linux's")
def test_who_answers_has_slices_as_short_as_who_stands_back() -> None:
    if not slice_after(take_short_slices):
        pytest.skip("this kernel has slices of one length")
    assert slice_after(take_short_slices) == slice_after(lambda: lower_priority(3)) == SLICE_NS
