"""The queue of a version by its numbers; a flood is played in simulated time."""

from collections import deque

import pytest

from router.errors import DeadlineExceeded, ResourceExhausted, ShedReason
from service.runtime.room import SHORT, STANDING_NS, UNHURRIED, Room

MS = 1_000_000
SECOND = 1000 * MS
FAR = 1 << 62


def room(*, longest_ns: int = 0, mean_ns: float = 20 * MS) -> Room:
    return Room(256, longest_ns, 2, mean_ns)


def reason(queue: Room, deadline_ns: int, now_ns: int) -> ShedReason | None:
    try:
        queue.require(deadline_ns, now_ns)
    except ResourceExhausted as refused:
        return refused.reason
    return None


def test_a_full_queue_takes_nobody_and_says_when_to_come_again() -> None:
    queue = room()
    queue.note(256, 0)
    with pytest.raises(ResourceExhausted, match="256 requests already wait") as refused:
        queue.require(FAR, 1)
    assert refused.value.reason is ShedReason.QUEUE_FULL
    assert refused.value.retry_after_seconds == pytest.approx(2.57)


def test_a_burst_waits_as_long_as_it_takes_and_a_queue_that_stands_does_not() -> None:
    queue = room(longest_ns=SECOND)
    queue.note(150, 0)
    assert reason(queue, FAR, STANDING_NS - 1) is None
    assert reason(queue, FAR, STANDING_NS) is ShedReason.LONG_WAIT


def test_a_wait_that_was_too_long_lowers_the_bound_until_the_queue_has_gone() -> None:
    queue = room(longest_ns=SECOND)
    queue.note(90, 0)  # 0.9 s
    assert reason(queue, FAR, SECOND) is None
    queue.note(20, SECOND)
    assert reason(queue, FAR, SECOND) is ShedReason.LONG_WAIT
    queue.note(-20, SECOND)
    assert reason(queue, FAR, SECOND) is ShedReason.LONG_WAIT
    queue.note(25 - 90, SECOND)  # a quarter of a second
    assert reason(queue, FAR, SECOND) is None
    queue.note(SHORT - 1 - 25, SECOND)
    queue.note(90, SECOND)
    assert reason(queue, FAR, 2 * SECOND) is None


def test_few_may_wait_for_very_slow_runs() -> None:
    queue = room(longest_ns=SECOND, mean_ns=5 * SECOND)
    queue.note(UNHURRIED - 1, 0)
    assert reason(queue, FAR, SECOND) is None
    queue.note(1, SECOND)
    assert reason(queue, FAR, SECOND) is ShedReason.LONG_WAIT


def test_nobody_waits_for_more_than_half_of_his_time_in_a_queue_that_stands() -> None:
    queue = room()
    queue.note(50, 0)  # 0.5 s
    assert reason(queue, STANDING_NS + 1020 * MS, STANDING_NS) is None
    assert reason(queue, STANDING_NS + 1019 * MS, STANDING_NS) is ShedReason.DEADLINE


def test_a_queue_that_was_short_for_a_moment_does_not_stand() -> None:
    queue = room(longest_ns=1)
    queue.note(100, 0)
    queue.note(SHORT - 1 - 100, STANDING_NS)
    queue.note(100, STANDING_NS)
    assert reason(queue, FAR, STANDING_NS + 1) is None


def test_what_cannot_be_done_in_time_is_not_begun_while_others_wait_but_is_tried_now_and_then() -> None:
    queue = room(mean_ns=float(SECOND))
    queue.require_time(100 * MS, 0)  # nobody waits for the place
    queue.note(1, 0)
    with pytest.raises(DeadlineExceeded):
        queue.require_time(100 * MS, 0)
    refused = 1
    while queue.too_late(100 * MS, 0) and refused < 1000:
        queue.doubt()
        refused += 1
    assert 10 < refused < 100
    queue.gave_up(100 * MS)
    assert queue.too_late(99 * MS, 0)


@pytest.mark.parametrize("overload", [2, 5])
@pytest.mark.parametrize("deadline_ns", [FAR, SECOND, 200 * MS])
def test_a_flood_leaves_the_goodput_and_those_who_were_let_in_are_in_time(overload: int, deadline_ns: int) -> None:
    run_ns, places, seconds = 20 * MS, 2, 10
    queue = room(longest_ns=SECOND)
    waiting, free = deque[int](), [0] * places
    done, late, waits = 0, 0, []
    gap = run_ns // places // overload
    for now in range(0, seconds * SECOND, gap):
        for place in range(places):
            while free[place] <= now and waiting:
                came = waiting.popleft()
                start = max(free[place], came)
                queue.note(-1, now)
                if queue.too_late(came + deadline_ns, start):
                    queue.doubt()
                    late += now > SECOND  # until then the burst is dealt with
                    continue
                free[place] = start + run_ns
                queue.ran(run_ns)
                in_time = free[place] <= came + deadline_ns
                done, late = done + in_time, late + (not in_time and now > SECOND)
                waits.append(free[place] - came)
        if reason(queue, now + deadline_ns, now) is None:
            waiting.append(now)
            queue.note(1, now)
    capacity = seconds * SECOND // run_ns * places
    assert done >= 0.95 * capacity
    assert late <= 0.01 * capacity
    steady = waits[len(waits) // 3 :]
    assert max(steady) <= min(deadline_ns, SECOND) + 3 * run_ns
