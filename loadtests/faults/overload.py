"""Two and five times the requests that can be answered, with connections kept and new, with and without deadlines."""

from statistics import median

from loadtests.faults.counting import MODEL, request
from loadtests.faults.outcome import Figure, Outcome, at_most, exactly, plenty, shown, soon
from loadtests.faults.stand import Gateway, stand
from loadtests.faults.witness import Witness
from loadtests.flood import Phase, Plan, flood
from loadtests.load import Own, Round

ROW = "C6"
RUN_SECONDS, WORKERS, PLACES = 0.02, 2, 2
CLOSED_CALLERS, CLOSED_SECONDS = 32, 3.0
BASE, OVERLOADS = 0.5, (2.0, 5.0)
SECONDS, LONG_SECONDS, REST_SECONDS = 6.0, 60.0, 8.0
DEADLINE_SECONDS, NO_DEADLINE_SECONDS = 1.0, 30.0
SHED_MS, RECOVERY_SECONDS = 50.0, 5
QUEUE = 256
MEMORY_MIB = 100.0


def run(long: bool) -> Outcome:
    """A minute, or eight. A run takes 20 ms, two at a time in each of two workers."""
    figures: list[Figure] = []
    flags: dict[str, object] = {"faults": f"{MODEL}:* slow={RUN_SECONDS:g}", "max-queue": QUEUE}
    flags |= {"max-concurrency": PLACES}
    for fresh, deadline in ((False, False), (True, True)):
        with stand(1) as at, at.gateway(flags, workers=WORKERS) as gateway:
            figures += flooded(gateway, fresh, deadline, LONG_SECONDS if long else SECONDS)
    return Outcome(figures)


def flooded(gateway: Gateway, fresh: bool, deadline: bool, seconds: float) -> list[Figure]:
    """Half the capacity, then the overloads, then half again."""
    how = f"{'new' if fresh else 'kept'} connections{', 1 s each' if deadline else ''}"
    asked = request(7)
    if deadline:
        asked = asked.replace(b"\r\n", b"\r\nSerin-Timeout: %g\r\n" % DEADLINE_SECONDS, 1)
    capacity = Own()(gateway.address, Round([request(7)], CLOSED_CALLERS, CLOSED_SECONDS)).per_second
    phases = [(BASE * capacity, REST_SECONDS), *((times * capacity, seconds) for times in OVERLOADS)]
    phases.append((BASE * capacity, REST_SECONDS))
    with Witness(gateway, inside=True) as seen:
        base, *overloads, after = flood(Plan(*gateway.address, tuple(phases), fresh=fresh, requests=(asked,)))
    figures = [shown(f"{how}: capacity a second", round(capacity, 1))]
    for times, phase in zip(OVERLOADS, overloads, strict=True):
        figures += judged(f"{how}, {times:g} times", phase, capacity, deadline)
    return [
        *figures,
        at_most(f"{how}: most that waited", seen.queued, WORKERS * QUEUE),
        at_most(f"{how}: memory more than before, MiB", seen.memory_mib - seen.memory_before_mib, MEMORY_MIB),
        soon(f"{how}: seconds until p99 is as before", recovery(base, after), RECOVERY_SECONDS),
        exactly(f"{how}: looks at live without an answer", seen.missed),
    ]


def judged(name: str, phase: Phase, capacity: float, deadline: bool) -> list[Figure]:
    """One overload."""
    refused = phase.refused
    rest = sum(share.count for status, share in phase.by_status.items() if status not in (200, 429, 503))
    limit = DEADLINE_SECONDS if deadline else NO_DEADLINE_SECONDS
    return [
        plenty(f"{name}: goodput, of the capacity", phase.done / capacity, 0.9),
        soon(f"{name}: p99 of the admitted, s", phase.ok.p99_ms / 1000, limit),
        shown(f"{name}: refused", sum(share.count for share in refused)),
        soon(f"{name}: p99 of refusals, ms", max((share.p99_ms for share in refused), default=0.0), SHED_MS),
        exactly(f"{name}: refusals without Retry-After", sum(share.bare for share in refused)),
        soon(f"{name}: lost, late or failed otherwise, of all", rest / phase.sent, 0.01),
    ]


def recovery(base: Phase, after: Phase) -> float:
    """The seconds after which each second's p99 is at most twice that of an ordinary second before."""
    usual = 2 * median(base.p99_by_second)
    slow = [number for number, p99 in enumerate(after.p99_by_second) if p99 > usual]
    return slow[-1] + 1 if slow else 0
