"""kill -9 of a worker every 2 s under load: what is lost, how soon it is replaced, what stays behind."""

import os
import select
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, sleep

import numpy as np

from loadtests.faults.apart import Apart
from loadtests.faults.callers import Callers, Sent
from loadtests.faults.counting import MODEL, request
from loadtests.faults.judging import failed, liveness, measured_rate, why, wrong
from loadtests.faults.leftovers import Leftovers, leftovers, living
from loadtests.faults.outcome import Figure, Outcome, at_least, at_most, exactly, shown, soon
from loadtests.faults.stand import Gateway, eventually, stand
from loadtests.observed import workers
from loadtests.tour.scrape import Scrape

ROW = "C9"
KILLS, LONG_KILLS = 20, 300
EVERY_SECONDS, RESPAWN_SECONDS = 2.0, 2.0
WORKERS, CANARY = 2, 10.0
END_SECONDS = 30.0
SEED, SHOWN = 3, 5
SCRAPES = 4 * WORKERS
"""On as many connections, so that each worker has opened what it opens at its first scrape (as good as surely)."""


@dataclass(frozen=True, slots=True)
class Kill:
    """kill -9 of one worker, moments of `monotonic`. `at`: just before; `gone`: when the kernel had closed all that the
    worker held, for which it may need a while. `replaced_seconds`: from `at` until another listened in its
    place."""

    at: float
    gone: float
    replaced_seconds: float

    def meets(self, begun: float, done: float) -> bool:
        """Whether what lasted from `begun` to `done` was under way while the worker died."""
        return begun <= self.gone and done >= self.at


def run(long: bool) -> Outcome:
    """20 kills, or 300 in 10 minutes."""
    kills = LONG_KILLS if long else KILLS
    with stand(1, 2) as place, place.gateway(workers=WORKERS) as gateway:
        gateway.route(v1=100 - CANARY, v2=CANARY).raise_for_status()
        rate = measured_rate(gateway.address)
        for _ in range(SCRAPES):
            start = gateway.scrape()
        before, first = leftovers(gateway.pid, place.state), living(gateway.pid)
        with Apart(Callers(gateway.address, rate, keyed, fresh=0.05)) as callers:
            killed, fell = harm(gateway, kills)
            callers.wait(2.0)
            sent = callers.stop()
        sleep(1.0)
        after = leftovers(gateway.pid, place.state)
        counted = gateway.scrape().since(start)
        family = living(gateway.pid)
    gone = eventually(lambda: not (first | family) & living() or None, 10.0)
    looks = [look for look in callers.looks if not any(kill.meets(look.at, look.done) for kill in killed)]
    return Outcome(
        [
            shown("kills", len(killed)),
            shown("requests/s", rate),
            *losses(sent, killed),
            exactly("wrong answers", len(wrong(sent))),
            at_most("off the split, points of percent", off_split(sent), 1.0),
            *respawns(killed),
            exactly("workers that died besides", counted.total("serin_worker_restarts_total") - len(killed)),
            exactly("counters that went down", fell),
            *counts(sent, counted),
            liveness(looks),
            exactly("processes left after the end", 0 if gone else 1),
            *grown(before, after),
        ],
        [f"lost: {why(sent)}", *(f"lost at no kill: {one}" for one in strays(sent, killed)[:SHOWN])],
    )


def keyed(number: int) -> bytes:
    """Every request has a key of its own."""
    return request(number, key=f"caller-{number}")


def harm(gateway: Gateway, kills: int) -> tuple[list[Kill], int]:
    """The kills, and how often a counter fell."""
    draw = np.random.default_rng(SEED)
    killed, fell = [], 0
    last = Scrape.of(gateway.server.http)
    for _ in range(kills):
        victim = int(draw.choice(workers(gateway.pid)))
        begun, gone = kill(victim)
        eventually(lambda gone=victim: all_listen(gateway, gone) or None, END_SECONDS)  # type: ignore[misc]
        killed.append(Kill(begun, gone, monotonic() - begun))
        now = Scrape.of(gateway.server.http)
        fell += sum(
            value < last.samples.get(series, 0.0) for series, value in now.samples.items() if _counts(series[0])
        )
        fell += sum(series not in now.samples for series in last.samples if _counts(series[0]))
        last = now
        sleep(max(0.0, begun + EVERY_SECONDS - monotonic()))
    return killed, fell


