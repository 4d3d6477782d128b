"""Rollouts for tests: made from documents, moved by hand, with a clock that stands still."""

from dataclasses import replace
from typing import Any

from router.advance import Acked, Advance, Assessed, Compared, Input, Ready, advance
from router.assessor import Assessment, Contract, ContractKind
from router.clock import Now
from router.history import Who
from router.launch import Launch, launched, recorded
from router.phases import Phase
from router.readiness import Sight
from router.rollout import Rollout
from router.spec import parse_spec
from router.state import State
from router.verdict import Verdict, VerdictKind
from tests.unit.router.world import READY, inventory, sight, state, worker

BOB = Who("bob", "asked to")
START = Now("boot", 1000.0, 1_700_000_000.0)
IDENTICAL = Contract(ContractKind.IDENTICAL)
QUICK = {"model": "digits", "to": 2, "checks": [], "canary": {"weights": [1, 5, 25], "pause": "10s"}}


def later(seconds: float, boot_id: str = "boot") -> Now:
    return Now(boot_id, START.seconds + seconds, START.wall + seconds)


def document(**more: Any) -> dict[str, Any]:
    return {**QUICK, **more}


def a_sight(recorded_state: State | None = None) -> Sight:
    return sight(recorded_state or state(), inventory(READY, READY, READY), worker(0, v1=READY, v2=READY, v3=READY))


def begun(**more: Any) -> State:
    """The state in which a rollout of `document(**more)` is pending."""
    return launched(Launch(parse_spec(document(**more)), BOB), a_sight(), START).state


def moved(before: State, given: Input, now: Now = START) -> State:
    """The state after an input, as the pilot records it."""
    return recorded(before, advance(given, of(before), now)).state


def of(known: State) -> Rollout:
    return known.rollouts["digits"]


def walking(**more: Any) -> State:
    """The state in which the first step has begun and every worker follows."""
    known = begun(**more)
    known = moved(known, Ready({1: "d1", 2: "d2", 3: "d3"}))
    return followed(moved(known, Compared(IDENTICAL)))


def followed(known: State, now: Now = START) -> State:
    return moved(known, Acked(of(known).route_revision), now)


def assessed(rollout: Rollout, *kinds: VerdictKind, **requests: int) -> Assessed:
    verdicts = tuple(Verdict(kind, f"c{n}", f"said {kind}") for n, kind in enumerate(kinds))
    named = {name.removeprefix("v"): number for name, number in requests.items() if name != "mirrored"}
    return Assessed(rollout.id, rollout.step, Assessment(verdicts, named, requests.get("mirrored", 0)))


def in_phase(phase: Phase, **more: Any) -> Rollout:
    """A rollout that stands in a phase, at its first step, with everything confirmed."""
    rollout = of(walking(**more))
    step = -1 if phase in (Phase.PENDING, Phase.CHECKING) else 0
    winner = "2" if phase in (Phase.PROMOTING, Phase.WINDOW, Phase.PROMOTED) else ""
    return replace(rollout, phase=phase, step=step, winner=winner)


def events(change: Advance) -> list[str]:
    return [event.kind for event in change.events]
