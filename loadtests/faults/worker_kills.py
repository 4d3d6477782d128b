"""kill -9 of a worker every 2 s under load: what is lost, how soon it is replaced, what stays behind."""

import os
import signal
from collections.abc import Sequence
from time import monotonic, sleep

import numpy as np

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
AROUND_SECONDS = 0.15
SEED = 3


def run(long: bool) -> Outcome:
    """20 kills, or 300 in 10 minutes."""
    kills = LONG_KILLS if long else KILLS
    with stand(1, 2) as place, place.gateway(workers=WORKERS) as gateway:
        gateway.route(v1=100 - CANARY, v2=CANARY).raise_for_status()
        rate = measured_rate(gateway.address)
        start = gateway.scrape()
        before, children = leftovers(gateway.pid, place.state), living(gateway.pid)
        with Callers(gateway.address, rate, keyed, fresh=0.05) as callers:
            killed, respawned, fell = harm(gateway, kills)
            callers.wait(2.0)
            sent = callers.stop()
        sleep(1.0)
        after = leftovers(gateway.pid, place.state)
        counted = gateway.scrape().since(start)
        family = living(gateway.pid)
    gone = eventually(lambda: not (children | family) & living() or None, 10.0)
    looks = [look for look in callers.looks if not _around(look.at, look.done, killed)]
    return Outcome(
        [
            shown("kills", len(killed)),
            shown("requests/s", rate),
            *losses(sent, killed),
            exactly("wrong answers", len(wrong(sent))),
            at_most("off the split, points of percent", off_split(sent), 1.0),
            *respawns(respawned),
            exactly("counters that went down", fell),
            *counts(sent, counted),
            liveness(looks),
            exactly("processes left after the end", 0 if gone else 1),
            *grown(before, after),
        ],
        [f"lost: {why(sent)}"],
    )


def keyed(number: int) -> bytes:
    """Every request has a key of its own."""
    return request(number, key=f"caller-{number}")


def harm(gateway: Gateway, kills: int) -> tuple[list[float], list[float], int]:
    """When each worker was killed, the seconds until another listened in its place, how often a counter fell."""
    draw = np.random.default_rng(SEED)
    killed, respawned, fell = [], [], 0
    last = Scrape.of(gateway.server.http)
    for _ in range(kills):
        victim = int(draw.choice(workers(gateway.pid)))
        begun = monotonic()
        os.kill(victim, signal.SIGKILL)
        killed.append(begun)
        eventually(lambda gone=victim: all_listen(gateway, gone) or None, 30.0)  # type: ignore[misc]
        respawned.append(monotonic() - begun)
        now = Scrape.of(gateway.server.http)
        fell += sum(
            value < last.samples.get(series, 0.0) for series, value in now.samples.items() if _counts(series[0])
        )
        fell += sum(series not in now.samples for series in last.samples if _counts(series[0]))
        last = now
        sleep(max(0.0, begun + EVERY_SECONDS - monotonic()))
    return killed, respawned, fell


def all_listen(gateway: Gateway, gone: int = 0) -> bool:
    """All workers listen with the newest table, and none of them is the one that is gone."""
    told = gateway.ask("/api/v1/status")
    there = [one for one in told["workers"] if one["listening"] and one["applied"] == told["revision"]]
    return len(there) == WORKERS and gone not in workers(gateway.pid)


def losses(sent: Sequence[Sent], killed: Sequence[float]) -> list[Figure]:
    """Each lost request must have been under way at a kill."""
    lost = failed(sent)
    inside = [sum(one.sent - AROUND_SECONDS <= at <= one.done + AROUND_SECONDS for one in lost) for at in killed]
    stray = [one for one in lost if not _around(one.sent, one.done, killed)]
    under_way = [sum(one.sent - AROUND_SECONDS <= at <= one.done + AROUND_SECONDS for one in sent) for at in killed]
    return [
        shown("requests sent", len(sent)),
        shown("lost", len(lost)),
        shown("lost at most by one kill", max(inside, default=0)),
        shown("under way at most at one kill", max(under_way, default=0)),
        exactly("lost that were not under way at a kill", len(stray)),
        exactly("answered otherwise than 200", sum(one.status != 0 for one in lost)),
    ]


def respawns(seconds: Sequence[float]) -> list[Figure]:
    """How long a worker was missing."""
    return [
        shown("seconds until replaced, median", float(np.median(seconds))),
        soon("seconds until replaced, longest", max(seconds), RESPAWN_SECONDS),
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


def _around(begun: float, done: float, killed: Sequence[float]) -> bool:
    return any(begun - AROUND_SECONDS <= at <= done + AROUND_SECONDS for at in killed)