def kill(pid: int) -> tuple[float, float]:
    """The moments before the signal and after the end: a process has ended for who waits for it once its files are
    closed, and what is sent to a connection of it before that is not refused yet. Raises TimeoutError, OSError."""
    process = os.pidfd_open(pid)
    try:
        begun = monotonic()
        signal.pidfd_send_signal(process, signal.SIGKILL)
        end = select.poll()
        end.register(process, select.POLLIN)
        if not end.poll(END_SECONDS * 1000):
            raise TimeoutError(f"process {pid} did not end")
        return begun, monotonic()
    finally:
        os.close(process)


def all_listen(gateway: Gateway, gone: int) -> bool:
    """All workers listen with the newest table, and none of them is the one that is gone: what is asked may not know of
    its death yet."""
    told = gateway.ask("/api/v1/status")
    there = {one["pid"] for one in told["workers"] if one["listening"] and one["applied"] == told["revision"]}
    return len(there) == WORKERS and gone not in there


def losses(sent: Sequence[Sent], killed: Sequence[Kill]) -> list[Figure]:
    """Each lost request must have been under way while a worker died, and have been told so."""
    lost = failed(sent)
    inside = [sum(kill.meets(one.begun, one.done) for one in lost) for kill in killed]
    under_way = [sum(kill.meets(one.begun, one.done) for one in sent) for kill in killed]
    return [
        shown("requests sent", len(sent)),
        shown("lost", len(lost)),
        shown("lost at most by one kill", max(inside, default=0)),
        shown("under way at most at one kill", max(under_way, default=0)),
        exactly("lost that were not under way at a kill", len(strays(sent, killed))),
        exactly("lost that waited in vain", sum(one.error == TimeoutError.__name__ for one in lost)),
        exactly("answered otherwise than 200", sum(one.status != 0 for one in lost)),
    ]


def strays(sent: Sequence[Sent], killed: Sequence[Kill]) -> list[Sent]:
    """What was lost and not under way while a worker died."""
    return [one for one in failed(sent) if not any(kill.meets(one.begun, one.done) for kill in killed)]


def respawns(killed: Sequence[Kill]) -> list[Figure]:
    """How long a worker was missing."""
    every = [kill.replaced_seconds for kill in killed]
    return [
        shown("seconds until a process was gone, longest", max(kill.gone - kill.at for kill in killed)),
        shown("seconds until replaced, median", float(np.median(every))),
        soon("seconds until replaced, longest", max(every), RESPAWN_SECONDS),
    ]


def off_split(sent: Sequence[Sent]) -> float:
    """The canary's share of what was answered against its weight."""
    answered = [one for one in sent if one.status == 200]
    return abs(100 * sum(one.by == 2 for one in answered) / max(1, len(answered)) - CANARY)


def counts(sent: Sequence[Sent], counted: Scrape) -> list[Figure]:
    """What was answered is counted; what is counted besides are lost answers that had been given."""
    mine = sum(one.status == 200 for one in sent)
    more = counted.total("serin_requests_total", model=MODEL, outcome="ok") - mine
    return [
        at_least("counted by /metrics beyond the answers received", more, 0),
        at_most("the same, against the lost requests", more, len(failed(sent))),
    ]


def grown(before: Leftovers, after: Leftovers) -> list[Figure]:
    """What is more than at the start."""
    return [
        at_most("open files more than before", after.files - before.files, 5),
        at_most("threads more than before", after.threads - before.threads, 5),
        exactly("zombies", after.zombies),
        at_most("files in the state directory more than before", after.kept - before.kept, 5),
    ]


def _counts(name: str) -> bool:
    return name.endswith(("_total", "_count", "_bucket"))
