"""SIGTERM under load with 50 keep-alive callers and 20 requests of 5 s in flight; a second signal; SIGINT."""

import signal
from collections.abc import Sequence
from time import monotonic

from loadtests.faults.callers import Callers, Look, Sent
from loadtests.faults.counting import request
from loadtests.faults.judging import failed, wrong
from loadtests.faults.outcome import Figure, Outcome, at_most, exactly, shown
from loadtests.faults.stand import Stand, eventually, stand

ROW = "C4"
SLOW, SLOW_SECONDS, SHORT_SECONDS = 20, 5.0, 3.0
KEPT, RATE = 50, 300.0
DELAY_SECONDS, LIMIT_SECONDS = 2.0, 30.0
HURRY_SECONDS = 8.0


def run(long: bool) -> Outcome:
    """The short form: SIGTERM, and a second one. The long one: 10 times each, and the same with SIGINT."""
    figures: list[Figure] = []
    seconds = SLOW_SECONDS if long else SHORT_SECONDS
    with stand(1, 2) as place:
        for number in (signal.SIGTERM, signal.SIGINT):
            for round_ in range(10 if long else 1):
                found = drained(place, number, seconds)
                figures += found if not round_ else [figure for figure in found if not figure.held]
            figures.append(hurried(place, number))
    return Outcome(figures)


def drained(place: Stand, number: signal.Signals, seconds: float) -> list[Figure]:
    """One signal under load."""
    flags: dict[str, object] = {"drain-delay-seconds": DELAY_SECONDS, "drain-limit-seconds": LIMIT_SECONDS}
    flags |= {"max-concurrency": SLOW, "faults": f"count:2 slow={seconds:g}"}
    with (
        place.gateway(flags) as gateway,
        Callers(gateway.address, RATE, connections=KEPT) as callers,
        Callers(gateway.address, SLOW * 5, slowly, connections=SLOW, most=SLOW, health=False) as late,
    ):
        callers.wait(1.5)
        signalled = monotonic()
        gateway.signal(number)
        code = gateway.exit_code(DELAY_SECONDS + LIMIT_SECONDS + 5.0)
        took = monotonic() - signalled
        sent, slow = callers.stop(), late.stop()
    name = number.name
    return [
        exactly(f"{name}: requests of {seconds:g} s completed, of {SLOW}", sum(one.right for one in slow), SLOW),
        *judged(name, sent, callers.looks, signalled),
        exactly(f"{name}: exit code", code),
        at_most(f"{name}: seconds to the end", took, DELAY_SECONDS + LIMIT_SECONDS),
    ]


def judged(name: str, sent: Sequence[Sent], looks: Sequence[Look], signalled: float) -> list[Figure]:
    """What callers and probes met. A refusal is fair once somebody could have seen that it is not ready."""
    unready = min((look.done for look in looks if look.what == "ready" and look.status == 503), default=float("inf"))
    closing = [one for one in failed(sent) if one.status == 503 and one.closes and one.sent >= signalled]
    refused = [one for one in failed(sent) if one.error == "ConnectionRefusedError"]
    rest = len(failed(sent)) - len(closing) - len(refused)
    early = sum(one.done < unready for one in (*closing, *refused))
    lives = [look for look in looks if look.what == "live" and look.status not in (0, 200)]
    return [
        shown(f"{name}: requests of {KEPT} keep-alive callers", len(sent)),
        exactly(f"{name}: lost or failed otherwise than by 503 with close or a refused connection", rest),
        exactly(f"{name}: turned away before readiness said no", early),
        exactly(f"{name}: wrong answers", len(wrong(sent))),
        at_most(f"{name}: seconds until ready said no", unready - signalled, 1.0),
        exactly(f"{name}: live said no while it answered", len(lives)),
    ]


def hurried(place: Stand, number: signal.Signals) -> Figure:
    """A second signal while a drain waits for slow requests."""
    flags: dict[str, object] = {"drain-delay-seconds": 30, "max-concurrency": 8, "faults": "count:2 slow=25"}
    with place.gateway(flags) as gateway, Callers(gateway.address, 20, slowly, most=4, health=False) as late:
        late.wait(1.0)
        gateway.signal(signal.SIGTERM)
        eventually(lambda: not gateway.is_ready(), 5.0)
        begun = monotonic()
        gateway.signal(number)
        gateway.exit_code(30.0)
        took = monotonic() - begun
    return at_most(f"SIGTERM, then {number.name}: seconds to the end", took, HURRY_SECONDS)


def slowly(number: int) -> bytes:
    """A request to the version that takes its time."""
    return request(number, version=2)
