"""The threads that run models, beside the loop that made them."""

import os
import sys
import threading

import pytest

from service.runtime.pool import NICE, NoMarks, Pool


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="single threads have priorities on Linux only")
async def test_the_threads_of_models_stand_back_behind_the_loop() -> None:
    pool = Pool(1, NoMarks())
    try:
        assert await pool.submit(priority) == min(19, priority() + NICE)
    finally:
        pool.close()


async def test_what_threads_waited_is_told_for_all_of_them() -> None:
    pool = Pool(1, NoMarks())
    try:
        await pool.submit(priority)
        computed, waited = pool.computed_and_waited()
        assert (computed > 0) == (sys.platform == "linux")
        assert waited >= 0
    finally:
        pool.close()
