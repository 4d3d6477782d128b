"""Makes the other children of the supervisor as copies of itself: what they need is imported and in memory once.

`python -m service.forkserver`, with a socket to the supervisor as its standard input: first come the names of the
modules and the files that copies may have, then a wish for each copy. It does nothing but import and copy: it has one
thread and no event loop, reads no file of anybody's and holds the sockets only to hand them on. A copy is a child of
the supervisor's and not of this process, whose end it survives.
"""

import ctypes
import errno
import gc
import json
import os
import signal
import socket
import warnings
from collections.abc import Collection, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

OWN_NAME = b"service.forkserver"
WISH_BYTES, ID_BYTES = 65536, 20
PIPES = 2
"""What comes with each wish: the standard input of the copy, and where its reports go."""
ARGUMENTS_START, ARGUMENTS_END = 45, 46
"""Of the fields of /proc/self/stat behind the name: see proc(5), arg_start and arg_end."""


def load(modules: Sequence[str]) -> None:
    """Import what the copies will need; none of it is garbage, so that nobody has to look through it again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # as FastAPI does: it warns of a Python that it cannot serve
        for module in modules:
            import_module(module)
    gc.collect()
    gc.freeze()


def serve(line: socket.socket, held: Collection[int]) -> str | None:
    """Make a copy for each wish until the other end closes. Returns in each copy the module that it is to run, and None
    in the end. `held`: the files that a copy may have, if the wish says so."""
    while True:
        message, pipes, _, _ = socket.recv_fds(line, WISH_BYTES, PIPES)
        if not message:
            return None
        wish = json.loads(message)
        try:
            if len(pipes) < PIPES:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            stdin, report_fd = pipes
            pid = copy(stdin, {stdin, *held} - set(wish["fds"]))
        except OSError as error:  # no room for another process, or for more files
            pid, report_fd = -(error.errno or errno.ECHILD), -1
        if pid == 0:
            line.detach()
            rename(wish["module"].encode())
            return str(wish["module"])
        for pipe in pipes:
            os.close(pipe)
        with suppress(OSError):  # nobody is there any more, as the next message will say
            line.send(json.dumps({"pid": pid, "report_fd": report_fd}).encode())


def copy(stdin: int, foreign: Collection[int]) -> int:
    """Copy this process, with `stdin` as its standard input and without the files that are `foreign` to the copy.
    Returns 0 in the copy, which leads a session of its own, and its id here. Raises OSError."""
    told, telling = os.pipe()
    try:
        between = os.fork()
    except OSError:
        os.close(told)
        os.close(telling)
        raise
    if between == 0:
        _go_on_as_copy(stdin, {told, *foreign}, telling)
        return 0
    os.close(telling)
    try:
        _, status = os.waitpid(between, 0)
        said = os.read(told, ID_BYTES)
    finally:
        os.close(told)
    if said:
        return int(said)
    code = os.waitstatus_to_exitcode(status)
    raise OSError(code if code > 0 else errno.ECHILD, "there is no copy")


def _go_on_as_copy(stdin: int, foreign: Collection[int], telling: int) -> None:
    """In a process between the two, which ends at once: so the copy becomes a child of the supervisor, which says that
    it takes those in (PR_SET_CHILD_SUBREAPER)."""
    try:
        if os.fork() != 0:
            os._exit(0)
        os.setsid()
        os.dup2(stdin, 0)
        for fd in foreign:
            os.close(fd)
        os.write(telling, b"%d" % os.getpid())
        os.close(telling)
    except OSError as error:
        os._exit(error.errno or errno.ECHILD)


def rename(module: bytes) -> None:
    """Let `ps` show what this process is from now on. The kernel reads the arguments where they lie in our memory."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[ARGUMENTS_START]), int(fields[ARGUMENTS_END])
    if not start:
        return
    at = ctypes.string_at(start, end - start).find(OWN_NAME)
    if at >= 0 and start + at + len(module) < end:
        ctypes.memmove(start + at, module.ljust(end - start - at, b"\0"), end - start - at)


def main() -> None:
    """Wait for wishes; in a copy, be what it is to be."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever started us may have left it ignored
    line = socket.socket(fileno=0)
    if not (first := line.recv(WISH_BYTES)):
        return
    told = json.loads(first)
    load(told["modules"])
    module = serve(line, told["fds"])
    if module is not None:
        import_module(module).main()


if __name__ == "__main__":
    main()
