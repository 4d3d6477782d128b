"""Streams that end when the server does: an idle one must not hold up a drain."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any


async def until(requests: AsyncIterator[Any], closing: asyncio.Event) -> AsyncIterator[Any]:
    """The messages of a stream, up to its end or to the first moment without one after `closing` was set."""
    incoming = aiter(requests)
    ending = asyncio.ensure_future(closing.wait())
    coming: asyncio.Future[Any] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(_next(incoming))
            await asyncio.wait((coming, ending), return_when=asyncio.FIRST_COMPLETED)
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
