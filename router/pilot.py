"""Walks every rollout: looks, measures, decides in `advance`, records, and waits until workers follow. The only shell.

Each move is recorded on its own, with the route that it wants and its line in the history, so that a stop between any
two of them is taken up by the next tick as if nothing had been.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from router.acknowledgement import Acknowledgement
from router.advance import Acked, Assessed, Command, Input, Refused, Watched, advance
from router.assessor import Assessor, Unmeasured
from router.clock import Now
from router.controller import Controller
from router.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound, SerinError, Unavailable
from router.launch import Launch, launched, recorded, retried
from router.lookout import lacking, noticed, require_unchanged
from router.phases import AT_A_STEP, UNCONFIRMED, Move, Phase
from router.questions import is_watched, question_after, question_of, unanswered
from router.readiness import Answer, Readiness, Sight
from router.rollout import Rollout, Seen
from router.state import Change
from router.thresholds import unmeasurable
from router.trouble import trouble

MOVES_A_TICK = 120
"""More than any list of steps is long: a tick ends even if something were to go round in circles."""

TURNS = 5
"""How often a command waits again because a version stopped being ready before its turn."""

_RETREATS = (Phase.ABORTING, Phase.ROLLING_BACK, Phase.PENDING)


class NotReady(FailedPrecondition):
    """A version that the next route needs is not ready in every live worker."""

    def __init__(self, found: Readiness) -> None:
        super().__init__(f"{found.reason}; nothing was changed")
        self.found = found


@dataclass(frozen=True, slots=True)
class Outcome:
    """A rollout after a command, which `applied` of `workers` live workers follow."""

    rollout: Rollout
    applied: int
    workers: int


class Pilot:
    """`run` must be running; all else may be called at any time, from the controller's event loop.

    `on_trouble`: model and text when a tick could not do what was due, once for each text; empty when it can again.
    """

    def __init__(
        self,
        controller: Controller,
        clock: Callable[[], Now],
        assessor: Assessor | None = None,
        tick_seconds: float = 1.0,
        on_trouble: Callable[[str, str], None] = lambda model, text: None,
    ) -> None:
        self.controller = controller
        self.clock = clock
        self._assessor = assessor or Unmeasured()
        self._tick_seconds = tick_seconds
        self._on_trouble = on_trouble
        self._ticking: dict[str, asyncio.Task[None]] = {}
        self._live: dict[str, tuple[str, int, Seen]] = {}
        self._obstacles: dict[str, str] = {}

    async def run(self) -> None:
        """Ticks every second, and at once when a candidate is in trouble. Ends with the controller."""
        try:
            while not self.controller.closing:
                for model, rollout in self.controller.state.rollouts.items():
                    self._begin_tick(model, rollout)
                await self.controller.bell.until(lambda: bool(self._troubled()), self._tick_seconds)
                for model in self._troubled():
                    # The model's own tick may wait for a slow source; trouble does not wait with it.
                    await self._guarded(self._settle, model)
        finally:
            tasks = tuple(self._ticking.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # What people ask

    async def start(self, launch: Launch) -> Outcome:
        """Begins a rollout, or answers with the last one if that is the same. Raises SerinError, nothing changed."""
        for index, check in enumerate(launch.spec.checks):
            why = self._assessor.refuses(check)
            if why is not None:
                raise InvalidArgument(f"checks[{index}]: {why}")
            for number in range(len(launch.spec.steps)):
                why = unmeasurable(check, launch.spec.steps, number)
                if why is not None:
                    raise InvalidArgument(f"steps[{number}].checks: {check.name}: {why}")
        await self.controller.look_for(launch.spec.model, [arm.version for arm in launch.spec.to])
        async with self.controller.commanding:  # a route that a worker may yet refuse is no stable one
            await self.controller.write(lambda sight: launched(launch, sight, self.clock()))
        return await self._followed(launch.spec.model)

    async def command(self, model: str, command: Command) -> Outcome:
        """A person's word, in effect in every live worker when it returns.

        Raises IllegalTransition, and NotReady, with nothing changed; DeadlineExceeded after the record: it stands, but
        a worker could not be shown to follow it.
        """
        if command.move is Move.RETRY:
            last = self.controller.state.rollouts.get(model)
            await self.controller.look_for(model, [arm.version for arm in last.spec.to] if last else ())
            async with self.controller.commanding:
                await self.controller.write(lambda sight: retried(model, command.who, sight, self.clock()))
        else:
            await self._commanded(model, command)
        outcome = await self._followed(model)
        if command.move in (Move.PROMOTE, Move.PROMOTE_STEP) and outcome.rollout.phase is Phase.ABORTED:
            raise FailedPrecondition(f"{outcome.rollout.why.reason}; the rollout is aborted")
        return outcome

    def latest(self, model: str) -> Rollout:
        """The model's last rollout, with the newest numbers. Raises NotFound."""
        rollout = self.controller.state.rollouts.get(model)
        if rollout is None:
            raise NotFound(f"{model[:128]} has had no rollout yet")
        return self.informed(rollout)

    def informed(self, rollout: Rollout) -> Rollout:
        """The rollout with numbers that are newer than its record."""
        identity, step, seen = self._live.get(rollout.model, ("", 0, rollout.seen))
        return replace(rollout, seen=seen) if (identity, step) == (rollout.id, rollout.step) else rollout

    def obstacle(self, model: str) -> str:
        """Why the last tick could not do what was due; empty: it could."""
        return self._obstacles.get(model, "")

    # The clock

    async def tick(self, model: str) -> None:
        """Every move of one model that is due now."""
        held: NotReady | None = None
        try:
            await self._settle(model)
        except NotReady as error:
            held = error  # that nothing can go on is no reason not to look whether it must end
        rollout = self.controller.state.rollouts.get(model)
        if rollout is not None and rollout.phase in AT_A_STEP and rollout.is_confirmed:
            await self._assess(rollout)
            await self._settle(model)
        elif rollout is not None and is_watched(rollout):
            await self._watch(rollout)
            await self._settle(model)
        if held is not None:
            raise held

    async def _settle(self, model: str) -> None:
        for _ in range(MOVES_A_TICK):
            await self._confirm_if_due(model)
            if not await self._advance(model):
                return

    def _begin_tick(self, model: str, rollout: Rollout) -> None:
        task = self._ticking.get(model)
        if task is not None and not task.done():
            return
        if task is not None and not task.cancelled() and (error := task.exception()) is not None:
            self._tell(model, f"a tick ended with {type(error).__name__}: {error}")
        if rollout.is_active:
            self._ticking[model] = asyncio.create_task(self._guarded(self.tick, model))
        else:
            self._ticking.pop(model, None)

    async def _guarded(self, work: Callable[[str], Awaitable[None]], model: str) -> None:
        """What could not be done is tried again by the next tick."""
        try:
            await work(model)
        except SerinError as error:
            self._tell(model, error.message)
        else:
            self._tell(model, "")

    def _tell(self, model: str, text: str) -> None:
        if text != self._obstacles.get(model, ""):
            self._on_trouble(model, text)
        self._obstacles[model] = text

    def _troubled(self) -> list[str]:
        rollouts, stuck = self.controller.state.rollouts, self._obstacles
        active = [rollout for model, rollout in rollouts.items() if rollout.is_active and not stuck.get(model)]
        sight = self.controller.sight() if active else None  # asked at every ring of the bell
        return [rollout.model for rollout in active if sight is not None and trouble(sight, rollout)]

    async def _assess(self, rollout: Rollout) -> None:
        question = question_of(rollout, self.controller.table.routes[rollout.model], self.clock())
        try:
            said = await self._assessor.assess(question)
        except SerinError as error:
            said = unanswered(question, self.informed(rollout).seen, error.message)
        seen = Seen(said.verdicts, dict(said.requests), said.mirrored)
        self._live[rollout.model] = (rollout.id, rollout.step, seen)
        await self._advance(rollout.model, Assessed(rollout.id, rollout.step, said))

    async def _watch(self, rollout: Rollout) -> None:
        question = question_after(rollout, self.controller.table.routes[rollout.model], self.clock())
        await self._advance(rollout.model, Watched(rollout.id, await self._assessor.watch(question)))

    # One move

    async def _advance(self, model: str, given: Input | None = None) -> bool:
        """Records what follows from an input, or from what is seen; whether there was anything to record."""
        changed = False

        def make(sight: Sight) -> Change:
            nonlocal changed
            change = self._decided(sight, model, given)
            changed = change.state is not sight.state
            return change

        await self.controller.write(make)
        return changed

    def _decided(self, sight: Sight, model: str, given: Input | None) -> Change:
        rollout = sight.state.rollouts.get(model)
        if rollout is None:
            raise NotFound(f"{model[:128]} has had no rollout yet")
        if isinstance(given, Command):
            require_unchanged(sight, rollout, given)
            rollout = self.informed(rollout)
        moved = advance(given or noticed(sight, rollout, self._assessor.contract), rollout, self.clock())
        found = lacking(sight, moved.rollout, moved.route)
        if found is not None:
            raise NotReady(found)
        return recorded(sight.state, moved)

    async def _commanded(self, model: str, command: Command) -> None:
        for _ in range(TURNS):
            try:
                await self._advance(model, command)
                return
            except NotReady as error:
                if error.found.answer is Answer.REFUSED:
                    raise
            limit = self.controller.settings.limits.load_seconds
            if not await self.controller.bell.until(lambda: self._is_free(model, command), limit):
                raise DeadlineExceeded(f"a version is not ready after {limit:g} s; nothing was changed")
        raise Unavailable(f"workers come and go too fast to move the rollout of {model}; nothing was changed")

    def _is_free(self, model: str, command: Command) -> bool:
        try:
            self._decided(self.controller.sight(), model, command)
        except NotReady as error:
            return error.found.answer is Answer.REFUSED
        return True

    # Following

    async def _followed(self, model: str) -> Outcome:
        done = None
        for _ in range(TURNS):
            last = await self._confirm_if_due(model)
            if last is None:
                break
            done = last
        rollout, live = self.latest(model), self.controller.sight().live
        if done is None:
            done = Acknowledgement(sum(worker.applied >= rollout.route_revision for worker in live), len(live))
        return Outcome(rollout, done.applied, done.workers)

    async def _confirm_if_due(self, model: str) -> Acknowledgement | None:
        rollout = self.controller.state.rollouts.get(model)
        if rollout is None or (rollout.is_confirmed and rollout.phase not in UNCONFIRMED):
            return None
        await self.controller.await_supervisor()
        done = await self.controller.confirmed(rollout.route_revision)
        if done.refused is None:
            await self._advance(model, Acked(rollout.route_revision))
        elif rollout.phase in _RETREATS:
            await self._stop_refusing(rollout.route_revision, done.refused)
        else:
            await self._advance(model, Refused(rollout.route_revision, done.refused))
        return done

    async def _stop_refusing(self, revision: int, refused: str) -> None:
        """A worker that refuses the way back may still send requests to the candidate: it is killed."""
        fleet, bell, limits = self.controller.fleet, self.controller.bell, self.controller.settings.limits
        fleet.condemn(fleet.lagging(revision, self.controller.now()))
        bell.ring()
        if not await bell.until(lambda: not fleet.lagging(revision, self.controller.now()), limits.kill_seconds):
            raise DeadlineExceeded(f"{refused}, and it could not be stopped")
