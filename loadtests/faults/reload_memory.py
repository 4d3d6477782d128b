"""Memory of each process over reloads at fixed shapes: other content in place, and versions under new numbers."""

import shutil
from collections.abc import Callable
from functools import partial

import numpy as np

from loadtests.faults.counting import MODEL, answered, place
from loadtests.faults.memory import reload
from loadtests.faults.outcome import Figure, Outcome, at_most, shown
from loadtests.faults.stand import Gateway, Stand, eventually, http, stand
from loadtests.observed import PROC, children, resident

ROW = "C20"
SETTLE, RELOADS, LONG_RELOADS = 40, 60, 300
AN_HOUR, HOURLY_MIB, MIB = 60, 1.0, 1 << 20
KEEP_SECONDS = 5.0
"""In the place of an hour: what comes and what goes must be in balance before anything is measured."""

REQUESTS, WAIT_SECONDS = 4, 60.0
PARTS = {"controller": "service.control", "inventory": "service.inventory", "worker": "service.app"}


def run(long: bool) -> Outcome:
    """60 reloads of each form behind 40 that settle, or 300: an hour's at one a minute is 60."""
    count = LONG_RELOADS if long else RELOADS
    figures = [shown("reloads of each form", count)]
    for form, one in (("in place", in_place), ("new numbers", new_number), ("new numbers, asked by number", asked_by)):
        with stand(1) as at, at.gateway({"keep-gone-seconds": KEEP_SECONDS}, workers=1) as gateway:
            figures += measured(form, gateway, partial(one, at, gateway), count)
    return Outcome(figures)


def measured(form: str, gateway: Gateway, one: Callable[[int], None], count: int) -> list[Figure]:
    """The slope of each process' memory, fitted to what it was after each reload."""
    processes = {"supervisor": gateway.pid, **{name: children(gateway.pid, part)[0] for name, part in PARTS.items()}}
    seen: dict[str, list[float]] = {name: [] for name in processes}
    for number in range(2, SETTLE + count + 2):
        one(number)
        if number > SETTLE + 1:
            for name, pid in processes.items():
                seen[name].append(resident([pid], PROC) / MIB)
    return [
        at_most(f"{form}: growth of the {name} over 60 reloads, MiB", slope(sizes) * AN_HOUR, HOURLY_MIB)
        for name, sizes in seen.items()
    ]


def slope(sizes: list[float]) -> float:
    """Of a line through them, for each one."""
    return float(np.polyfit(np.arange(len(sizes)), sizes, 1)[0])


def in_place(at: Stand, gateway: Gateway, number: int) -> None:
    """Other content under the same number."""
    reload(at, gateway, number)


def new_number(at: Stand, gateway: Gateway, number: int) -> None:
    """The next version gets all requests, and the one before is taken away."""
    ready(at, gateway, number)
    gateway.route(**{f"v{number}": 100}).raise_for_status()
    ask(gateway, number)
    take_away(at, gateway, number - 1)


def asked_by(at: Stand, gateway: Gateway, number: int) -> None:
    """The next version is asked by its number, and taken away again."""
    ready(at, gateway, number)
    ask(gateway, number, f"/versions/{number}")
    take_away(at, gateway, number)


def ready(at: Stand, gateway: Gateway, number: int) -> None:
    """Publish a version and wait until it can be asked."""
    place(at.models, number)
    eventually(lambda: gateway.states().get(number) == "READY" or None, WAIT_SECONDS, 0.05)


def ask(gateway: Gateway, number: int, version: str = "") -> None:
    """A few requests. Raises AssertionError for another version's answer."""
    body = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "INT64", "data": [7]}]}
    for _ in range(REQUESTS):
        answer = http().post(f"{gateway.server.http}/v2/models/{MODEL}{version}/infer", json=body)
        assert answered(answer.content)[0] == number


def take_away(at: Stand, gateway: Gateway, number: int) -> None:
    """Remove a version's files and wait until it has left the memory."""
    shutil.rmtree(at.models / MODEL / str(number))
    eventually(lambda: number not in gateway.states() or None, WAIT_SECONDS, 0.05)
