"""Looks at all counts every few seconds, says what drifts, and writes it into the history. The only shell of drift.

What is known outlives the controller in one small file: without it alarms would be told twice, and windows begin anew.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from router.controller import Controller
from router.decoding import decoder
from router.drift_subjects import pairs_of, splits_of, subjects_of
from router.drift_windows import Difference, Known, Policy, Watched, difference, inputs_drifted, reopened, update
from router.errors import SerinError
from router.history import Event, Who
from router.input_match import Match, compare
from router.routes import Route
from router.state import Change
from router.tally import BlockCopy, ByModel

log = logging.getLogger("controller")

LONGEST_INTERVAL_SECONDS: Final = 10.0
LOOKS_A_WINDOW: Final = 5
NAMED: Final = 3


class _Kept(msgspec.Struct, frozen=True):
    """What the file holds. `differs`: comparison -> the feature that differs; `matches`: as in `Look`, each as
    `Match.to_json` has it."""

    watched: dict[str, dict[str, Known]] = {}
    differs: dict[str, str] = {}
    matches: dict[str, dict[str, dict[str, Any]]] = {}


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of all models after one look. `matches`: model -> comparison -> what is known of it."""

    watched: Mapping[str, Watched] = field(default_factory=dict)
    matches: Mapping[str, Mapping[str, Match]] = field(default_factory=dict)

    @property
    def differs(self) -> dict[str, str]:
        """Comparison -> the feature that differs."""
        found = (match for each in self.matches.values() for match in each.values())
        return {match.identity: match.differs for match in found if match.differs}


_Seen = tuple[Sequence[BlockCopy], Route]
"""What a look at one model goes by: its blocks and its route."""


class DriftMonitor:
    """`run` until the controller closes. `read`: one reading of all counters; it may block, and runs in a thread."""

    def __init__(
        self, controller: Controller, read: Callable[[], Sequence[BlockCopy]], path: Path, policy: Policy
    ) -> None:
        self.policy = policy
        self.look = Look()
        self._controller = controller
        self._read = read
        self._path = path
        self._interval = min(LONGEST_INTERVAL_SECONDS, policy.seconds / LOOKS_A_WINDOW)
        self._differs: dict[str, str] = {}
        self._models = ByModel()
        self._settled: dict[str, _Seen] = {}
        self._of: tuple[Sequence[BlockCopy], Mapping[str, Route]] = ((), {})

    async def run(self) -> None:
        """Looks until the history closes. What cannot be read or written is tried again."""
        controller = self._controller
        await asyncio.to_thread(self.recall, controller.now())
        while not controller.closing:
            await controller.bell.until(lambda: controller.closing, self._interval)
            if not controller.closing:
                await self._try_tick()

    def recall(self, now: float) -> None:
        """Take up what an earlier life knew."""
        kept = _kept(self._path)
        watched = {model: reopened(watched, now) for model, watched in kept.watched.items()}
        self.look = Look(watched, {model: _matches(each) for model, each in kept.matches.items()})
        self._differs = dict(kept.differs)

    async def tick(self) -> None:
        """One look; what has changed becomes history. Raises SerinError, and then nothing is taken as told."""
        before = self.look
        found = await asyncio.to_thread(self._looked, self._controller.table.routes, self._controller.now())
        if found is before:
            return
        events = tuple(_events(before, found, self._differs))
        if events:
            await self._controller.write(lambda sight: Change(sight.state, events))
        self.look = found
        if told_of := {**self._differs, **found.differs}:
            live = {name for route in self._controller.table.routes.values() for name in pairs_of(route)}
            self._differs = {name: told for name, told in told_of.items() if name in live}
        if events or _closed(before, found) or before.matches != found.matches:
            await asyncio.to_thread(self._keep)

    async def _try_tick(self) -> None:
        try:
            await self.tick()
        except SerinError as error:
            log.warning("what drifts could not be recorded", extra={"reason": error.message})
        except Exception:  # hooks and rollouts go on without it
            log.exception("the counts could not be looked at for drift")

    def obstacle(self, model: str) -> str:
        """Why nothing that is measured of the model's versions can be believed; empty: nothing speaks against it."""
        return next((told(match) for match in self.look.matches.get(model, {}).values() if match.differs), "")

    def _looked(self, routes: Mapping[str, Route], now: float) -> Look:
        readings, before = self._read(), self.look
        of, self._of = self._of, (readings, routes)
        if of[0] is readings and of[1] is routes and len(self._settled) == len(routes):
            return before  # so would each of them say, and there may be thousands
        copies = self._models.of(readings)
        watched, matches, settled = dict[str, Watched](), dict[str, Mapping[str, Match]](), dict[str, _Seen]()
        for model, route in routes.items():
            seen = (copies.get(model, ()), route)
            if self._settled.get(model) == seen:  # it would say the same as the last time
                own, found = before.watched.get(model, {}), before.matches.get(model, {})
            else:
                own, found = self._looked_at(seen, now)
            if own:
                watched[model] = own
            matches[model] = found
            if not self._waits(own) and found == before.matches.get(model) and own == before.watched.get(model, {}):
                settled[model] = seen
        self._settled = settled
        return Look(watched, matches)

    def _looked_at(self, seen: _Seen, now: float) -> tuple[Watched, Mapping[str, Match]]:
        own, route = seen
        subjects = subjects_of(own, route)
        watched = update(self.look.watched.get(route.model, {}), subjects, now, self.policy) if subjects else {}
        # A new epoch has no requests yet: what was known of the pair goes on.
        known, names = self.look.matches.get(route.model, {}), pairs_of(route)
        found = {name: known[name] for name in names if name in known}
        for split in splits_of(own, route):
            name = split.identity
            found[name] = compare(known.get(name), split, self._differs.get(name, ""))
        return watched, found

    def _waits(self, watched: Watched) -> bool:
        """Whether time alone may close a window."""
        return any(known.requests >= self.policy.requests for known in watched.values())

    def _keep(self) -> None:
        matches = {
            model: {name: match.to_json() for name, match in each.items()}
            for model, each in self.look.matches.items()
            if each
        }
        kept = _Kept({model: dict(watched) for model, watched in self.look.watched.items()}, self._differs, matches)
        draft = self._path.with_name(f".{self._path.name}.new")
        try:
            draft.write_bytes(msgspec.json.encode(kept))
            draft.replace(self._path)
        except OSError as error:
            log.error("what is known of drift cannot be kept", extra={"reason": error.strerror})


