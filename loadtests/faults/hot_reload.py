"""New versions come and old ones go under load, by rename and by a slow copy in place; each takes all the traffic."""

import shutil
from collections.abc import Sequence
from statistics import median
from time import monotonic, sleep

from loadtests.faults.apart import Apart
from loadtests.faults.callers import Callers, Sent
from loadtests.faults.counting import MODEL, document, place
from loadtests.faults.judging import failed, liveness, measured_rate, p99_ms, readiness, truth, why, wrong
from loadtests.faults.leftovers import leftovers, settled
from loadtests.faults.outcome import Figure, Outcome, at_most, exactly, shown, soon
from loadtests.faults.stand import Gateway, Stand, eventually, stand

ROW = "C1"
CYCLES, LONG_CYCLES = 10, 100
MORE = 5
"""Files and threads that may be there at the end and were not at the start."""

ROUND, STILL_SECONDS, FIRST_SECONDS = 2, 2.0, 1.0
"""So many cycles after so long without any, in turn, since the machine is not equally quiet all the time."""

KEPT, PIECES, PIECE_SECONDS = 2, 6, 0.05
READY_SECONDS, LOOK_SECONDS = 30.0, 0.1


def run(long: bool) -> Outcome:
    """10 cycles, or 100."""
    with stand(1) as at, at.gateway() as gateway:
        rate = measured_rate(gateway.address)
        gateway.route(v1=100).raise_for_status()
        start, clean = gateway.scrape(), leftovers(gateway.pid, at.state)
        with Apart(Callers(gateway.address, rate)) as callers:
            callers.wait(FIRST_SECONDS)
            switched, rounds = list[tuple[float, int]](), list[tuple[float, float, float]]()
            for first in range(2, 2 + (LONG_CYCLES if long else CYCLES), ROUND):
                still = monotonic()
                callers.wait(STILL_SECONDS)
                begun = monotonic()
                switched += [cycle(at, gateway, version) for version in range(first, first + ROUND)]
                rounds.append((still, begun, monotonic()))
            callers.wait(1.0)
            sent = callers.stop()
        counted = gateway.scrape().since(start)
        after = settled(gateway.pid, at.state, clean, MORE)
    before = median(p99_ms(sent, still, begun) for still, begun, _ in rounds)
    during = median(p99_ms(sent, begun, ended) for _, begun, ended in rounds)
    return Outcome(
        [
            shown("cycles", len(switched)),
            shown("requests/s", rate),
            exactly("requests failed", len(failed(sent))),
            exactly("wrong answers", len(wrong(sent))),
            exactly("answers of another version after the switch was reported", len(stale(sent, switched))),
            shown("p99 before, ms, median of rounds", before),
            shown("p99 during, ms, median of rounds", during),
            soon("p99 during / before", during / before if before else 0.0, 1.5),
            liveness(callers.looks),
            readiness(callers.looks),
            *truth(sent, counted, MODEL),
            *left(clean.files, after.files, clean.threads, after.threads),
        ],
        [f"failed: {why(sent)}"],
    )


def cycle(at: Stand, gateway: Gateway, version: int) -> tuple[float, int]:
    """A version comes, gets all traffic, and the one before the last goes; when the switch was reported."""
    place(at.models, version) if version % 2 else copy_slowly(at, version)
    eventually(lambda: gateway.states().get(version) == "READY" or None, READY_SECONDS, LOOK_SECONDS)
    gateway.route(**{f"v{version}": 100}).raise_for_status()
    switched = monotonic()
    if (old := version - KEPT) > 0:
        shutil.rmtree(at.models / MODEL / str(old))
        eventually(
            lambda: old not in gateway.states() or gateway.states()[old] != "READY" or None, READY_SECONDS, LOOK_SECONDS
        )
    return switched, version


def copy_slowly(at: Stand, version: int) -> None:
    """Write the file in pieces where it will stay, as `cp` over a slow network does."""
    folder, content = at.models / MODEL / str(version), document(version)
    folder.mkdir()
    size = len(content) // PIECES + 1
    with (folder / "model.onnx").open("wb", buffering=0) as file:
        for start in range(0, len(content), size):
            file.write(content[start : start + size])
            sleep(PIECE_SECONDS)


def stale(sent: Sequence[Sent], switched: Sequence[tuple[float, int]]) -> list[Sent]:
    """Requests sent after a switch was reported, and answered by an older version."""
    found, number = [], 0
    for one in sorted(sent, key=lambda one: one.sent):
        while number < len(switched) and switched[number][0] < one.sent:
            number += 1
        if one.status == 200 and number and one.by < switched[number - 1][1]:
            found.append(one)
    return found


def left(files: int, more_files: int, threads: int, more_threads: int) -> list[Figure]:
    """What all the versions that went left behind."""
    return [
        at_most("open files more than before", more_files - files, MORE),
        at_most("threads more than before", more_threads - threads, MORE),
    ]
