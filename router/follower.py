"""A worker's end of the long poll: takes new tables, confirms or refuses them, tells what it holds."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from router.errors import SerinError
from router.exchange import Line, Pause, Poke, silent
from router.loopback import Http
from router.reports import FollowAnswer, FollowReport, Refusal, States
from router.routes import RouteTable

PATH = "/internal/v1/follow"
WAIT_SECONDS = 20.0
GATHER_SECONDS, MANY = 0.02, 250
"""Many states change at once while models load; this gathers them. As many times that as there are so many versions:
each report tells of all of them, and with thousands the first would be told as often as the last."""

Words = Mapping[str, str]
Apply = Callable[[RouteTable], Awaitable[str | None]]
"""Makes a table the one that answers, cached on disk before it returns None; else returns why not."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which worker this is. `instance` is new for every start."""

    slot: int
    instance: str
    pid: int


class Follower:
    """`http`: a client with the controller's base URL (any transport); `states` is asked whenever they are to be told.
    `words` may be set: it gives troubles and notices by model (`FollowReport`), which go with every report.

    Start with `initial_table`, apply it (or a cached one), say so with `note_applied`, then `run` until cancelled.
    """

    def __init__(
        self,
        http: Http,
        token: str,
        identity: Identity,
        states: Callable[[], States],
        on_trouble: Callable[[str], None] = silent,
    ) -> None:
        self._line = Line(http, token)
        self._identity = identity
        self._states = states
        self._on_trouble = on_trouble
        self._controller = ""
        self._table: RouteTable | None = None
        self._refused: Refusal | None = None
        self._known = -1
        self._serial = 0
        self._untold = True
        self._told = 0
        self._poke = Poke()
        self.applied = 0
        self.words: Callable[[], tuple[Words, Words]] = no_words

    async def initial_table(self, timeout: float) -> RouteTable | None:
        """The controller's table, tried for so many seconds; None when it does not answer. Confirms nothing."""
        pause = Pause(silent)
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        return (await self._exchange(0.0, -1)).table
                    except SerinError as error:
                        await pause.after(error)
        except TimeoutError:
            return None

    def note_applied(self, table: RouteTable) -> None:
        """Notes a table that was applied outside `run`: the first one, or a cached one."""
        self._table, self._refused, self.applied = table, None, table.revision
        if self._controller:
            self._known = table.revision

    def states_changed(self) -> None:
        """Has the states told at once, even while a poll is pending; from any thread."""
        self._untold = True
        self._poke.poke()

    async def run(self, apply: Apply) -> None:
        """Follows until cancelled. Outlives the controller: the last table stays, attempts go on."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(apply))
            group.create_task(self._tell_changes())

    async def _follow(self, apply: Apply) -> None:
        pause = Pause(self._on_trouble)
        while True:
            try:
                answer = await self._exchange(WAIT_SECONDS, self._known)
            except SerinError as error:
                await pause.after(error)
                continue
            pause.over()
            if answer.table is not None:
                await self._take(answer.table, apply)

    async def _tell_changes(self) -> None:
        pause = Pause(silent)
        while True:
            await self._poke.wait(60.0)
            if not self._untold:
                continue
            try:
                await self._exchange(0.0, self._known)  # a table in this answer comes with the pending poll too
            except SerinError as error:
                self._poke.poke()
                await pause.after(error)
                continue
            pause.over()
            await asyncio.sleep(gather_seconds(self._told))

    async def _take(self, table: RouteTable, apply: Apply) -> None:
        if table == self._table:
            self._known = table.revision
            return
        try:
            reason = await apply(table)
        except SerinError as error:
            reason = error.message
        self._known = table.revision
        if reason is None:
            self.note_applied(table)
        else:
            self._refused = Refusal(table.revision, reason)

    async def _exchange(self, wait: float, known: int) -> FollowAnswer:
        told, self._untold = self._untold, False
        try:
            answer = await self._line.post(PATH, self._report(wait, known, told), FollowAnswer, wait)
        except BaseException:
            self._untold = self._untold or told
            raise
        if answer.resend:
            self._untold = True
            if wait == 0.0:
                self._poke.poke()
        if answer.controller != self._controller:
            # Another controller, perhaps with another history: ask for its table whatever its number.
            self._controller, self._known = answer.controller, -1
        return answer

    def _report(self, wait: float, known: int, told: bool) -> FollowReport:
        self._serial += 1
        me, (troubles, notices) = self._identity, self.words()
        states = self._states() if told else None
        if states is not None:
            self._told = sum(map(len, states.values()))
        return FollowReport(
            worker=me.slot,
            instance=me.instance,
            pid=me.pid,
            applied=self.applied,
            revision_known=known,
            refused=self._refused,
            states=states,
            wait=wait,
            serial=self._serial,
            troubles=dict(troubles),
            notices=dict(notices),
        )


def gather_seconds(versions: int) -> float:
    """How long changes are gathered until the next look at so many versions."""
    return GATHER_SECONDS * max(1.0, versions / MANY)


def no_words() -> tuple[Words, Words]:
    """For a worker that has nothing to say of its routes."""
    return {}, {}
