"""Makes the other children of the supervisor as copies of itself: what they need is imported and in memory once.

`python -m service.forkserver`, with a socket to the supervisor as its standard input: first come the names of the
modules, then a wish for each copy. It does nothing but import and copy: it has one thread and no event loop, reads no
file of anybody's and holds the sockets only to hand them on. A copy is a child of the supervisor's and not of this
process, whose end it survives.
"""

import ctypes
import gc
import json
import os
import socket
import warnings
from collections.abc import Collection, Sequence
from importlib import import_module
from pathlib import Path

OWN_NAME = b"service.forkserver"
WISH_BYTES = 65536
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


def serve(line: socket.socket) -> str | None:
    """Make a copy for each wish until the other end closes. Returns in each copy the module that it is to run, and None
    in the end."""
    while True:
        message, pipes, _, _ = socket.recv_fds(line, WISH_BYTES, PIPES)
        if not message:
            return None
        wish = json.loads(message)
        try:
            pid = copy(pipes[0], {pipes[1], *wish["fds"]})
        except OSError as error:  # no room for another process
            pid = -(error.errno or 1)
        if pid == 0:
            line.detach()
            rename(wish["module"].encode())
            return str(wish["module"])
        for pipe in pipes:
            os.close(pipe)
        line.send(json.dumps({"pid": pid, "report_fd": pipes[1]}).encode())


def copy(stdin: int, keep: Collection[int]) -> int:
    """Copy this process, with `stdin` as its standard input and of the other open files only those to `keep`. Returns 0
    in the copy, which leads a session of its own, and its id here. Raises OSError.

    The process between the two ends at once, so that the copy becomes a child of the supervisor's (which says that it
    takes those in: PR_SET_CHILD_SUBREAPER).
    """
    told, telling = os.pipe()
    between = os.fork()
    if between == 0:
        try:
            if os.fork() != 0:
                os._exit(0)
        except OSError as error:
            os._exit(error.errno or 1)
        os.setsid()
        os.write(telling, b"%d" % os.getpid())
        os.dup2(stdin, 0)
        close_others({0, 1, 2, *keep})
        return 0
    os.close(telling)
    try:
        _, status = os.waitpid(between, 0)
        if code := os.waitstatus_to_exitcode(status):
            raise OSError(abs(code), os.strerror(abs(code)))
        return int(os.read(told, 20))
    finally:
        os.close(told)


def close_others(keep: Collection[int]) -> None:
    """Close all open files but these."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            try:
                os.close(int(name))
            except OSError:
                continue  # that of the listing itself


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
    line = socket.socket(fileno=0)
    load(json.loads(line.recv(WISH_BYTES) or b"[]"))
    module = serve(line)
    if module is not None:
        import_module(module).main()


if __name__ == "__main__":
    main()
