import asyncio

from router.bell import Bell


async def test_a_ring_wakes_all_who_wait_and_each_asks_its_own_question() -> None:
    bell, seen = Bell(), [0]
    first = asyncio.ensure_future(bell.until(lambda: seen[0] >= 1, 5))
    second = asyncio.ensure_future(bell.until(lambda: seen[0] >= 2, 5))
    await asyncio.sleep(0)
    seen[0] = 1
    bell.ring()
    assert await first
    assert not second.done()
    seen[0] = 2
    bell.ring()
    assert await second


async def test_what_holds_already_is_not_waited_for_and_what_does_not_ends_in_time() -> None:
    assert await Bell().until(lambda: True, 0)
    assert not await Bell().until(lambda: False, 0)
