"""For the programs beside it, each run by the Python of another server's environment: checks by name, told as JSON.

Nothing of Serin is imported here, and nothing that such an environment may not have.
"""

import asyncio
import json
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

Check = Callable[["Address"], Awaitable[None]]


class Address:
    """Where the gateway is: `http`, a URL, and `grpc`, host and port."""

    def __init__(self, http: str, grpc: str) -> None:
        self.http = http
        self.grpc = grpc


def main(*checks: Check) -> None:
    """Run all with the addresses of the command line; print the trouble of each by its name, "" where there is none."""
    address = Address(*sys.argv[1:3])
    print(json.dumps({check.__name__: asyncio.run(_trouble(check, address)) for check in checks}))


async def refusal(asking: Awaitable[object]) -> Any:
    """The error with which it ends. Fails when it does not."""
    try:
        await asking
    except Exception as error:
        return error
    raise AssertionError("it was answered")


async def _trouble(check: Check, address: Address) -> str:
    try:
        await asyncio.wait_for(check(address), 60)
    except Exception:
        return traceback.format_exc(limit=-3)
    return ""
