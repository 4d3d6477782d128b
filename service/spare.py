"""A worker in waiting: everything is imported, so that it can take the place of a dead one at once.

`python -m service.spare`. Until it has a place it holds nothing but memory; then it is a worker like any other.
"""

import ctypes
import gc
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from service import app
from service.lifeline import open_lifeline

WAITING, WORKING = b"service.spare", b"service.app"
LATER = {"httpcore": "httpcore", "grpc": "service.grpc.port", "pydantic": "pydantic.v1"}
"""What a worker imports only once it runs: its module, where this package is installed. FastAPI looks for classes of an
older pydantic in each route."""
ARGUMENTS_START, ARGUMENTS_END = 45, 46
"""Of the fields of /proc/self/stat behind the name: see proc(5), arg_start and arg_end."""


def show_as_worker() -> None:
    """Let `ps` show what this process is from now on. The kernel reads the arguments where they lie in our memory."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[ARGUMENTS_START]), int(fields[ARGUMENTS_END])
    if not start:
        return
    at = ctypes.string_at(start, end - start).find(WAITING)
    if at >= 0:
        ctypes.memmove(start + at, WORKING.ljust(len(WAITING), b"\0"), len(WAITING))


def load() -> None:
    """Import what a worker may need; none of it is garbage, so that nobody has to look through it again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # as FastAPI does: it warns of a Python that it cannot serve
        for package, module in LATER.items():
            if find_spec(package) is not None:
                import_module(module)
    gc.collect()
    gc.freeze()


def main() -> None:
    """Wait for a place, which is the first line of standard input; without one there was no need."""
    load()
    try:
        lifeline = open_lifeline()
    except EOFError:
        return
    show_as_worker()
    app.work(lifeline)


if __name__ == "__main__":
    main()
