"""The wall clock jumps an hour and a day, both ways, and stands still: pauses, counts and answers do not mind.

Only the gateway gets the false clock, by a library that `cc` makes for the run; its monotonic clocks stay true, as they
do when somebody sets the time. (libfaketime 0.9.10 breaks `time.sleep` of Python 3.11 when it is to leave those alone.)
"""

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import monotonic, time

from loadtests.faults.callers import Callers
from loadtests.faults.counting import MODEL
from loadtests.faults.judging import failed, liveness, readiness, truth, why, wrong
from loadtests.faults.outcome import Outcome, at_least, exactly, shown, soon
from loadtests.faults.stand import Gateway, eventually, http, stand
from loadtests.processes import NotStarted

ROW = "C13"
SOURCE = Path(__file__).with_name("false_clock.c")
HOUR, DAY, FAR = 3600, 86_400, 1_893_456_000
STEPS = ((HOUR, 0), (-HOUR, 0), (DAY, 0), (-DAY, 0), (0, FAR))
"""Seconds that are added; or, unless 0, the second at which it stands still."""

MAKE_SECONDS, SEEN_SECONDS = 60.0, 5.0
STEP_SECONDS, LONG_STEP_SECONDS, RATE = 2.0, 60.0, 100.0
SPARE_SECONDS = 10.0


def run(long: bool) -> Outcome:
    """A canary's pause spans all steps of the clock; each lasts 2 s, or a minute. Raises NotStarted without cc."""
    each = LONG_STEP_SECONDS if long else STEP_SECONDS
    pause = each * (len(STEPS) + 2)
    with stand(1, 2) as at, false_clock(at.folder) as clock, at.gateway() as gateway:
        start = gateway.scrape()
        with Callers(gateway.address, RATE) as callers:
            options = {"weights": [10], "pause": f"{pause:g}s"}
            body = {"model": MODEL, "to": 2, "strategy": "canary", "canary": options, "checks": []}
            gateway.say("", body).raise_for_status()
            eventually(lambda: stands_at(gateway, 10.0) or None, 10.0)
            begun, early, unseen = monotonic(), 0, 0
            for step in STEPS:
                set_clock(clock, step)
                callers.wait(each)
                early += not stands_at(gateway, 10.0)
                unseen += abs(shows(gateway) - (step[1] or time() + step[0])) > SEEN_SECONDS
            set_clock(clock, (0, 0))
            eventually(lambda: stands_at(gateway, 100.0) or None, pause + 30.0, every=0.05)
            took = monotonic() - begun
            callers.stop()
        counted = gateway.scrape().since(start)
    negative = [
        name for (name, _), value in counted.samples.items() if value < 0 and name.endswith(("_sum", "_bucket"))
    ]
    return Outcome(
        [
            shown("steps of the clock", len(STEPS)),
            exactly("steps that the gateway's Date header did not show", unseen),
            exactly("looks at which the canary had moved too early", early),
            at_least(f"seconds until promotion, pause of {pause:g}", took, pause - 1.0),
            soon("the same, at most", took, pause + SPARE_SECONDS),
            exactly("requests failed", len(failed(callers.sent))),
            exactly("wrong answers", len(wrong(callers.sent))),
            exactly("negative latencies in the metrics", len(negative)),
            liveness(callers.looks),
            readiness(callers.looks),
            *truth(callers.sent, counted, MODEL),
        ],
        [f"failed: {why(callers.sent)}"],
    )


@contextmanager
def false_clock(folder: Path) -> Iterator[Path]:
    """What is started in this block takes its wall clock from the file, see `set_clock`. Raises NotStarted."""
    compiler, library, file = shutil.which("cc"), folder / "false_clock.so", folder / "clock"
    if compiler is None:
        raise NotStarted("there is no C compiler: the clock was not tried (Debian: apt-get install gcc libc6-dev)")
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE)]
    subprocess.run(command, check=True, timeout=MAKE_SECONDS)
    set_clock(file, (0, 0))
    false = {"LD_PRELOAD": str(library), "FALSE_CLOCK": str(file)}
    os.environ.update(false)
    try:
        yield file
    finally:
        for name in false:
            os.environ.pop(name, None)


def set_clock(file: Path, step: tuple[int, int]) -> None:
    """In place: the gateway has it mapped."""
    with file.open("r+b" if file.exists() else "wb") as place:
        place.write(struct.pack("qq", *step))


def stands_at(gateway: Gateway, weight: float) -> bool:
    """Whether version 2 has this weight."""
    variants = gateway.ask(f"/api/v1/routes/{MODEL}")["variants"]
    return any(one["version"] == 2 and one["weight"] == weight for one in variants)


def shows(gateway: Gateway) -> float:
    """The gateway's wall clock, as its answers have it: seconds since 1970."""
    answer = http().get(f"{gateway.server.http}/v2/health/live")
    return parsedate_to_datetime(answer.headers["date"]).timestamp()
