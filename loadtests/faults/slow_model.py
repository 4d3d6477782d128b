"""A slow model at its limit beside a quick one; every thread busy for seconds: the quick one and live are answered."""

from statistics import median

from loadtests import subjects
from loadtests.faults.counting import request
from loadtests.faults.outcome import Figure, Outcome, at_least, exactly, shown, soon
from loadtests.faults.stand import Gateway, Stand, stand
from loadtests.faults.witness import Witness
from loadtests.flood import Phase, Plan, flood
from loadtests.load import Own, Round, background
from loadtests.requests import Target, build

ROW = "C8"
SLOW, QUICK_RATE, CALLERS = "image", 100.0, 8
SECONDS, LONG_SECONDS, ROUNDS, LONG_ROUNDS = 4.0, 20.0, 3, 5
BUSY_SECONDS = 10.0
RATIO, LIVE_MS = 1.5, 100.0


def run(long: bool) -> Outcome:
    """Alternating rounds alone and beside; the ratio is of the medians. Then runs that only wait, for 10 s each."""
    with stand(1) as at:
        subjects.prepare(SLOW, at.models)
        with at.gateway() as gateway:
            figures = beside(gateway, LONG_SECONDS if long else SECONDS, LONG_ROUNDS if long else ROUNDS)
    with stand(1) as at:
        return Outcome([*figures, *blocked(at)])


def beside(gateway: Gateway, seconds: float, rounds: int) -> list[Figure]:
    """A model that computes: on a machine with few cores it takes its part of them from everybody."""
    images = build(Target(SLOW), subjects.input_of(SLOW), encoding="binary")
    alone, crowded = list[float](), list[float]()
    with Witness(gateway) as seen:
        for _ in range(rounds):
            alone.append(quick(gateway, seconds).ok.p99_ms)
            with background(gateway.address, Round(images, CALLERS, seconds + 3.0)):
                crowded.append(quick(gateway, seconds).ok.p99_ms)
    return [
        shown("quick model alone: p99, ms", median(alone)),
        shown("beside a slow one at its limit: p99, ms", median(crowded)),
        soon("ratio", median(crowded) / median(alone), RATIO),
        soon("the longest look at live, ms", max(seen.live_ms), LIVE_MS),
        exactly("looks at live without an answer", seen.missed),
    ]


def blocked(at: Stand) -> list[Figure]:
    """Every thread of both workers is busy for 10 s."""
    subjects.prepare("digits", at.models)
    flags: dict[str, object] = {"faults": f"digits:* slow={BUSY_SECONDS:g}"}
    held = build(Target("digits"), subjects.input_of("digits"))
    with at.gateway(flags) as gateway:
        Own()(gateway.address, Round([request(1)], 4, 0.5))
        with background(gateway.address, Round(held, 64, 1.0)), Witness(gateway) as seen:
            phase = quick(gateway, BUSY_SECONDS / 2)
    return [
        at_least("every thread busy: quick requests answered, of all", phase.ok.count / phase.sent, 1.0),
        soon("every thread busy: the longest look at live, ms", max(seen.live_ms), LIVE_MS),
        exactly("every thread busy: looks at live without an answer", seen.missed),
    ]


def quick(gateway: Gateway, seconds: float) -> Phase:
    """Requests to the quick model at a low rate."""
    [phase] = flood(Plan(*gateway.address, ((QUICK_RATE, seconds),), requests=(request(1),)))
    return phase
