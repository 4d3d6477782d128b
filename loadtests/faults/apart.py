"""Callers in a process and a session of their own: what the experiment computes meanwhile keeps none waiting."""

import gc
import os
import signal
import socket
import threading
import traceback
from types import TracebackType
from typing import NoReturn

import msgspec

from loadtests.faults.callers import END_SECONDS, Callers, Look, Sent
from loadtests.load import LoadFailed
from service.priority import come_first

READ_BYTES = 1 << 20


class Told(msgspec.Struct):
    """What callers have to tell in the end."""

    sent: list[Sent]
    looks: list[Look]
    count: int


class Apart:
    """`with Apart(Callers(...)) as callers:` as with the callers themselves, but `sent`, `looks` and `count` are there
    only after `stop`. To be entered before this process has threads: it is copied."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self.sent: list[Sent] = []
        self.looks: list[Look] = []
        self.count = 0
        self._pid = 0
        self._line: socket.socket | None = None

    def __enter__(self) -> "Apart":
        self._line, theirs = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            self._line.close()
            _be(self._callers, theirs)
        theirs.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._end()
        self.stop()

    def wait(self, seconds: float) -> None:
        """Let them go on for so long."""
        self._callers.wait(seconds)

    def stop(self) -> list[Sent]:
        """Send no more, wait for what is under way; all requests. Raises LoadFailed, TimeoutError."""
        line = self._line
        if line is None:
            return self.sent
        try:
            line.shutdown(socket.SHUT_WR)
            line.settimeout(END_SECONDS)
            content = b"".join(iter(lambda: line.recv(READ_BYTES), b""))
        finally:
            self._end()
        if not content:
            raise LoadFailed("the callers failed; what they said is above")
        told = msgspec.msgpack.decode(content, type=Told)
        self.sent, self.looks, self.count = told.sent, told.looks, told.count
        return self.sent

    def _end(self) -> None:
        """Of the process, which has told all, or is not wanted any more."""
        line, self._line = self._line, None
        if line is not None:
            line.close()
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


def _wait(callers: Callers, line: socket.socket) -> None:
    line.recv(1)
    callers.end()


def _be(callers: Callers, line: socket.socket) -> NoReturn:
    """The callers' process, until the other end of the line closes."""
    code = 1
    try:
        os.setsid()
        come_first()
        gc.freeze()
        gc.disable()
        threading.Thread(target=_wait, args=(callers, line), name="end", daemon=True).start()
        callers.work()
        line.sendall(msgspec.msgpack.encode(Told(callers.sent, callers.looks, callers.count)))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
