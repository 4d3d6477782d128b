"""A deadline of 100 ms and a model that takes 1 s; callers who leave: nothing runs for nobody, and places come free."""

import asyncio
from time import monotonic

from loadtests.client import Reply, connect, exchange
from loadtests.client import run as run_loop
from loadtests.faults.counting import MODEL, request
from loadtests.faults.outcome import Outcome, exactly, shown, soon
from loadtests.faults.stand import Gateway, eventually, stand

ROW = "C7"
RUN_SECONDS, DEADLINE_SECONDS, GRACE_SECONDS = 1.0, 0.1, 0.05
CALLERS, LONG_CALLERS = 20, 200
ANSWER_SECONDS = 15.0
EXECUTIONS = "nv_inference_exec_count_total"  # as the parser names counters


def run(long: bool) -> Outcome:
    """20 callers of each kind, or 200. One worker with one place: one long request holds it meanwhile."""
    callers = LONG_CALLERS if long else CALLERS
    flags: dict[str, object] = {"faults": f"{MODEL}:* slow={RUN_SECONDS:g}", "max-concurrency": 1}
    flags |= {"familiar-metrics": "triton"}
    with stand(1) as at, at.gateway(flags, workers=1) as gateway:
        before = executions(gateway)
        statuses, slowest = run_loop(hurried(gateway, callers))
        hurried_runs = executions(gateway) - before
        run_loop(left(gateway, callers))
        eventually(lambda: not gateway.scrape().total("serin_queued_requests") or None, 10.0)
        again = run_loop(one(gateway, request(1)))
        left_runs = executions(gateway) - before - hurried_runs
    return Outcome(
        [
            shown("callers with 100 ms while another runs", callers),
            exactly("answered 504", statuses.count(504), callers),
            soon("the slowest of these answers, s", slowest, DEADLINE_SECONDS + GRACE_SECONDS),
            exactly("runs for them beside the one that ran", hurried_runs - 1),
            exactly("runs for as many who left while they waited", left_runs - 2),
            exactly("status of one who comes then", again.status, 200),
        ]
    )


def executions(gateway: Gateway) -> float:
    """Runs of the model that have ended, when nothing is in flight."""
    return gateway.scrape().total(EXECUTIONS)


async def one(gateway: Gateway, raw: bytes) -> Reply:
    """One answer on a connection of its own."""
    [reply] = await exchange(*gateway.address, [raw], connections=1, seconds=ANSWER_SECONDS)
    return reply


async def hurried(gateway: Gateway, callers: int) -> tuple[list[int], float]:
    """Statuses, and the longest time to one."""
    raw = request(1).replace(b"\r\n", b"\r\nSerin-Timeout: %g\r\n" % DEADLINE_SECONDS, 1)
    long = asyncio.create_task(one(gateway, request(1)))
    await asyncio.sleep(RUN_SECONDS / 4)

    async def timed() -> tuple[int, float]:
        begun = monotonic()
        return (await one(gateway, raw)).status, monotonic() - begun

    found = await asyncio.gather(*(timed() for _ in range(callers)))
    await long
    return [status for status, _ in found], max(took for _, took in found)


async def left(gateway: Gateway, callers: int) -> None:
    """Callers who ask and leave before their turn."""
    long = asyncio.create_task(one(gateway, request(1)))
    await asyncio.sleep(RUN_SECONDS / 4)
    waiting = [await connect(*gateway.address) for _ in range(callers)]
    for connection in waiting:
        connection.send(request(2), lambda reply: None)
    await asyncio.sleep(RUN_SECONDS / 4)
    for connection in waiting:
        connection.close()
    await long
