"""The supervisor's and the inventory's ends of their talk with the controller."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from router.errors import SerinError
from router.exchange import Line, Pause, Poke, silent
from router.loopback import Http
from router.reports import (
    Death,
    InventoryAnswer,
    InventoryCommand,
    InventoryReport,
    InventoryStill,
    SuperviseAnswer,
    SuperviseReport,
    WorkerProcess,
)

WAIT_SECONDS = 20.0
REPEAT_SECONDS = 10.0
AFTER_KILL_SECONDS = 0.1


class SupervisorLink:
    """Tells the list of workers and their deaths; hears whom to kill."""

    def __init__(self, http: Http, token: str, on_trouble: Callable[[str], None] = silent) -> None:
        self._line = Line(http, token)
        self._on_trouble = on_trouble
        self._poke = Poke()
        self._deaths: list[Death] = []
        self._sequence = 0

    async def exchange(self, report: SuperviseReport) -> SuperviseAnswer:
        """One report. Raises SerinError; Unavailable when the controller does not answer."""
        return await self._line.post("/internal/v1/supervise", report, SuperviseAnswer, report.wait)

    def changed(self) -> None:
        """Has the list told at once; from any thread."""
        self._poke.poke()

    def died(self, death: Death) -> None:
        """Notes a death, told until the controller has recorded it. Take the worker off the list as well."""
        self._deaths.append(death)
        self._poke.poke()

    async def run(self, workers: Callable[[], tuple[WorkerProcess, ...]], kill: Callable[[str], None]) -> None:
        """Tells until cancelled. `kill` gets instances that did not confirm a table in time, maybe more than once."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._poll(workers, kill))
            group.create_task(self._tell_changes(workers, kill))

    async def _poll(self, workers: Callable[[], tuple[WorkerProcess, ...]], kill: Callable[[str], None]) -> None:
        pause = Pause(self._on_trouble)
        while True:
            try:
                answer = await self._tell(workers(), WAIT_SECONDS)
            except SerinError as error:
                await pause.after(error)
                continue
            pause.over()
            _kill_all(answer, kill)
            if answer.kill:
                await asyncio.sleep(AFTER_KILL_SECONDS)

    async def _tell_changes(
        self, workers: Callable[[], tuple[WorkerProcess, ...]], kill: Callable[[str], None]
    ) -> None:
        pause = Pause(silent)
        while True:
            if not await self._poke.wait(60.0):
                continue
            try:
                _kill_all(await self._tell(workers(), 0.0), kill)
                pause.over()
            except SerinError as error:
                self._poke.poke()
                await pause.after(error)

    async def _tell(self, workers: tuple[WorkerProcess, ...], wait: float) -> SuperviseAnswer:
        self._sequence += 1
        told = tuple(self._deaths)
        answer = await self.exchange(SuperviseReport(workers, told, self._sequence, wait))
        self._deaths = [death for death in self._deaths if death not in told]
        return answer


class InventoryLink:
    """Tells what is on disk; hears when to look again."""

    def __init__(self, http: Http, token: str, on_trouble: Callable[[str], None] = silent) -> None:
        self._line = Line(http, token)
        self._on_trouble = on_trouble
        self._poke = Poke()
        self._after = 0
        self._told: InventoryReport | None = None
        self._serial = 0

    async def report(self, report: InventoryReport) -> None:
        """One full snapshot. Raises SerinError; Unavailable when the controller does not answer."""
        await self._line.post("/internal/v1/inventory", report, InventoryAnswer)

    async def tell(self, report: InventoryReport) -> None:
        """The snapshot, or, of the one that was told last, that it still holds. Raises like `report`."""
        if report is self._told:
            still = InventoryStill(report.instance, self._serial)
            if not (await self._line.post("/internal/v1/inventory/still", still, InventoryAnswer)).resend:
                return
        self._serial += 1
        await self.report(replace(report, serial=self._serial))
        self._told = report

    async def command(self, wait: float = WAIT_SECONDS) -> InventoryCommand:
        """The next wish for a rescan, or none after `wait`. Raises like `report`."""
        parameters = {"after": self._after, "wait": wait}
        answer = await self._line.get("/internal/v1/inventory/commands", parameters, InventoryCommand, wait)
        self._after = answer.sequence
        return answer

    def changed(self) -> None:
        """Has the snapshot told at once; from any thread."""
        self._poke.poke()

    async def run(self, snapshot: Callable[[], InventoryReport], rescan: Callable[[int], None]) -> None:
        """Tells and listens until cancelled. `rescan` gets the number that a later snapshot's `sequence` answers:
        put it there once a scan that began after this call is done."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell(snapshot))
            group.create_task(self._listen(rescan))

    async def _tell(self, snapshot: Callable[[], InventoryReport]) -> None:
        pause = Pause(self._on_trouble)
        while True:
            try:
                await self.tell(snapshot())
                pause.over()
                await self._poke.wait(REPEAT_SECONDS)
            except SerinError as error:
                await pause.after(error)

    async def _listen(self, rescan: Callable[[int], None]) -> None:
        pause = Pause(silent)
        while True:
            try:
                command = await self.command()
            except SerinError as error:
                self._poke.poke()  # the next controller must hear the snapshot anew
                await pause.after(error)
                continue
            pause.over()
            if command.rescan:
                rescan(command.sequence)


def _kill_all(answer: SuperviseAnswer, kill: Callable[[str], None]) -> None:
    for instance in answer.kill:
        kill(instance)
