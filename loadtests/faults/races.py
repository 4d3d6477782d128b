"""Commands that cross each other: abort in a promotion, promoted twice, a third version, stable deleted, a restart."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import httpx

from loadtests.faults.callers import Callers, Sent
from loadtests.faults.counting import MODEL
from loadtests.faults.judging import failed, liveness, readiness, wrong
from loadtests.faults.outcome import Figure, Outcome, exactly, shown
from loadtests.faults.stand import Gateway, Stand, eventually, stand

ROW = "C18"
ROUNDS, LONG_ROUNDS, RATE, GRACE_SECONDS, PHASE_SECONDS = 2, 20, 100.0, 1.0, 20.0
ENDED = frozenset({"window", "promoted", "aborted", "rolled_back", "superseded"})
GRANTED = frozenset({200, 201, 202})
REFUSED = frozenset({409, 412})

Race = Callable[[Gateway, ThreadPoolExecutor], list[httpx.Response]]


def run(long: bool) -> Outcome:
    """Each race twice, or 20 times."""
    rounds = LONG_ROUNDS if long else ROUNDS
    figures: list[Figure] = []
    with stand(1, 2, 3) as at:
        with at.gateway() as gateway, Callers(gateway.address, RATE) as callers, ThreadPoolExecutor(4) as pool:
            for name, race in RACES.items():
                figures += [one for _ in range(rounds) for one in raced(name, race, gateway, pool)]
            figures += stable_goes(at, gateway, callers)
            callers.stop()
        figures += restarted(at)
    broken = [one for one in figures if not one.held]
    return Outcome(
        [
            shown("races", len(RACES) * rounds),
            exactly("not as documented", len(broken)),
            exactly("requests failed", len(failed(callers.sent))),
            exactly("wrong answers", len(wrong(callers.sent))),
            liveness(callers.looks),
            readiness(callers.looks),
        ],
        [f"{one.name}: {one.text}" for one in broken],
    )


def raced(name: str, race: Race, gateway: Gateway, pool: ThreadPoolExecutor) -> list[Figure]:
    """One race: each command is granted or refused, and it ends with all traffic on one version."""
    begin(gateway)
    answers = race(gateway, pool)
    found = eventually(lambda: _ended(gateway), PHASE_SECONDS)
    weights = _weights(gateway)
    # One that came third and was aborted goes back to what was stable then.
    wanted = {2: 100.0} if found["phase"] in ("window", "promoted") else {found["from"]: 100.0}
    codes = [answer.status_code for answer in answers]
    end(gateway)
    return [
        exactly(f"{name}: answered otherwise than granted or refused ({codes})", len(set(codes) - GRANTED - REFUSED)),
        exactly(f"{name}: none was granted ({codes})", int(not GRANTED & set(codes))),
        exactly(f"{name}: {found['phase']} with the weights {weights}", int(weights != wanted)),
    ]


def begin(gateway: Gateway) -> None:
    """A canary at 10 %, which goes no further by itself."""
    options = {"weights": [10], "pause": "1h"}
    body = {"model": MODEL, "to": 2, "strategy": "canary", "canary": options, "checks": []}
    gateway.say("", body).raise_for_status()
    eventually(lambda: _weights(gateway).get(2) == 10.0 or None, PHASE_SECONDS)


def end(gateway: Gateway) -> None:
    """Back to version 1, whatever there was."""
    found = gateway.rollout() or {}
    for word in ("abort", "rollback"):
        if word in found.get("possible", ()):
            gateway.say(word, {})
    eventually(lambda: gateway.route(v1=100).status_code == 200 or None, PHASE_SECONDS)


def _promote_and_abort(gateway: Gateway, pool: ThreadPoolExecutor) -> list[httpx.Response]:
    return list(pool.map(lambda word: gateway.say(word, {}), ("promote", "abort")))


def _promote_twice(gateway: Gateway, pool: ThreadPoolExecutor) -> list[httpx.Response]:
    return list(pool.map(lambda word: gateway.say(word, {}), ("promote", "promote")))


def _third_version(gateway: Gateway, pool: ThreadPoolExecutor) -> list[httpx.Response]:
    other = {"model": MODEL, "to": 3, "strategy": "canary", "checks": []}
    answers = list(pool.map(lambda said: gateway.say(*said), (("", other), ("promote", {}))))
    found = gateway.rollout() or {}
    return answers if found.get("phase") in ENDED else [*answers, gateway.say("abort", {})]


def stable_goes(at: Stand, gateway: Gateway, callers: Callers) -> list[Figure]:
    """The files of the version that has the traffic are deleted: it is served on, until another one has the weight."""
    gateway.route(v1=100).raise_for_status()
    shutil.rmtree(at.models / MODEL / "1")
    callers.wait(2.0)
    gateway.route(v2=100).raise_for_status()
    switched = monotonic()
    callers.wait(GRACE_SECONDS + 1.0)
    late = [one for one in callers.sent if _late(one, switched)]
    return [exactly("files of stable deleted: requests to it after the change and 1 s", len(late))]


def restarted(at: Stand) -> list[Figure]:
    """A gateway that is restarted while a rollout is paused goes on where it was, still paused."""
    with at.gateway() as gateway:
        body = {"model": MODEL, "to": 3, "strategy": "canary", "canary": {"weights": [10], "pause": "1s"}, "checks": []}
        gateway.say("", body).raise_for_status()
        eventually(lambda: _weights(gateway).get(3) == 10.0 or None, PHASE_SECONDS)
        gateway.say("pause", {}).raise_for_status()
    with at.gateway() as gateway:
        found = gateway.rollout() or {}
        weights = _weights(gateway)
    return [
        exactly(f"restart in a pause: {found.get('phase')}", int(found.get("phase") != "paused")),
        exactly(f"restart in a pause: {weights}", int(weights != {2: 90.0, 3: 10.0})),
    ]


def _late(one: Sent, switched: float) -> bool:
    return one.sent > switched + GRACE_SECONDS and one.by == 1


def _ended(gateway: Gateway) -> dict[str, Any] | None:
    found = gateway.rollout()
    return found if found is not None and found["phase"] in ENDED else None


def _weights(gateway: Gateway) -> dict[int, float]:
    variants = gateway.ask(f"/api/v1/routes/{MODEL}")["variants"]
    return {one["version"]: float(one["weight"]) for one in variants if one["weight"]}


RACES: dict[str, Race] = {
    "abort in a promotion": _promote_and_abort,
    "promoted twice": _promote_twice,
    "a third version": _third_version,
}
