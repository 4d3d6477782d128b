"""How many instructions each stage of the hot path takes, as valgrind's callgrind counts them: `count`.

Other programs and the speed of the machine change nothing in such a count. It says nothing of caches and system calls,
and takes half a minute. Whole requests in the lane are not counted: so slow as they are under valgrind, the version
leaves the event loop.
"""

import ctypes
import gc
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from random import seed

from loadtests import hotpath
from loadtests.processes import ROOT, environment

SOURCE = Path(__file__).with_name("counting.c")
MAKE_SECONDS, RUN_SECONDS = 60.0, 900.0
WINDOWS = 8
"""Each stage is counted so often, and the least counts: what other threads of the program did meanwhile is not its."""

WARM_CALLS, CALLS = 100, 50

_NAME = re.compile(r"^desc: Trigger: Client Request: (.*)$", re.M)
_TOTAL = re.compile(r"^(?:totals|summary): (\d+)", re.M)


class CannotCount(Exception):
    """Something is missing; the message says what."""


def count(folder: Path) -> dict[str, float]:
    """Instructions of one call of each stage, the yardstick among them. `folder` is for what is written on the way.

    Raises CannotCount.
    """
    valgrind, compiler = shutil.which("valgrind"), shutil.which("cc")
    if valgrind is None or compiler is None:
        raise CannotCount("it needs valgrind and a C compiler (Debian: apt-get install valgrind gcc libc6-dev)")
    library = folder / "counting.so"
    _run([compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE)], MAKE_SECONDS)
    out = f"--callgrind-out-file={folder / 'counted'}"
    program = [sys.executable, "-m", "loadtests.instructions", str(library), str(folder)]
    _run([valgrind, "--tool=callgrind", "--instr-atstart=no", out, *program], RUN_SECONDS)
    return least(read(path.read_text()) for path in folder.glob("counted.*"))


def read(text: str) -> tuple[str, float] | None:
    """The stage and its instructions, from what callgrind wrote; None where it is not of a stage."""
    name, total = _NAME.search(text), _TOTAL.search(text)
    if name is None or total is None:
        return None
    stage, _, calls = name[1].rpartition(" / ")
    return stage, round(int(total[1]) / int(calls), 1)


def least(windows: Iterable[tuple[str, float] | None]) -> dict[str, float]:
    """The least of each stage."""
    found: dict[str, float] = {}
    for window in windows:
        if window is not None:
            stage, instructions = window
            found[stage] = min(instructions, found.get(stage, instructions))
    return found


def _run(command: list[str], seconds: float) -> None:
    # Where a dictionary puts its keys must be the same in every run.
    settled = {**environment(os.environ), "PYTHONHASHSEED": "0"}
    try:
        done = subprocess.run(command, cwd=ROOT, env=settled, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise CannotCount(f"{command[0]} took more than {seconds:.0f} s") from error
    if done.returncode:
        raise CannotCount(f"{command[0]} failed: {done.stderr.decode(errors='replace')[-300:]}")


def _stages(marks: ctypes.CDLL, folder: Path) -> None:
    with hotpath.calls(folder) as known:
        for name, call in {hotpath.YARDSTICK: hotpath.yardstick, **known}.items():
            seed(1)  # some stages draw
            for _ in range(WARM_CALLS):
                call()
            for _ in range(WINDOWS):
                marks.begin()
                for _ in range(CALLS):
                    call()
                marks.end(f"{name} / {CALLS}".encode())


def main() -> None:
    """The program that is counted."""
    marks, folder = ctypes.CDLL(sys.argv[1]), Path(sys.argv[2])
    gc.disable()  # when it runs depends on all that came before
    marks.start()
    _stages(marks, folder)


if __name__ == "__main__":
    main()
