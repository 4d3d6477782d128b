"""Who comes in, and in which order."""

import asyncio

import pytest

from service.runtime.gates import Gate


async def waiting(gate: Gate, order: list[str], *names: tuple[str, int]) -> list["asyncio.Task[None]"]:
    async def come(name: str, priority: int) -> None:
        await gate.acquire(priority)
        order.append(name)

    tasks = [asyncio.create_task(come(*name)) for name in names]
    await asyncio.sleep(0)
    return tasks


async def test_who_finds_a_place_waits_for_nobody() -> None:
    gate = Gate(2)
    assert await gate.acquire()
    assert not gate.locked()
    assert await gate.acquire(99)
    assert gate.locked()


async def test_the_highest_priority_comes_first_and_equals_in_their_order() -> None:
    gate, order = Gate(1), []
    await gate.acquire()
    tasks = await waiting(gate, order, ("late", 20), ("a", 10), ("b", 10), ("first", 1))
    for _ in tasks:
        gate.release()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert order == ["first", "a", "b", "late"]
    gate.release()
    assert not gate.locked()


async def test_who_goes_away_leaves_the_place_to_others() -> None:
    gate, order = Gate(1), []
    await gate.acquire()
    gone, stays = await waiting(gate, order, ("gone", 1), ("stays", 2))
    gone.cancel()
    await asyncio.sleep(0)
    gate.release()
    await stays
    assert order == ["stays"]
    gate.release()
    assert not gate.locked()


async def test_a_place_given_to_one_who_goes_away_at_that_moment_is_not_lost() -> None:
    gate, order = Gate(1), []
    await gate.acquire()
    gone, stays = await waiting(gate, order, ("gone", 1), ("stays", 2))
    gate.release()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    await stays
    assert order == ["stays"]


async def test_it_can_be_held_for_a_block() -> None:
    gate = Gate(1)
    async with gate:
        assert gate.locked()
    assert not gate.locked()


async def test_a_place_that_comes_while_somebody_is_going_away_goes_to_the_next() -> None:
    gate, order = Gate(1), []
    await gate.acquire()
    gone, stays = await waiting(gate, order, ("gone", 1), ("stays", 2))
    gone.cancel()
    gate.release()
    with pytest.raises(asyncio.CancelledError):
        await gone
    await stays
    assert order == ["stays"]
    gate.release()
    assert not gate.locked()


async def test_more_places_let_those_in_who_wait() -> None:
    gate, order = Gate(1), []
    await gate.acquire()
    tasks = await waiting(gate, order, ("a", 1), ("b", 2), ("c", 3))
    assert gate.crowded()
    gate.resize(3)
    await asyncio.sleep(0)
    assert order == ["a", "b"]
    gate.release()
    await asyncio.gather(*tasks)
    assert not gate.crowded()
    gate.release()
    assert not gate.locked()


async def test_fewer_places_turn_nobody_out_and_let_nobody_in_until_there_is_room() -> None:
    gate, order = Gate(3), []
    for _ in range(3):
        await gate.acquire()
    gate.resize(1)
    tasks = await waiting(gate, order, ("a", 1))
    for left, expected in ((2, []), (1, []), (0, ["a"])):
        gate.release()
        await asyncio.sleep(0)
        assert order == expected, left
    await asyncio.gather(*tasks)
    gate.release()
    assert not gate.locked()
    await gate.acquire()
    assert gate.locked()
