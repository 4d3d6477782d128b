"""kill -9 of everything in mid-rollout: after a restart it stands where the last answer said, and nowhere else."""

import json
import os
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any

import httpx
import numpy as np

from loadtests.faults.callers import Callers, Sent
from loadtests.faults.counting import MODEL
from loadtests.faults.judging import wrong
from loadtests.faults.leftovers import living
from loadtests.faults.outcome import Outcome, exactly, shown
from loadtests.faults.stand import COMMAND_SECONDS, Gateway, Stand, eventually, stand
from loadtests.observed import family

ROW = "C10"
KILLS, LONG_KILLS = 10, 100
CANARY = [1, 10, 50]
RATE, SEED, HARM_SECONDS = 100.0, 9, 0.4
WRITES = ("commit.before=kill:3", "commit.after=kill:3")
"""In every fifth round the controller dies in the midst of a write first."""

NEXT: Mapping[float, tuple[float, ...]] = {
    0.0: (1.0, 100.0),
    1.0: (10.0,),
    10.0: (50.0,),
    50.0: (100.0,),
    100.0: (0.0,),
}
"""The candidate's weights that one word leads to."""


@dataclass(slots=True)
class Told:
    """Where the gateway stood at the last look: a route's revision, and the candidate's weight."""

    revision: int = 0
    weight: float = 0.0
    asked: int = 0
    acknowledged: int = 0
    faults: list[str] = field(default_factory=list)


def run(long: bool) -> Outcome:
    """10 kills at random points, or 100; half of them in canaries, half in blue-green switches."""
    kills, draw = LONG_KILLS if long else KILLS, np.random.default_rng(SEED)
    told, sent, restarts = Told(), list[Sent](), list[float]()
    with stand(1, 2) as at:
        for number in range(kills):
            begun = monotonic()
            flags = {"faults": WRITES[number % 2]} if number % 5 == 4 else {}
            with at.gateway(flags) as gateway:
                restarts.append(monotonic() - begun)
                check(gateway, at, told)
                sent += harmed(gateway, told, ("canary", "blue-green")[number % 2], float(draw.random()))
        with at.gateway() as gateway:
            check(gateway, at, told)
    return Outcome(
        [
            shown("kills", kills),
            shown("steps asked for", told.asked),
            shown("steps acknowledged", told.acknowledged),
            exactly("steps lost, invented or broken after a restart", len(told.faults)),
            exactly("wrong answers", len(wrong(sent))),
            shown("seconds from start to ready, longest", max(restarts)),
        ],
        told.faults[:5],
    )


def harmed(gateway: Gateway, told: Told, strategy: str, moment: float) -> list[Sent]:
    """Walk rollouts until everything is killed, at a random moment."""
    ended = threading.Event()
    walker = threading.Thread(target=walk, args=(gateway, told, strategy, ended))
    with Callers(gateway.address, RATE, health=False) as callers:
        walker.start()
        sleep(0.5 + moment * HARM_SECONDS * 5)
        processes = family(gateway.pid)
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ended.set()
        walker.join(COMMAND_SECONDS)
        callers.end()
    eventually(lambda: not (set(processes) - {gateway.pid}) & living() or None, 10.0)
    return callers.sent


def walk(gateway: Gateway, told: Told, strategy: str, ended: threading.Event) -> None:
    """Start a rollout, go on step by step, and again when it is through; note where it stands before each word."""
    while not ended.is_set():
        try:
            found = gateway.rollout()
            word, body = next_word(found, strategy)
            note(gateway, told)
            told.asked += 1
            answer = gateway.say(word, body)
            if answer.status_code < 300:
                told.acknowledged += 1
                note(gateway, told)
        except httpx.HTTPError:
            sleep(0.05)  # the controller, or everything, has been killed
        sleep(0.02)


def next_word(found: dict[str, Any] | None, strategy: str) -> tuple[str, dict[str, Any]]:
    """What to say to a rollout: the word and its body; "" begins a new one."""
    for word in ("promote", "rollback"):
        if found is not None and word in found["possible"]:
            return word, {"step": True} if word == "promote" else {}
    options: dict[str, Any] = {"weights": CANARY, "pause": "1h"} if strategy == "canary" else {"approval": True}
    return "", {"model": MODEL, "to": 2, "strategy": strategy, strategy: options, "checks": []}


def note(gateway: Gateway, told: Told) -> None:
    """Where it stands now. Raises httpx.HTTPError."""
    document = gateway.ask(f"/api/v1/routes/{MODEL}")
    told.revision, told.weight = document["revision"], weights_of(document).get(2, 0.0)


def check(gateway: Gateway, at: Stand, told: Told) -> None:
    """The state after a start: that of the last look, or one step further, which was asked for; and whole."""
    # The controller may be killed in its first writes.
    document = eventually(lambda: gateway.ask(f"/api/v1/routes/{MODEL}"), COMMAND_SECONDS)
    revision, weights = document["revision"], weights_of(document)
    weight = weights.get(2, 0.0)
    if revision < told.revision or (revision == told.revision and weight != told.weight and told.revision):
        told.faults.append(f"lost: revision {told.revision} with {told.weight} % is {revision} with {weight} %")
    elif weight not in (told.weight, *NEXT.get(told.weight, ())):
        told.faults.append(f"invented: after {told.weight} % it is {weight} %")
    if abs(sum(weights.values()) - 100) > 1e-9:
        told.faults.append(f"weights {weights} are not 100 %")
    for file in at.state.glob("table-*.json"):
        try:
            json.loads(file.read_bytes())
        except ValueError:
            told.faults.append(f"{file.name} is half-written")


def weights_of(document: dict[str, Any]) -> dict[int, float]:
    """By version, without those that have none."""
    return {int(one["version"]): float(one["weight"]) for one in document["variants"] if one["weight"]}
