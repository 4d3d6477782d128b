"""Rollouts through the admin API, in process: controller, pilot, store on disk, fake workers, a clock set by hand."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from router.addressed import LOOPBACK_HOSTS
from router.api import ApiOptions, create_app
from router.assessor import Assessment, Contract, ContractKind, Question
from router.checks import Check
from router.client import InventoryLink, SupervisorLink
from router.clock import Now
from router.controller import Controller, ControllerSettings
from router.errors import Unavailable
from router.pilot import Pilot
from router.reports import Blame, Death, InventoryVersion, SuperviseReport, WorkerProcess, WorkerVersion
from router.rollout_api import Desk, rollout_router
from router.statedir import StoreThread
from router.verdict import Verdict, VerdictKind
from tests.integration.test_control_plane import (
    BROKEN,
    INSTANCES,
    LOADING,
    QUICK,
    READY,
    TOKEN,
    URL,
    House,
    Worker,
    a_worker,
    snapshot,
    until,
)

CHECK = {"name": "errors", "metric": "error_rate", "max": 0.05}
CANARY = {"to": 2, "checks": [], "canary": {"weights": [1, 25], "pause": "10s"}}
CHECKED = {**CANARY, "checks": [CHECK]}


@dataclass
class Scripted:
    """An assessor that says what the test wants."""

    kind: VerdictKind = VerdictKind.PASS
    requests: dict[str, int] = field(default_factory=dict)
    mirrored: int = 0
    contract_kind: ContractKind = ContractKind.IDENTICAL
    away: bool = False
    slow: asyncio.Event | None = None
    asked: list[Question] = field(default_factory=list)

    async def assess(self, question: Question) -> Assessment:
        self.asked.append(question)
        if self.slow is not None:
            await self.slow.wait()
        if self.away:
            raise Unavailable("prometheus is away")
        verdicts = tuple(Verdict(self.kind, check.name, f"says {self.kind}", {"k": 1}) for check in question.checks)
        return Assessment(verdicts, self.requests, self.mirrored, {"looks": question.memory.get("looks", 0) + 1})

    def refuses(self, check: Check) -> str | None:
        return "no source named prom is configured" if check.source == "prom" else None

    def contract(self, stable: InventoryVersion, candidate: InventoryVersion) -> Contract:
        return Contract(self.contract_kind, ("output y is gone",) if self.contract_kind != "identical" else ())


@dataclass
class Rig:
    """A house with a pilot that ticks only when it is told to."""

    house: House
    pilot: Pilot
    assessor: Scripted
    boot: list[float]

    @property
    def controller(self) -> Controller:
        return self.house.controller

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return await self.house.call(method, path, body, Serin_Actor="ann", **headers)

    async def apply(self, document: dict[str, Any], **headers: str) -> httpx.Response:
        return await self.call("PUT", "/models/digits/rollout", document, **headers)

    async def word(self, word: str, **body: Any) -> httpx.Response:
        return await self.call("POST", f"/models/digits/rollout/{word}", body)

    async def tick(self, seconds: float = 0.0) -> None:
        self.boot[0] += seconds
        self.house.clock[0] += seconds
        await self.pilot.tick("digits")

    async def status(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.call("GET", "/models/digits/rollout")).json()
        return found

    async def begin(self, document: dict[str, Any]) -> dict[str, Any]:
        answer = await self.apply(document)
        assert answer.status_code == 200, answer.text
        await self.tick()
        return await self.status()

    def weights(self) -> dict[str, int]:
        return {v.name: v.weight_ppm for v in self.controller.table.routes["digits"].variants}


@asynccontextmanager
async def a_rig(
    state: Path,
    fault: Callable[[str], None] = lambda point: None,
    boot: list[float] | None = None,
    assessor: Scripted | None = None,
    supervised: bool = False,
) -> AsyncIterator[Rig]:
    wall, seconds = [1_700_000_000.0], boot or [1000.0]
    store = await StoreThread.open(state, "2025-01-31T12:00:00.000Z", [], fault)
    settings = ControllerSettings(f"controller-{next(INSTANCES)}", supervised, QUICK)
    controller = Controller(store, lambda: datetime.fromtimestamp(wall[0], UTC), settings)
    await controller.start()
    scripted = assessor or Scripted()
    pilot = Pilot(controller, lambda: Now("boot", seconds[0], wall[0]), scripted, 0.02)
    parts = (rollout_router(Desk(pilot, store, state)),)
    app = create_app(controller, ApiOptions(TOKEN, "1", LOOPBACK_HOSTS, parts=parts))
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=URL, timeout=30) as http:
            yield Rig(House(controller, app, http, wall), pilot, scripted, seconds)
    finally:
        await controller.close()
        await store.close()


@asynccontextmanager
async def working(rig: Rig, count: int = 2) -> AsyncIterator[list[Worker]]:
    """The rig with workers that hold versions 1 to 3."""
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(a_worker(rig.house, slot)) for slot in range(count)]
        await InventoryLink(rig.house.http, TOKEN).report(snapshot(READY, READY, READY))
        await settled(rig, count)
        yield workers


async def settled(rig: Rig, count: int = 2) -> None:
    """Waits until all workers hold what the table wants."""

    def ready() -> bool:
        found = rig.controller.sight().live
        wanted = rig.controller.table.wanted.get("digits", {})
        return len(found) == count and all(
            worker.states and set(wanted) <= set(worker.states.get("digits", {})) for worker in found
        )

    await until(ready)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with a_rig(tmp_path) as made, working(made):
        yield made


@pytest.fixture
async def crew(tmp_path: Path) -> AsyncIterator[tuple[Rig, list[Worker]]]:
    async with a_rig(tmp_path) as made, working(made) as workers:
        yield made, workers


async def test_a_canary_goes_all_the_way_and_says_so_in_its_status_and_history(rig: Rig) -> None:
    first = await rig.begin(CANARY)
    assert (first["phase"], first["step"]["number"], first["step"]["of"]) == ("progressing", 1, 2)
    assert [(v["name"], v["role"], v["desired"]) for v in first["variants"]] == [
        ("1", "stable", 99),
        ("2", "candidate", 1),
    ]
    assert first["step"]["left_seconds"] == 10
    assert first["next"] == "goes on to weight 25 % after 10 s of 10 s"
    assert first["possible"] == ["promote", "promote_step", "pause", "abort"]
    await rig.tick(10)
    assert rig.weights() == {"1": 750_000, "2": 250_000}
    await rig.tick(10)
    last = await rig.status()
    assert (last["phase"], rig.weights()) == ("window", {"2": 1_000_000})
    assert last["deadlines"]["window_left_seconds"] == 3600
    await rig.tick(3600)
    assert (await rig.status())["phase"] == "promoted"
    history = (await rig.call("GET", f"/rollouts/{first['id']}/history")).json()["events"]
    kinds = ["started", "checking", "step", "step", "promoting", "promoted", "window_closed"]
    assert [event["kind"] for event in history] == [f"rollout.{kind}" for kind in kinds]
    assert history[3]["before"]["weights_ppm"] == {"1": 990_000, "2": 10_000}
    assert history[3]["after"]["weights_ppm"] == {"1": 750_000, "2": 250_000}
    assert {event["rollout"] for event in history} == {first["id"]}
    assert [event["actor"] for event in history[:2]] == ["ann", "serin"]


async def test_numbers_and_words_of_the_checks_are_shown(rig: Rig) -> None:
    rig.assessor.requests = {"1": 990, "2": 10}
    told = await rig.begin(CHECKED)
    assert told["checks"] == [{"name": "errors", "verdict": "pass", "reason": "says pass", "numbers": {"k": 1}}]
    assert [(v["measured"], v["requests"]) for v in told["variants"]] == [(99.0, 990), (1.0, 10)]
    assert rig.assessor.asked[-1].route.epoch == rig.controller.table.routes["digits"].epoch
    await rig.tick(1)
    assert rig.assessor.asked[-1].memory == {"looks": 1}


async def test_a_failed_check_takes_the_candidate_back_and_the_reason_is_in_one_place(crew: Any) -> None:
    rig, workers = crew
    await rig.begin(CHECKED)
    rig.assessor.kind = VerdictKind.FAIL
    await rig.tick(1)
    told = await rig.status()
    assert (told["phase"], told["reason"], told["actor"]) == ("aborted", "errors: says fail", "serin")
    assert rig.weights() == {"1": 1_000_000}
    assert all(worker.tables[-1].routes["digits"].variants[0].weight_ppm == 1_000_000 for worker in workers)


async def test_a_source_that_is_away_holds_and_never_promotes(rig: Rig) -> None:
    rig.assessor.away = True
    await rig.begin(CHECKED)
    await rig.tick(60)
    told = await rig.status()
    assert (told["phase"], told["reason"]) == ("holding", "error: errors: prometheus is away")
    rig.assessor.away = False
    await rig.tick(1)
    assert (await rig.status())["step"]["number"] == 2


@pytest.mark.parametrize("word", ["abort"])
async def test_an_abort_needs_no_source_and_is_in_every_worker_when_it_returns(crew: Any, word: str) -> None:
    rig, workers = crew
    await rig.begin(CHECKED)
    rig.assessor.slow = asyncio.Event()
    ticking = asyncio.ensure_future(rig.tick(1))
    await until(lambda: len(rig.assessor.asked) > 1)
    answer = await rig.word(word, reason="enough")
    assert answer.status_code == 200
    told = answer.json()
    assert (told["phase"], told["actor"], told["reason"]) == ("aborted", "ann", "enough")
    assert (told["applied"], told["workers"]) == (2, 2)
    for worker in workers:
        assert [(v.name, v.weight_ppm) for v in worker.tables[-1].routes["digits"].variants] == [("1", 1_000_000)]
    rig.assessor.slow.set()
    await ticking
    assert (await rig.status())["phase"] == "aborted"


async def test_a_worker_that_refuses_a_step_ends_the_rollout(crew: Any) -> None:
    rig, workers = crew
    await rig.begin(CANARY)
    workers[1].refuse = lambda table: "no room" if table.routes["digits"].variants[-1].weight_ppm == 250_000 else None
    await rig.tick(10)
    await rig.tick()
    told = await rig.status()
    assert (told["phase"], told["reason"]) == ("aborted", "worker 1 refused the table: no room")


async def test_the_route_belongs_to_the_rollout_while_it_is_open(rig: Rig) -> None:
    await rig.begin(CANARY)
    refused = await rig.house.put(50, 50)
    assert refused.status_code == 409
    assert "owns the route" in refused.json()["error"]
    assert (await rig.call("PATCH", "/routes/digits", {"aliases": {"x": 1}})).status_code == 409
    await rig.word("promote")
    assert (await rig.house.put(50, 50)).status_code == 200
    assert "would undo that" in (await rig.word("rollback")).json()["error"]
    await rig.tick()
    assert (await rig.status())["phase"] == "promoted"


async def test_blue_green_previews_switches_and_goes_back_in_one_commit(crew: Any) -> None:
    rig, workers = crew
    told = await rig.begin({"to": 2, "strategy": "blue-green"})
    assert (told["phase"], rig.weights()) == ("waiting_approval", {"1": 1_000_000, "2": 0})
    assert told["next"] == "is promoted after an approval"
    rules = rig.controller.table.routes["digits"].rules
    assert [(rule.header, rule.variant) for rule in rules] == [("serin-preview", "2")]
    assert (await rig.word("approve", reason="looks good")).status_code == 200
    await rig.tick()
    assert ((await rig.status())["phase"], rig.weights()) == ("window", {"2": 1_000_000})
    # Blue stays warm although model.toml does not want it any longer.
    report = snapshot(READY, READY, READY)
    versions = dict(report.models["digits"].versions)
    versions[1] = replace(versions[1], wanted=False)
    await InventoryLink(rig.house.http, TOKEN).report(
        replace(report, models={"digits": replace(report.models["digits"], versions=versions)}, sequence=2**60 + 1)
    )
    assert 1 in rig.controller.table.wanted["digits"]
    before = rig.controller.table.revision
    answer = await rig.word("rollback", reason="oh no")
    assert (answer.status_code, answer.json()["phase"]) == (200, "rolled_back")
    assert (rig.weights(), rig.controller.table.revision) == ({"1": 1_000_000}, before + 1)
    assert workers[0].tables[-1].routes["digits"].variants[0].version == 1


async def test_an_ab_ends_by_sample_and_somebody_decides(rig: Rig) -> None:
    arms = [{"version": 2, "weight": 20}, {"version": 3, "weight": 20, "name": "c"}]
    await rig.begin({"strategy": "ab", "to": arms, "ab": {"requests": 10}})
    assert rig.weights() == {"1": 600_000, "2": 200_000, "c": 200_000}
    rig.assessor.requests = {"1": 60, "2": 20, "c": 20}
    await rig.tick(1)
    told = await rig.status()
    assert (told["phase"], told["result"]["requests"]) == ("waiting_approval", {"1": 60, "2": 20, "c": 20})
    assert told["possible"] == ["promote", "pause", "abort", "reject"]
    assert (await rig.word("promote")).status_code == 409
    assert (await rig.word("promote", to="c", reason="c is best")).json()["winner"] == "c"
    assert rig.weights() == {"c": 1_000_000}


async def test_shadow_then_weights_is_one_list(rig: Rig) -> None:
    steps = [{"shadow": 100, "requests": 2000}, {"weight": 1, "pause": "10s"}, {"weight": 100, "pause": "10s"}]
    await rig.begin({"to": 2, "checks": [], "steps": steps})
    assert rig.controller.table.routes["digits"].mirrors[0].share_ppm == 1_000_000
    rig.assessor.mirrored = 2000
    await rig.tick(1)
    assert rig.controller.table.routes["digits"].mirrors == ()
    for _ in range(2):
        await rig.tick(10)
    assert (await rig.status())["phase"] == "window"


@pytest.mark.parametrize(
    ("document", "status", "words"),
    [
        ({"to": 3, "canary": {"weights": ["x"]}}, 400, "canary.weights[0]: "),
        ({"to": 9}, 409, "to: digits has no version 9"),
        ({"to": 1}, 409, "to: version 1 of digits has all"),
        ({"to": 2, "model": "other"}, 400, "model: is not digits"),
        ({"to": 2, "checks": [{**CHECK, "metric": "", "source": "prom", "query": "q"}]}, 400, "checks[0]: no source"),
        ([], 400, "a rollout is an object"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_when_it_is_applied(
    rig: Rig, document: Any, status: int, words: str
) -> None:
    table = rig.controller.table
    answer = await rig.apply(document)
    assert (answer.status_code, answer.json()["error"][: len(words)]) == (status, words)
    assert rig.controller.table is table


@pytest.mark.parametrize("path", ["rollouts?before=", "rollouts/x/blocks?after=", "rollouts/x/history?after="])
@pytest.mark.parametrize("number", [2**63, 10**30, "-1", "x"])
async def test_numbers_that_no_rollout_has_are_refused(rig: Rig, path: str, number: Any) -> None:
    assert (await rig.call("GET", f"/{path}{number}")).status_code == 400


async def test_applying_twice_is_applying_once(rig: Rig) -> None:
    first = (await rig.apply(CANARY)).json()
    again = await rig.apply({**CANARY, "reason": "again"})
    assert (again.json()["id"], again.headers["etag"]) == (first["id"], f'"{first["number"]}"')
    other = {**CANARY, "to": 3}
    assert (await rig.apply(other)).status_code == 409
    assert (await rig.apply(other, If_Match='"1"')).status_code == 412
    replaced = await rig.apply(other, If_Match=again.headers["etag"])
    assert (replaced.status_code, replaced.json()["to"]) == (200, [{"name": "3", "version": 3}])
    assert (await rig.call("GET", f"/rollouts/{first['id']}")).json()["phase"] == "superseded"
    listed = (await rig.call("GET", "/rollouts?limit=1")).json()
    assert [one["id"] for one in listed["rollouts"]] == [replaced.json()["id"]]
    page = (await rig.call("GET", f"/rollouts?before={listed['next_before']}")).json()
    assert [one["id"] for one in page["rollouts"]] == [first["id"]]


async def test_a_document_may_be_yaml(rig: Rig) -> None:
    text = "to: 2\nchecks: []\nsteps:\n  - {weight: 1, pause: 1m}\nfallback: {on: [timeout]}\nreason: from a file\n"
    answer = await rig.house.http.put("/api/v1/models/digits/rollout", content=text)
    assert (answer.status_code, answer.json()["reason"]) == (200, "from a file")


async def test_people_who_ask_for_what_is_impossible_are_told_what_is_possible(rig: Rig) -> None:
    assert (await rig.call("GET", "/models/digits/rollout")).status_code == 404
    assert (await rig.word("abort")).status_code == 404
    await rig.begin(CANARY)
    revision = rig.controller.state.rollouts["digits"].revision
    answer = await rig.word("resume")
    assert answer.status_code == 409
    assert "Possible now: promote, promote_step, pause, abort" in answer.json()["error"]
    assert (await rig.word("dance")).status_code == 404
    assert (await rig.word("pause", to="2")).status_code == 400
    assert rig.controller.state.rollouts["digits"].revision == revision


async def test_pause_resume_step_and_retry(rig: Rig) -> None:
    first = await rig.begin(CANARY)
    assert (await rig.word("pause", reason="lunch")).json()["next"] == "paused by ann; `resume` goes on"
    await rig.tick(100)
    assert (await rig.status())["step"]["number"] == 1
    assert (await rig.word("resume")).json()["step"]["left_seconds"] == 10
    assert (await rig.word("promote", step=True)).json()["step"]["number"] == 2
    assert (await rig.word("abort")).json()["phase"] == "aborted"
    again = (await rig.word("retry", reason="fixed")).json()
    assert (again["phase"], again["id"] != first["id"]) == ("pending", True)
    await rig.tick()
    assert (await rig.status())["step"]["number"] == 1


async def test_a_breaking_contract_is_refused_before_any_traffic(rig: Rig) -> None:
    rig.assessor.contract_kind = ContractKind.BREAKING
    told = await rig.begin(CANARY)
    assert told["phase"] == "aborted"
    assert told["contract"] == {"kind": "breaking", "differences": ["output y is gone"]}
    assert "output y is gone" in told["reason"]
    assert (await rig.begin({**CANARY, "contract": "breaking"}))["phase"] == "progressing"


async def test_a_candidate_that_is_still_loading_is_waited_for(crew: Any) -> None:
    rig, _ = crew
    link = InventoryLink(rig.house.http, TOKEN)
    await link.report(snapshot(READY, LOADING, READY, v2="new"))
    told = await rig.begin(CANARY)
    assert (told["phase"], rig.weights()) == ("pending", {"1": 1_000_000})
    await link.report(snapshot(READY, READY, READY, v2="new", sequence=2**60 + 1))
    await settled(rig)
    await until(lambda: all(w.states["digits"][2].digest == "new" for w in rig.controller.sight().live))
    await rig.tick()
    assert (await rig.status())["phase"] == "progressing"


async def test_a_worker_that_refuses_the_way_back_is_killed_before_an_abort_returns(tmp_path: Path) -> None:
    async with a_rig(tmp_path, supervised=True) as rig, working(rig) as workers:
        listed = {w.identity.instance: WorkerProcess(w.identity.slot, w.identity.instance, 1, True) for w in workers}
        killed: list[str] = []

        def kill(instance: str) -> None:
            killed.append(instance)
            if listed.pop(instance, None):
                link.died(Death(1, instance, "SIGKILL"))

        link = SupervisorLink(rig.house.http, TOKEN)
        supervising = asyncio.ensure_future(link.run(lambda: tuple(listed.values()), kill))
        await until(lambda: rig.controller.fleet.supervised)
        await rig.begin(CANARY)
        workers[1].refuse = lambda table: "no" if len(table.routes["digits"].variants) == 1 else None
        answer = await rig.word("abort")
        assert (answer.status_code, answer.json()["phase"], answer.json()["workers"]) == (200, "aborted", 1)
        assert set(killed) == {workers[1].identity.instance}
        supervising.cancel()
        await asyncio.gather(supervising, return_exceptions=True)


# Trouble


async def fail_in_worker(rig: Rig, workers: list[Worker]) -> None:
    workers[1].held["digits"][2] = WorkerVersion(BROKEN, "segment fault", "d2")
    workers[1].follower.states_changed()


async def unload_all(rig: Rig, workers: list[Worker]) -> None:
    await rig.call("POST", "/models/digits/unload")


async def replace_content(rig: Rig, workers: list[Worker]) -> None:
    await InventoryLink(rig.house.http, TOKEN).report(snapshot(READY, READY, READY, v2="other"))


async def crash_thrice(rig: Rig, workers: list[Worker]) -> None:
    deaths = tuple(Death(0, f"gone-{n}", "SIGSEGV", Blame("digits", 2, "d2")) for n in range(3))
    # The two live workers are still on the supervisor's list; only the dead are not.
    listed = tuple(WorkerProcess(w.identity.slot, w.identity.instance, w.identity.pid, True) for w in workers)
    await rig.controller.supervise(SuperviseReport(listed, deaths, 1, 0.0))


async def spend_budget(rig: Rig, workers: list[Worker]) -> None:
    workers[0].follower.words = lambda: ({"digits": "fallback budget spent: 2 failed too often"}, {})
    workers[0].follower.states_changed()


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (fail_in_worker, "digits:2 is unavailable in worker 1: segment fault"),
        (unload_all, "digits:2 was unloaded"),
        (replace_content, "the content of digits:2 was replaced"),
        (crash_thrice, "digits:2 is in quarantine: killed 3 workers"),
        (spend_budget, "worker 0: fallback budget spent"),
    ],
)
async def test_trouble_ends_a_rollout_at_once_also_while_a_source_is_slow(crew: Any, trouble: Any, words: str) -> None:
    rig, workers = crew
    await rig.begin(CHECKED)
    rig.assessor.slow = asyncio.Event()
    running = asyncio.ensure_future(rig.pilot.run())
    await until(lambda: len(rig.assessor.asked) > 1)
    await trouble(rig, workers)
    await until(lambda: rig.controller.state.rollouts["digits"].phase.value in ("aborting", "aborted"))
    assert rig.controller.state.rollouts["digits"].why.reason.startswith(words)
    assert rig.weights()["1"] == 1_000_000
    rig.assessor.slow.set()
    await until(lambda: rig.controller.state.rollouts["digits"].phase.value == "aborted")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_worker_that_comes_and_has_not_loaded_yet_is_no_trouble(crew: Any) -> None:
    rig, _ = crew
    await rig.begin(CANARY)
    async with a_worker(rig.house, 2) as late:
        late.stuck = True
        await until(lambda: len(rig.controller.fleet.all()) == 3)
        with pytest.raises(Exception, match="nothing was changed"):
            await rig.tick(10)
        assert (await rig.status())["step"]["number"] == 1
        late.stuck = False
        await until(lambda: len([w for w in rig.controller.fleet.all() if w.states and w.states.get("digits")]) == 3)
        await rig.tick()
        assert (await rig.status())["step"]["number"] == 2


# Stops between any two writes


class Power:
    """Fails the n-th commit, before or after it is on disk, and every one after it: the process is gone."""

    def __init__(self, point: str, at: int) -> None:
        self.point, self.at, self.armed, self.seen = point, at, False, Counter[str]()

    def __call__(self, point: str) -> None:
        self.seen[point] += self.armed
        if self.seen[self.point] >= self.at:
            raise PowerCut(point)


class PowerCut(BaseException):
    """`kill -9`, as far as a process can do it to itself."""


SCRIPT: tuple[tuple[str, Any], ...] = (
    ("apply", {**CHECKED, "canary": {"weights": [1, 25], "pause": "10s", "approval": True}, "rollback_window": "10m"}),
    ("tick", 0),
    ("tick", 5),
    ("word", "pause"),
    ("word", "resume"),
    ("tick", 5),
    ("word", "approve"),
    ("tick", 0),
    ("tick", 10),
    ("word", "approve"),
    ("tick", 0),
    ("tick", 30),
    ("word", "rollback"),
)
COMMITS = 22
WALKED = [{"1": 10**6}, {"1": 990_000, "2": 10_000}, {"1": 750_000, "2": 250_000}, {"2": 10**6}, {"1": 10**6}]


async def play(rig: Rig, script: tuple[tuple[str, Any], ...]) -> int:
    """Plays a script from its place on; the number of lines that were done before the power was cut."""
    for done, (verb, argument) in enumerate(script):
        try:
            if verb == "tick":
                await rig.tick(argument)
            elif verb == "apply":
                await rig.apply(argument)
            else:
                await rig.word(argument)
        except PowerCut:
            return done
    return len(script)


async def routes_of(rig: Rig) -> list[dict[str, int]]:
    """The weights that were recorded for the model, one after another, by the history alone."""
    walked: list[dict[str, int]] = [{"1": 10**6}]
    for event in (await rig.call("GET", "/events?after=0&limit=1000")).json()["events"]:
        if event["kind"].startswith("rollout.") and event["before"]:
            now = event["after"]["weights_ppm"]
            if now != walked[-1]:
                walked.append(now)
    return walked


async def run_with_cut(state: Path, point: str, at: int) -> tuple[list[dict[str, int]], list[str], bool]:
    boot = [1000.0]
    power = Power(point, at)
    async with a_rig(state, power, boot) as rig, working(rig):
        power.armed = True  # the model is known and has its first route
        done = await play(rig, SCRIPT)
    async with a_rig(state, boot=boot) as rig, working(rig) as workers:
        before = rig.controller.table.routes["digits"]
        assert (await rig.call("GET", "/routes/digits")).json()["revision"] == before.revision
        if "digits" in rig.controller.state.rollouts:
            await rig.tick()
        await play(rig, SCRIPT[done:])
        for _ in range(3):
            await rig.tick()
        kinds = await rig.house.kinds()
        recorded = {tuple(sorted(weights.items())) for weights in await routes_of(rig)}
        for table in workers[0].tables:
            weights = tuple(sorted((v.name, v.weight_ppm) for v in table.routes["digits"].variants))
            assert weights in recorded, "no worker has ever been given a weight that was not recorded"
        return await routes_of(rig), kinds, done == len(SCRIPT)


@pytest.mark.parametrize("point", ["commit.before", "commit.after"])
@pytest.mark.parametrize("at", range(1, COMMITS + 1))
async def test_a_stop_at_any_commit_is_taken_up_where_it_was(tmp_path: Path, point: str, at: int) -> None:
    walked, kinds, _ = await run_with_cut(tmp_path, point, at)
    assert walked == WALKED
    for kind in ("started", "checking", "promoting", "promoted", "rolling_back", "rolled_back"):
        assert kinds.count(f"rollout.{kind}") == 1, (kind, kinds)
    assert kinds.count("rollout.step") == 2


async def test_the_script_has_no_more_commits_than_are_cut(tmp_path: Path) -> None:
    _, _, whole = await run_with_cut(tmp_path, "commit.after", COMMITS + 1)
    assert whole


async def test_time_counts_while_no_controller_runs(tmp_path: Path) -> None:
    boot = [1000.0]
    async with a_rig(tmp_path, boot=boot) as rig, working(rig):
        await rig.begin(CANARY)
    boot[0] += 10
    async with a_rig(tmp_path, boot=boot) as rig, working(rig):
        await rig.tick()
        assert (await rig.status())["step"]["number"] == 2


async def test_an_old_state_directory_is_brought_up_to_date(tmp_path: Path) -> None:
    async with a_rig(tmp_path) as rig, working(rig):
        kinds = await rig.house.kinds()
    with sqlite3.connect(tmp_path / "serin.db") as old:
        old.execute("DROP INDEX ix_events_rollout")
        old.execute("ALTER TABLE events DROP COLUMN rollout")
        old.execute("ALTER TABLE events DROP COLUMN hash")
        old.execute("ALTER TABLE events DROP COLUMN claimed")
        old.execute("DROP TABLE rollouts")
        old.execute("UPDATE meta SET value = '1' WHERE name = 'schema_version'")
    async with a_rig(tmp_path) as rig, working(rig):
        assert await rig.house.kinds() == kinds
        assert (await rig.begin(CANARY))["phase"] == "progressing"
