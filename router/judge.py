"""Measures the checks of a rollout, each by itself and within its time, and says what they mean.

Serin's own counts are looked at at once. Others are asked in the background: a slow source holds up no other check, and
until it answers the check keeps its last verdict. Between two measurements of a check (`interval`) nothing is asked,
unless its own counts said nothing yet.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from router.assessor import NOISE_FLOOR, Assessment, Contract, Question, noise_floor_of
from router.checks import COUNTS, Check, CheckKind, Compare
from router.contract import compare_versions
from router.court import Court
from router.figures import Counts, Measurement, figure, no_data
from router.hooks import Hook, Message, Reply, Sender
from router.readings import Readings
from router.reports import InventoryVersion
from router.routes import Route, Variant, variant_named
from router.sources import Sources, Subject
from router.stepcounts import DIRECT, FALLBACK, MIRRORED, SPLIT, Reading, read_counts, since
from router.stepmemory import MEMORY, StepMemory, mirrors_to, recalled, remembered
from router.tally import BlockCopy
from router.thresholds import SHADOW_METRICS, Failures, Pair, judge, refusal, tolerated
from router.verdict import Verdict, VerdictKind

PATIENCE_SECONDS: Final = 0.5
"""So long an answer is waited for before the last verdict is given again."""

GATE: Final = "gate"
"""The kind of message that asks a hook."""

_NOT_YET: Final = (409, 425)
_NO: Final = 403


@dataclass(slots=True)
class _Watched:
    """A check in the present step: its last verdict, when it is due again, and who is being asked."""

    verdict: Verdict | None = None
    due: float = 0.0
    asking: asyncio.Task[tuple[Pair, ...] | Reply] | None = None


@dataclass(slots=True)
class _Step:
    """What lives in memory only: after a restart every check is measured at once."""

    key: tuple[str, int]
    checks: dict[str, _Watched] = field(default_factory=dict)

    def cancel(self) -> None:
        for watched in self.checks.values():
            if watched.asking is not None:
                watched.asking.cancel()


class Judge:
    """The assessor of a gateway. `read`: one reading of all counters; it may block, and runs in a thread."""

    def __init__(
        self,
        read: Callable[[], Sequence[BlockCopy]],
        sources: Sources,
        hooks: Mapping[str, Hook],
        sender: Sender,
    ) -> None:
        self._readings = Readings(read)
        self._sources = sources
        self._hooks = dict(hooks)
        self._sender = sender
        self._steps: dict[str, _Step] = {}
        self._court = Court()

    async def assess(self, question: Question) -> Assessment:
        """See `Assessor`."""
        copies = await self._readings.now(question.model)
        reading = read_counts(copies, question.route)
        memory = recalled(question, reading)
        counts = since(reading, memory.base)
        step = self._step(question)
        await self._measure(question, counts, step)
        verdicts, memory = self._judged(question, step, memory)
        requests = {name: _counts(counts, question.route, name).ended for name in _arms(question)}
        along = [name for name in (*question.candidates, NOISE_FLOOR) if mirrors_to(question.route, name)]
        mirrored = [counts.counts(MIRRORED, name).pairs for name in along]
        heard = self._court.hear(question, copies)
        kept = {**question.memory, MEMORY: memory.to_json(), **_noise(question, counts), **(heard.memory or {})}
        return Assessment((*verdicts, *heard.verdicts), requests, min(mirrored, default=0), kept, heard.log)

    async def watch(self, question: Question) -> Assessment:
        """See `Assessor`."""
        return self._court.watch(question, await self._readings.now(question.model))

    def refuses(self, check: Check) -> str | None:
        """See `Assessor`."""
        if check.kind is CheckKind.HOOK:
            known = ", ".join(sorted(self._hooks)) or "none"
            missing = f"source: the settings have no [hooks.{check.source}]; there are: {known}"
            return None if check.source in self._hooks else missing
        if check.kind is not CheckKind.THRESHOLD:
            return f"kind: {check.kind} checks are not offered here; use threshold"
        if check.source != COUNTS:
            why = self._sources.refuses(check.source, check.query, check.compare is not Compare.VALUE)
            if why is not None:
                return why
        return refusal(check)

    def contract(self, stable: InventoryVersion, candidate: InventoryVersion) -> Contract:
        """See `Assessor`."""
        return compare_versions(stable, candidate)

    async def close(self) -> None:
        """Asks nobody any more."""
        for step in self._steps.values():
            step.cancel()
        self._steps.clear()
        await self._sources.close()

    # Measuring

    def _step(self, question: Question) -> _Step:
        """One step a model is watched: what an earlier one still asks is of no use."""
        key, step = (question.rollout, question.step), self._steps.get(question.model)
        if step is None or step.key != key:
            if step is not None:
                step.cancel()
            step = self._steps[question.model] = _Step(key)
        return step

    async def _measure(self, question: Question, counts: Reading, step: _Step) -> None:
        now = asyncio.get_running_loop().time()
        for check in question.checks:
            watched = step.checks.setdefault(check.name, _Watched())
            if watched.asking is None and now >= watched.due:
                watched.due = now + check.interval_seconds
                watched.asking = asyncio.create_task(self._asked(check, question, counts))
        asking = [watched.asking for watched in step.checks.values() if watched.asking is not None]
        if asking:
            await asyncio.wait(asking, timeout=PATIENCE_SECONDS)

    async def _asked(self, check: Check, question: Question, counts: Reading) -> tuple[Pair, ...] | Reply:
        if check.kind is CheckKind.HOOK:
            return await self._gate(check, question)
        if check.source == COUNTS:
            return tuple(_own(check, question, counts, name) for name in question.candidates)
        asked = (self._pair(check, question, counts, name) for name in question.candidates)
        return tuple(await asyncio.gather(*asked))

    async def _pair(self, check: Check, question: Question, counts: Reading, name: str) -> Pair:
        """Both arms are asked at the same time, so that they answer for the same window."""
        arms = (name, question.stable) if check.compare is not Compare.VALUE else (name,)
        asked = (self._sources.ask(check.source, check.query, _subject(question, arm)) for arm in arms)
        seen = await asyncio.gather(*asked)
        found = [_resting(one, counts, question.route, arm) for one, arm in zip(seen, arms, strict=True)]
        return Pair(name, found[0], found[1] if len(found) > 1 else None)

    async def _gate(self, check: Check, question: Question) -> Reply:
        hook = self._hooks.get(check.source)
        if hook is None:
            return Reply(None, f"the settings have no [hooks.{check.source}]")
        told = {
            "kind": GATE,
            "check": check.name,
            "rollout": question.rollout,
            "model": question.model,
            "step": question.step + 1,
            "seconds": round(question.seconds, 1),
            "stable": question.stable,
            "candidates": list(question.candidates),
        }
        delivery = f"{question.rollout}/{question.step + 1}/{check.name}"
        return await self._sender.send(hook, Message(GATE, delivery, msgspec.json.encode(told)))

    # Judging

    def _judged(self, question: Question, step: _Step, memory: StepMemory) -> tuple[tuple[Verdict, ...], StepMemory]:
        failures, kept, verdicts = dict(memory.failures), dict(memory.kept), []
        for check in question.checks:
            watched = step.checks[check.name]
            before = failures.get(check.name, Failures())
            if watched.asking is not None and watched.asking.done():
                watched.verdict, failures[check.name] = _verdict(check, watched.asking, before)
                watched.asking = None
                if check.source == COUNTS and watched.verdict.kind is VerdictKind.NO_DATA:
                    watched.due = 0.0  # looking again costs nothing, and nobody waits for a number that is there
            verdict = watched.verdict or Verdict(VerdictKind.NO_DATA, check.name, "no answer yet")
            if check.source == COUNTS and check.metric in SHADOW_METRICS:
                verdict = remembered(check, verdict, question, kept)
            verdicts.append(verdict)
        return tuple(verdicts), replace(memory, failures=failures, kept=kept)


def gate_verdict(check: Check, reply: Reply, before: Failures) -> tuple[Verdict, Failures]:
    """2xx passes, 403 fails, 409 and 425 say "not yet"; everything else is an error, which holds the step."""
    said = f" ({reply.reason})" if reply.reason else ""
    if reply.is_taken:
        return tolerated(check, Verdict(VerdictKind.PASS, check.name, f"{check.source} says yes{said}"), before)
    if reply.status == _NO:
        return tolerated(check, Verdict(VerdictKind.FAIL, check.name, f"{check.source} says no{said}"), before)
    if reply.status in _NOT_YET:
        return Verdict(VerdictKind.NO_DATA, check.name, f"{check.source} says not yet{said}"), before
    told = (
        f"{check.source}: {reply.reason}" if reply.status is None else f"{check.source} answered {reply.status}{said}"
    )
    return Verdict(VerdictKind.ERROR, check.name, told), before


def _verdict(check: Check, asked: asyncio.Task[tuple[Pair, ...] | Reply], before: Failures) -> tuple[Verdict, Failures]:
    error = None if asked.cancelled() else asked.exception()
    if asked.cancelled() or error is not None:
        told = f"measuring failed ({type(error).__name__})" if error is not None else "measuring was ended"
        return Verdict(VerdictKind.ERROR, check.name, told), before
    found = asked.result()
    return gate_verdict(check, found, before) if isinstance(found, Reply) else judge(check, found, before)


def _arms(question: Question) -> tuple[str, ...]:
    return (question.stable, *question.candidates)


def _own(check: Check, question: Question, counts: Reading, name: str) -> Pair:
    compares, route = check.compare is not Compare.VALUE, question.route
    if check.metric in SHADOW_METRICS:
        return Pair(name, figure(check, counts.counts(MIRRORED, name)), _floor(question) if compares else None)
    control = figure(check, _measured(counts, route, question.stable)) if compares else None
    return Pair(name, figure(check, _measured(counts, route, name)), control)


def _noise(question: Question, counts: Reading) -> dict[str, Any]:
    """What is to be remembered of stable beside itself, while it is run so."""
    if not mirrors_to(question.route, NOISE_FLOOR):
        return {}
    same, flipped = counts.counts(MIRRORED, NOISE_FLOOR).cells("pairs", 2)
    return {NOISE_FLOOR: {"requests": same + flipped, "flipped": flipped}}


def _floor(question: Question) -> Measurement:
    floor = noise_floor_of(question.memory)
    if floor is None or floor.flip_rate is None:
        return no_data("the noise floor was not measured", None)
    return Measurement(floor.flip_rate, floor.requests)


def _measured(counts: Reading, route: Route, name: str) -> Counts:
    """A variant without weight is judged by its mirrored requests where there are any to be."""
    variant = variant_named(route, name)
    if variant is not None and variant.weight_ppm == 0 and mirrors_to(route, name):
        return counts.counts(MIRRORED, name)
    found = _counts(counts, route, name)
    return Counts({**found.plain, **counts.counts(FALLBACK, name).plain}, found.families)


def _counts(counts: Reading, route: Route, name: str) -> Counts:
    """Requests of the split; of a variant without weight those that a rule or a version sent to it."""
    variant = variant_named(route, name)
    weighted = variant is not None and variant.weight_ppm > 0
    return counts.counts(SPLIT if weighted else DIRECT, name)


def _subject(question: Question, name: str) -> Subject:
    variant = variant_named(question.route, name) or Variant(name, 0, 0)
    return Subject(question.model, variant.version, name, question.seconds)


def _resting(seen: Measurement, counts: Reading, route: Route, name: str) -> Measurement:
    """A number from elsewhere rests on the requests that Serin counted in the step: `min_requests` holds for it too."""
    own = _measured(counts, route, name)
    return Measurement(seen.value, max(own.ended, own.pairs), seen.kind, seen.reason)
