"""A thread that stands back, and the others that do not."""

import os
import sys
import threading

import pytest

from service.priority import lower_priority


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
