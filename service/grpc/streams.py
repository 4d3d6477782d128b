"""Streams that end when the server does, since an idle one must not hold up a drain, or when nothing comes for long."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from router.errors import RequestTimeout


async def until(requests: AsyncIterator[Any], closing: asyncio.Event, idle_seconds: float = 0.0) -> AsyncIterator[Any]:
    """The messages of a stream, up to its end or to the first moment without one after `closing` was set.

    Raises RequestTimeout when the next one is not there as a whole after `idle_seconds`; 0: waits for ever. gRPC does
    not tell whether some of it is, so who sends nothing and who sends a byte now and then have the same time.
    """
    incoming = aiter(requests)
    ending = asyncio.ensure_future(closing.wait())
    coming: asyncio.Future[Any] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(_next(incoming))
            await asyncio.wait((coming, ending), timeout=idle_seconds or None, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done() and not ending.done():
                raise RequestTimeout("no message arrived in the stream for too long")
            if not coming.done() or (message := coming.result()) is None:
                return
            yield message
    finally:
        ending.cancel()
        if coming is not None:
            coming.cancel()


async def _next(incoming: AsyncIterator[Any]) -> Any:
    try:
        return await anext(incoming)
    except StopAsyncIteration:
        return None
