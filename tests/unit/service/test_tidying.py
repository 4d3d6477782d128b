"""When a worker gives memory back."""

import asyncio
import gc
import threading
from dataclasses import dataclass, field

import pytest

from service import tidying
from service.tidying import (
    GROWTH_BYTES,
    LEAVING_PERIODS,
    MANY_VERSIONS,
    MOST_TRIES,
    Freezing,
    Tidying,
    give_back,
    resident_bytes,
)


@dataclass
class Process:
    """Idle or not, and so large."""

    idle: bool = True
    resident: int = 100
    changes: int = 0
    tidied: list[int] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def tidying(self) -> Tidying:
        return Tidying(lambda: self.idle, lambda: self.resident, self.tidy, lambda: self.changes)

    def tidy(self) -> None:
        self.tidied.append(self.resident)
        self.resident = 100
        self.done.set()


def test_a_process_that_has_not_grown_is_left_alone() -> None:
    process = Process()
    going = process.tidying()
    process.resident += GROWTH_BYTES
    assert [going.is_due() for _ in range(3)] == [False, False, False]


def test_one_that_has_grown_is_tidied_when_it_was_idle_twice() -> None:
    process = Process(idle=False)
    going = process.tidying()
    process.resident += GROWTH_BYTES + 1
    assert not going.is_due()
    process.idle = True
    assert [going.is_due(), going.is_due()] == [False, True]


def test_while_models_load_nothing_is_tidied() -> None:
    process = Process()
    going = process.tidying()
    for _ in range(10):
        process.changes += 2
        process.resident += GROWTH_BYTES + 1
        assert not going.is_due()
    assert [going.is_due(), going.is_due()] == [False, True]


def test_many_versions_are_kept_out_of_collections_until_one_has_gone() -> None:
    freezing = Freezing()
    gc.unfreeze()
    try:
        freezing.look(MANY_VERSIONS - 1, 0)
        assert gc.get_freeze_count() == 0
        freezing.look(MANY_VERSIONS, 0)
        assert gc.get_freeze_count() > 0
        freezing.look(MANY_VERSIONS, 1)
        assert gc.get_freeze_count() == 0
        gc.collect()
        gc.disable()
        for _ in range(LEAVING_PERIODS + 1):
            freezing.look(MANY_VERSIONS, 1)
        assert gc.get_freeze_count() == 0  # what has gone may lie in a cycle since then
        gc.collect()
        freezing.look(MANY_VERSIONS, 1)
        assert gc.get_freeze_count() > 0
    finally:
        gc.enable()
        gc.unfreeze()


def test_what_came_after_is_frozen_only_with_as_many_again() -> None:
    freezing = Freezing()
    gc.unfreeze()
    try:
        freezing.look(MANY_VERSIONS, 0)
        frozen = gc.get_freeze_count()
        kept: list[list[object]] = [[] for _ in range(1000)]
        for _ in range(3):
            freezing.look(2 * MANY_VERSIONS - 1, 0)
        assert gc.get_freeze_count() <= frozen
        freezing.look(2 * MANY_VERSIONS, 0)
        assert gc.get_freeze_count() >= frozen + len(kept)
    finally:
        gc.unfreeze()


def test_with_few_versions_what_was_frozen_before_stays_so() -> None:
    freezing = Freezing()
    gc.freeze()
    try:
        freezing.look(3, 0)
        freezing.look(2, 1)
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


async def test_each_period_may_freeze(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "PERIOD_SECONDS", 0)
    process, frozen = Process(idle=False), asyncio.Event()
    going = Tidying(lambda: process.idle, lambda: process.resident, process.tidy, freeze=frozen.set)
    running = asyncio.create_task(going.run())
    try:
        await asyncio.wait_for(frozen.wait(), 30)
    finally:
        running.cancel()


def test_growth_is_counted_from_the_least() -> None:
    process = Process(resident=GROWTH_BYTES * 2)
    going = process.tidying()
    process.resident = 100
    assert [going.is_due(), going.is_due()] == [False, False]
    process.resident += GROWTH_BYTES + 1
    assert going.is_due()


def test_what_does_not_come_back_is_tried_again_and_then_taken_for_needed() -> None:
    process = Process()
    going = process.tidying()
    process.resident += GROWTH_BYTES + 1
    assert not going.is_due()
    for _ in range(MOST_TRIES):
        assert going.is_due()
        going.tidied()
    assert not going.is_due()


async def test_growth_is_tidied_as_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "PERIOD_SECONDS", 0)
    process = Process()
    running = asyncio.create_task(process.tidying().run())
    process.resident = GROWTH_BYTES * 2
    assert await asyncio.to_thread(process.done.wait, 10)
    running.cancel()
    assert process.tidied == [GROWTH_BYTES * 2]


def test_the_system_answers() -> None:
    give_back()
    assert resident_bytes() > 0
