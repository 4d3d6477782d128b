"""Waiting until a table is the one that answers requests: in every live worker, or the worker is killed."""

import asyncio
from dataclasses import dataclass

from router.bell import Bell
from router.errors import DeadlineExceeded
from router.fleet import Fleet
from router.routes import Route


@dataclass(frozen=True, slots=True)
class Limits:
    """The longest waits of a command: for versions to be ready, for a rescan to find one that is unknown, for workers
    to confirm a table, and for the supervisor to kill those that do not."""

    load_seconds: float = 30.0
    look_seconds: float = 5.0
    confirm_seconds: float = 2.0
    kill_seconds: float = 3.0


@dataclass(frozen=True, slots=True)
class Applied:
    """A command that is in effect in `applied` of `workers` live workers."""

    revision: int
    applied: int
    workers: int
    route: Route | None = None


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """How many of how many live workers have the table; or the words of one that refused it."""

    applied: int
    workers: int
    refused: str | None = None


async def acknowledged(fleet: Fleet, bell: Bell, revision: int, limits: Limits) -> Acknowledgement:
    """Waits for every live worker to confirm `revision`; has those that do not killed.

    Raises DeadlineExceeded when neither happens: then a request could still be answered from an older table.
    """
    loop = asyncio.get_running_loop()

    def lagging() -> bool:
        return bool(fleet.lagging(revision, loop.time()))

    def refused() -> bool:
        return fleet.refusal(revision, loop.time()) is not None

    settled = await bell.until(lambda: refused() or not lagging(), limits.confirm_seconds)
    if not settled:
        fleet.condemn(fleet.lagging(revision, loop.time()))
        bell.ring()
        settled = await bell.until(lambda: not lagging(), limits.kill_seconds)
    answer = fleet.refusal(revision, loop.time())
    live = fleet.live(loop.time())
    if answer is not None:
        worker, refusal = answer
        return Acknowledgement(0, len(live), f"worker {worker.slot} refused the table: {refusal.reason}")
    if not settled:
        slots = ", ".join(str(worker.slot) for worker in fleet.lagging(revision, loop.time()))
        raise DeadlineExceeded(
            f"revision {revision} is recorded, but worker {slots} has neither confirmed it nor been stopped"
        )
    return Acknowledgement(len(live), len(live))
