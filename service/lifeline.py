"""A child's end of the two pipes to its supervisor: configuration and commands come in, reports go out."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Command = dict[str, Any]
READ_BYTES = 65536
LAST_SECONDS = 10.0
"""How long a child may take to end after its supervisor is gone."""


@dataclass(frozen=True, slots=True)
class Lifeline:
    """`config` is the first line that came; `report_fd` takes JSON lines, or is -1 where nobody listens."""

    config: Command
    report_fd: int
    _lines: Iterator[bytes]

    def report(self, **facts: object) -> None:
        """Tell the supervisor, e.g. `report(listening=True)`. A supervisor that is gone is no error here."""
        if self.report_fd < 0:
            return
        try:
            os.write(self.report_fd, json.dumps(facts).encode() + b"\n")
        except OSError:
            return

    def follow(self, on_command: Callable[[Command], object], on_end: Callable[[], object]) -> threading.Thread:
        """Read further commands in a daemon thread; `on_end` once when the supervisor closed the pipe or died.

        Both are called in that thread: an asyncio program hands in `partial(loop.call_soon_threadsafe, ...)`.
        """

        def read() -> None:
            for line in self._lines:
                on_command(json.loads(line))
            on_end()
            # An event loop that is stuck in a model's native code hears nothing; nobody is left to kill its process.
            time.sleep(LAST_SECONDS)
            os._exit(1)

        thread = threading.Thread(target=read, name="lifeline", daemon=True)
        thread.start()
        return thread


def open_lifeline(stdin_fd: int = 0) -> Lifeline:
    """Read the configuration, which is the first line of standard input. Raises EOFError when there is none."""
    lines = _lines(stdin_fd)
    first = next(lines, None)
    if first is None:
        raise EOFError("started without a supervisor: no configuration on standard input")
    config = json.loads(first)
    return Lifeline(config, int(config.get("report_fd", -1)), lines)


def _lines(fd: int) -> Iterator[bytes]:
    # os.read and not sys.stdin: a daemon thread inside sys.stdin's lock aborts the interpreter when it ends.
    rest = b""
    while chunk := os.read(fd, READ_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line for line in whole if line.strip())
