"""The supervisor's side of the fork server: children that start as copies of one process (`service/forkserver.py`)."""

import asyncio
import ctypes
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from io import FileIO

PR_SET_CHILD_SUBREAPER = 36
MODULE = "service.forkserver"
FIRST_SECONDS, COPY_SECONDS = 60.0, 10.0
"""For one copy. The first waits for the imports: a second of processor time, which takes long on a full machine."""
END_SECONDS = 5.0
ANSWER_BYTES = 4096


def take_in_orphans() -> bool:
    """Become the parent of descendants whose own parent ends, which are then watched by a file of theirs; False where
    this system or this Python has no such thing."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return not ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Forked:
    """A copy, as a child of this process."""

    def __init__(self, pid: int) -> None:
        """The child that has this id. Raises OSError when there is no file to watch it by, and it is gone then."""
        self.pid = pid
        self.returncode: int | None = None
        self.stdin: asyncio.WriteTransport | None = None
        try:
            self._process = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._loop.add_reader(self._process, self._reap)

    async def listens_to(self, stdin: FileIO) -> None:
        """Write to its standard input by this, until its end."""
        self.stdin, _ = await self._loop.connect_write_pipe(asyncio.BaseProtocol, stdin)

    async def wait(self) -> int:
        """Its exit code, when it has ended; negative for a signal."""
        return await asyncio.shield(self._ended)

    def _reap(self) -> None:
        self._loop.remove_reader(self._process)
        os.close(self._process)
        _, status = os.waitpid(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        self._ended.set_result(self.returncode)
        if self.stdin is not None:
            self.stdin.close()


class Forkserver:
    """One process to copy from: started when the first copy is wanted, and again when it is found to be gone.

    `modules`: what it imports; `fds`: what its copies may inherit, under the same numbers; `environment`: for all.
    """

    def __init__(self, modules: list[str], fds: Sequence[int], environment: Mapping[str, str]) -> None:
        self._closed = False
        self._modules, self._fds, self._environment = modules, fds, environment
        self._process: asyncio.subprocess.Process | None = None
        self._line: socket.socket | None = None
        self._limit_seconds = FIRST_SECONDS
        self._turn = asyncio.Lock()

    async def fork(self, module: str, fds: Sequence[int]) -> tuple[Forked, FileIO, int]:
        """A copy that runs `main` of this module and has no files but these. Returns it, the end of a pipe to read its
        reports from, and the number under which it has the other end. Raises OSError, also when none comes in time."""
        with ExitStack() as theirs, ExitStack() as ours:
            stdin, to_it = (FileIO(fd, mode) for fd, mode in zip(os.pipe(), "rw", strict=True))
            theirs.enter_context(stdin)
            ours.enter_context(to_it)
            from_it, reports = (FileIO(fd, mode) for fd, mode in zip(os.pipe(), "rw", strict=True))
            theirs.enter_context(reports)
            ours.enter_context(from_it)
            wish = json.dumps({"module": module, "fds": list(fds)}).encode()
            told = json.loads(await self._ask(wish, (stdin.fileno(), reports.fileno())))
            if told["pid"] < 0:
                raise _error(-told["pid"])
            forked = Forked(told["pid"])
            await forked.listens_to(to_it)
            ours.pop_all()
            return forked, from_it, told["report_fd"]

    async def _ask(self, wish: bytes, pipes: Sequence[int]) -> bytes:
        """One wish at a time. What does not answer as it should is ended: the next wish starts another."""
        async with self._turn:
            try:
                line = self._line or await self._start()
                socket.send_fds(line, [wish], pipes)
                answering = asyncio.get_running_loop().sock_recv(line, ANSWER_BYTES)
                answer = await asyncio.wait_for(answering, self._limit_seconds)
                if not answer:
                    raise _error(errno.ECONNRESET)
            except BaseException as error:
                self._end()
                if isinstance(error, TimeoutError):
                    raise _error(errno.ETIMEDOUT) from None  # asyncio's has no number
                raise
            self._limit_seconds = COPY_SECONDS
            return answer

    async def _start(self) -> socket.socket:
        self._require_open()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._line, self._limit_seconds = ours, FIRST_SECONDS
            ours.setblocking(False)
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", MODULE),
                stdin=theirs.fileno(),
                stdout=2,  # standard output is the supervisor's alone
                pass_fds=self._fds,
                start_new_session=True,
                env=self._environment,
            )
        self._require_open()  # closed meanwhile
        ours.send(json.dumps({"modules": self._modules, "fds": list(self._fds)}).encode())
        return ours

    def _require_open(self) -> None:
        if self._closed:
            raise _error(errno.ECONNABORTED)

    async def close(self) -> None:
        """End it for good, and let whoever waits for a copy have none. The copies go on."""
        self._closed = True
        if self._process is not None:
            self._kill()  # whoever waits reads the end of the line
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), END_SECONDS)
        async with self._turn:
            self._end()

    def _end(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
        self._kill()

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):  # its own `kill` would wait for it, before those who do
                os.kill(self._process.pid, signal.SIGKILL)


def _error(number: int) -> OSError:
    """With its usual words."""
    return OSError(number, os.strerror(number))
