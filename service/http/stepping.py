"""Coroutines stepped by hand: most answers are there without a task; the rest go on in one, while somebody waits."""

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any

from starlette.types import Receive

from service.http.reading import Left
from service.http.replies import Reply

Work = Coroutine[Any, Any, Reply]


async def go_on(work: Work, waits_for: Any) -> Reply:
    """For a task: the rest of a coroutine that was stepped by hand until it waited for `waits_for`."""
    return await _resumed(work, waits_for)


async def while_there(work: Work, receive: Receive) -> Reply:
    """The answer, given up when the caller leaves: then raises Left. For ASGI, after the body was read."""
    try:
        first = work.send(None)
    except StopIteration as done:
        reply: Reply = done.value
        return reply
    answering = asyncio.ensure_future(go_on(work, first))
    leaving = asyncio.ensure_future(receive())
    try:
        await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            return answering.result()
        raise Left
    finally:
        answering.cancel()  # nothing happens when it is done
        leaving.cancel()
        await asyncio.wait((answering, leaving))


@coroutine
def _resumed(work: Work, waits_for: Any) -> Generator[Any, Any, Reply]:
    """Go on with a coroutine that was stepped by hand and now waits; what it waits for is handed to the task first."""
    while True:
        error: BaseException | None = None
        try:
            value = yield waits_for
        except BaseException as thrown:
            error = thrown
        try:
            waits_for = work.send(value) if error is None else work.throw(error)
        except StopIteration as done:
            reply: Reply = done.value
            return reply