def told(match: Match) -> str:
    """A comparison that failed, in a sentence."""
    _, stable, candidate = match.identity.rsplit(" ", 2)
    return (
        f"{candidate} and {stable} do not get the same inputs (feature {match.differs}): callers are dealt to them at "
        "random, so routing or preprocessing is broken"
    )


def _kept(path: Path) -> _Kept:
    """Nothing where there is no file, or another release's."""
    with suppress(OSError, msgspec.MsgspecError):
        return decoder(_Kept).decode(path.read_bytes())
    return _Kept()


def _matches(kept: Mapping[str, Mapping[str, Any]]) -> dict[str, Match]:
    """Without those that another release wrote: they are compared from nothing again."""
    found = {}
    for name, told in kept.items():
        with suppress(KeyError, TypeError, ValueError):
            found[name] = Match.from_json(told)
    return found


def _closed(before: Look, after: Look) -> bool:
    """Whether some window began: those are what must not be lost."""
    return any(
        before.watched.get(model, {}).get(key, known).opened != known.opened or key not in before.watched.get(model, {})
        for model, watched in after.watched.items()
        for key, known in watched.items()
    )


def _events(before: Look, after: Look, told_of: Mapping[str, str]) -> list[Event]:
    """`told_of`: comparisons of which it was told that they differ."""
    events = []
    for model in sorted({*before.watched, *after.watched}):
        old, new = before.watched.get(model, {}), after.watched.get(model, {})
        if old is new:
            continue
        events += _changes(model, difference(old, new), new)
    for model, matches in after.matches.items():
        for match in matches.values():
            if match.differs and match.identity not in told_of:
                detail = {"feature": match.differs, "requests": match.requests}
                events.append(Event("inputs.differ", model, Who("serin", told(match)), None, detail))
    return events


def _changes(model: str, found: Difference, now: Watched) -> list[Event]:
    told_of = (
        ("drift.alarm", found.drifted, "drifted from the reference in two windows in a row"),
        ("drift.cleared", found.settled, "no longer drifts"),
        ("data_quality.alarm", found.spoiled, "more bad values than are tolerated"),
        ("data_quality.cleared", found.cleaned, "a whole window without too many bad values"),
    )
    events = []
    for kind, names, words in told_of:
        if names:
            shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
            detail = {"subjects": list(names), "inputs_drifted": inputs_drifted(now)}
            events.append(Event(kind, model, Who("serin", f"{shown}: {words}"), None, detail))
    return events
