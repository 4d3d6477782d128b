"""Tokens for answers, and what comes back with them: believed when it is signed here, counted once.

Any worker of a host takes the feedback for any other: they share the key, and the map of the ids that were counted.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count, islice, repeat
from pathlib import Path
from typing import Final

from router.counters import Segment
from router.errors import (
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    SerinError,
    Unavailable,
)
from router.names import shown
from router.rewards import (
    REFUSALS,
    REFUSED,
    RewardSeries,
    refused_spec,
    returning_series,
    serving_series,
)
from router.strata import STRATA, stratum_minutes
from router.tokens import KEY_BYTES, NO_LABEL, Given, Ticket, label_mark, read_token, run_signer, signer
from service.seen import SeenIds
from service.watch import OTHER, Watch

log = logging.getLogger("serin.feedback")

KEY_FILE: Final = "feedback.key"
DIRECTORY: Final = "feedback"
CHUNK: Final = 32
"""Items that are taken in one go of the event loop, well below 200 µs."""
LOCK_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 0.002
MAX_SERIES: Final = 256
SHOWN_LABELS: Final = 12


@dataclass(frozen=True, slots=True)
class Stamp:
    """Signs answers, and counts them as signed. `one`: the token of one, from the cells that it was counted in; `run`:
    those of a whole run, each with a cell of every family."""

    one: Callable[[Sequence[int]], bytes]
    run: Callable[[Sequence[Sequence[int]]], list[bytes]]


@dataclass(frozen=True, slots=True)
class Options:
    """How late feedback may be, in seconds; and the bytes of a map of ids, of which there are two."""

    horizon_seconds: float
    map_bytes: int


@dataclass(frozen=True, slots=True)
class Item:
    """What somebody says of one answer: that it was good or not, or what would have been right."""

    assignment: str
    good: bool | None = None
    label: str | None = None


@dataclass(slots=True)
class Taken:
    """What became of some items: how many were counted, how many had been before, and by place why the rest was not."""

    counted: int = 0
    repeated: int = 0
    errors: list[tuple[int, SerinError]] = field(default_factory=list)


class _Refused(Exception):
    """An item that is not counted: the word it is counted under, and what its sender is told."""

    def __init__(self, reason: str, error: SerinError) -> None:
        super().__init__(error.message)
        self.reason = reason
        self.error = error


class Feedback:
    """One worker's part in it, on its event loop. `now`: seconds since 1970; `labels`: the classes of a version that is
    loaded, () when that is not known."""

    def __init__(
        self,
        segment: Segment,
        state: Path,
        options: Options,
        now: Callable[[], float],
        labels: Callable[[str, int], Sequence[str]],
    ) -> None:
        """Raises FailedPrecondition for a key that cannot be used."""
        self._segment = segment
        self._key = shared_key(state)
        self._now = now
        self._labels = labels
        self._horizon_minutes = -int(-options.horizon_seconds // 60)
        self._minutes = stratum_minutes(options.horizon_seconds)
        self._seen = SeenIds(state / DIRECTORY, options.map_bytes)
        self._series: dict[Given, RewardSeries] = {}
        self._refused = segment.block(refused_spec()).family(REFUSED)
        self._ids = count(int.from_bytes(os.urandom(8), "big") >> 1)

    def close(self) -> None:
        """Let go of the maps."""
        self._seen.close()

    def stamp(self, given: Given, watch: Watch | None) -> Stamp | None:
        """What signs the answers that have `given` in common; None when there is no room to count them."""
        try:
            issued = serving_series(self._segment, given, self._minutes).issued
        except ResourceExhausted as error:
            log.error("answers carry no tokens", extra={"model": given.model, "error": error.message})
            return None
        self._series.clear()  # a block may count another epoch now
        sign, sign_run, marks = signer(self._key, given), run_signer(self._key, given), label_marks(watch)
        now, ids, next_id, minutes = self._now, self._ids, self._ids.__next__, self._minutes
        class_at = class_place(watch)
        minute = since = until = place = 0

        def count(answers: int) -> None:
            nonlocal minute, since, until, place
            moment = now()
            if not since <= moment < until:
                minute = int(moment) // 60
                since, until, place = minute * 60, minute * 60 + 60, minute // minutes % STRATA
            issued[place] += answers

        def one(cells: Sequence[int]) -> bytes:
            count(1)
            label = NO_LABEL
            for cell in cells:
                if label := marks[cell]:
                    break
            return sign(minute, next_id(), label)

        def run(rows: Sequence[Sequence[int]]) -> list[bytes]:
            count(len(rows))
            labels = repeat(NO_LABEL, len(rows)) if class_at is None else [marks[cells[class_at]] for cells in rows]
            return sign_run(minute, zip(islice(ids, len(rows)), labels, strict=True))

        return Stamp(one, run)

    async def take(self, model: str, items: Sequence[Item]) -> Taken:
        """Count what may be counted. Raises Unavailable when other workers do not let go of the map; what was counted
        by then is not counted again. An item is acknowledged after its count has reached the memory that survives."""
        taken = Taken()
        for first in range(0, len(items), CHUNK):
            if first:
                await asyncio.sleep(0)
            # Whoever sends what was not signed here holds up nobody: the lock is for what may count.
            believed = self._believed(model, items[first : first + CHUNK], first, taken)
            if believed:
                await self._locked()
                try:
                    for place, ticket, good in believed:
                        self._take(place, ticket, good, taken)
                finally:
                    self._seen.unlock()
        return taken

    def _believed(self, model: str, items: Sequence[Item], first: int, taken: Taken) -> list[tuple[int, Ticket, bool]]:
        """Places of items that may count, with what their tokens say and whether the answer was good."""
        found = []
        for place, item in enumerate(items, first):
            try:
                ticket = self._ticket(model, item.assignment)
                found.append((place, ticket, self._is_good(ticket, item)))
            except _Refused as refused:
                self._note(refused.reason)
                taken.errors.append((place, refused.error))
        return found

    async def _locked(self) -> None:
        try:
            async with asyncio.timeout(LOCK_SECONDS):
                while not self._seen.locked():  # noqa: ASYNC110 - another process holds it
                    await asyncio.sleep(RETRY_SECONDS)
        except TimeoutError as error:
            busy = "the feedback map is held by another worker; send the same again"
            raise Unavailable(busy, retry_after_seconds=1) from error

    def _take(self, place: int, ticket: Ticket, good: bool, taken: Taken) -> None:
        try:
            is_new = self._count(ticket, good)
        except SerinError as error:  # no room in the map, or on the disk
            self._note("other")
            taken.errors.append((place, error))
        else:
            taken.counted += is_new
            taken.repeated += not is_new

    def _count(self, ticket: Ticket, good: bool) -> bool:
        """Whether it is new. The count comes before the mark: a worker that dies between the two has not acknowledged
        the item, and may have it counted once more, but never loses it."""
        ids = self._seen.of(ticket.minute // max(1, self._horizon_minutes))
        if ticket.id in ids:
            self._note("repeated")
            return False
        if ids.is_full:
            raise ResourceExhausted("the feedback map is full until its period ends; raise feedback_map_bytes")
        self._of(ticket.given).reward(ticket.minute, good)
        ids.add(ticket.id)
        return True

    def _ticket(self, model: str, token: str) -> Ticket:
        try:
            ticket = read_token(self._key, token)
        except InvalidArgument as error:
            raise _Refused("unsigned", error) from error
        if ticket.given.model != model:
            other = f"assignment: is of model {ticket.given.model}, not of {shown(model)}"
            raise _Refused("invalid", InvalidArgument(other))
        age = int(self._now()) // 60 - ticket.minute
        if age > self._horizon_minutes:
            late = f"assignment: its request is {age} minutes old; feedback is taken for {self._horizon_minutes}"
            raise _Refused("expired", FailedPrecondition(late))
        return ticket

    def _is_good(self, ticket: Ticket, item: Item) -> bool:
        if item.label is None:
            return bool(item.good)
        given = ticket.given
        known = self._labels(given.model, given.version)
        if known and item.label not in known:
            some = ", ".join(known[:SHOWN_LABELS]) + (", ..." if len(known) > SHOWN_LABELS else "")
            wrong = f"label: {shown(item.label)} is no class of {given.model}:{given.version}; there are {some}"
            raise _Refused("unknown_label", InvalidArgument(wrong))
        if ticket.label == NO_LABEL:
            none = "label: that answer had no class to compare with; send `reward` instead"
            raise _Refused("invalid", InvalidArgument(none))
        return label_mark(item.label) == ticket.label

    def _of(self, given: Given) -> RewardSeries:
        series = self._series.get(given)
        if series is None:
            if len(self._series) >= MAX_SERIES:
                self._series.clear()
            series = self._series[given] = returning_series(self._segment, given, self._minutes)
        return series

    def _note(self, reason: str) -> None:
        self._refused[REFUSALS.index(reason)] += 1


def unsigned(_given: Given, _watch: Watch | None) -> Stamp | None:
    """For a gateway that takes no feedback."""


def label_marks(watch: Watch | None) -> tuple[int, ...]:
    """The mark of the class that each cell of a version stands for; NO_LABEL for cells that stand for none. Of several
    outputs with classes the first one counts."""
    marks: list[int] = []
    found = False
    for family in watch.families if watch is not None else ():
        is_class = family.kind == "class" and not found
        found = found or is_class
        named = family.labels[:-1] if is_class else ()
        marks += [label_mark(label) for label in named]
        marks += [NO_LABEL] * (family.cell_count - len(named))
    return tuple(marks)


def class_place(watch: Watch | None) -> int | None:
    """The place among the families of the one whose cells have marks; None where there is none."""
    families = watch.families if watch is not None else ()
    return next((place for place, family in enumerate(families) if family.kind == "class"), None)


def class_labels(watch: Watch | None) -> tuple[str, ...]:
    """The classes that a label may name."""
    families = watch.families if watch is not None else ()
    labels = next((family.labels for family in families if family.kind == "class"), ())
    return tuple(label for label in labels[:-1] if label != OTHER)


def shared_key(state: Path) -> bytes:
    """The key that signs tokens, of all workers on this state directory; made by the first of them. Raises
    FailedPrecondition for a file that holds none."""
    path = state / KEY_FILE
    if not path.exists():
        draft = state / f".{KEY_FILE}.{os.getpid()}.{os.urandom(4).hex()}"
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(os.urandom(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # never over one that another worker has made meanwhile
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    content = path.read_bytes()
    if len(content) < KEY_BYTES:
        raise FailedPrecondition(f"{KEY_FILE} in the state directory has fewer than {KEY_BYTES} bytes; remove it")
    return blake2b(content, digest_size=KEY_BYTES).digest()
