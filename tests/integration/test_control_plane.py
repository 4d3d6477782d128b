import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from router.acknowledgement import Limits
from router.addressed import LOOPBACK_HOSTS
from router.api import ApiOptions, create_app
from router.client import AdminClient, CommandLink, Follower, Identity, InventoryLink, SupervisorLink
from router.controller import Controller, ControllerSettings
from router.errors import Conflict, FailedPrecondition, NotFound, SerinError, Unauthenticated, Unavailable
from router.exchange import Pause
from router.reports import (
    Blame,
    Death,
    InventoryModel,
    InventoryReport,
    InventoryVersion,
    States,
    SuperviseReport,
    VersionState,
    WorkerProcess,
    WorkerVersion,
)
from router.routes import RouteTable
from router.state import Change, State
from router.statedir import StoreThread
from router.wanted import reconcile

TOKEN = "let-me-in"
URL = "http://localhost"
READY, BROKEN, LOADING = VersionState.READY, VersionState.UNAVAILABLE, VersionState.LOADING
INSTANCES = count(1)
# A healthy worker must confirm within these on a busy machine; tests of sick ones wait for their end.
QUICK = Limits(load_seconds=1.0, look_seconds=0.1, confirm_seconds=1.0, kill_seconds=1.0)


def snapshot(*states: VersionState, default: int | None = 1, sequence: int = 2**60, **digests: str) -> InventoryReport:
    versions = {
        n: InventoryVersion(
            state, "not an ONNX file" if state is BROKEN else "", digests.get(f"v{n}", f"d{n}"), f"s{n}"
        )
        for n, state in enumerate(states, 1)
    }
    return InventoryReport("inventory", {"digits": InventoryModel(default, None, versions)}, True, sequence)


@dataclass
class House:
    """A controller with its API, called in process."""

    controller: Controller
    app: Any
    http: httpx.AsyncClient
    clock: list[float]

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.request(method, f"/api/v1{path}", json=body, headers=named)

    async def put(self, *weights: float, **more: Any) -> httpx.Response:
        variants = [{"version": n, "weight": weight} for n, weight in enumerate(weights, 1)]
        return await self.call("PUT", "/routes/digits", {"variants": variants, **more}, Serin_Actor="ann")

    async def kinds(self) -> list[str]:
        return [event["kind"] for event in (await self.call("GET", "/events?after=0&limit=1000")).json()["events"]]


@dataclass
class Worker:
    """A fake worker: applies every table (unless told not to) and holds what it wants (unless told otherwise)."""

    follower: Follower
    identity: Identity
    tables: list[RouteTable] = field(default_factory=list)
    refuse: Callable[[RouteTable], str | None] = lambda table: None
    cannot: set[int] = field(default_factory=set)
    stuck: bool = False
    held: States = field(default_factory=dict)

    async def apply(self, table: RouteTable) -> str | None:
        await until(lambda: not self.stuck, 60)
        reason = self.refuse(table)
        if reason is None:
            self.tables.append(table)
            self.held.clear()
            for model, versions in table.wanted.items():
                self.held[model] = {v: self._try(v, wanted.digest) for v, wanted in versions.items()}
            self.follower.states_changed()
        return reason

    def _try(self, version: int, digest: str) -> WorkerVersion:
        return (
            WorkerVersion(BROKEN, "out of memory", digest)
            if version in self.cannot
            else WorkerVersion(READY, "", digest)
        )


@asynccontextmanager
async def a_house(
    state: Path, supervised: bool = False, limits: Limits = QUICK, fault: Callable[[str], None] | None = None
) -> AsyncIterator[House]:
    clock = [1_700_000_000.0]
    store = await StoreThread.open(
        state, "2025-01-31T12:00:00.000Z", [state / "table.json"], fault or (lambda point: None)
    )
    settings = ControllerSettings(f"controller-{next(INSTANCES)}", supervised, limits)
    controller = Controller(store, lambda: datetime.fromtimestamp(clock[0], UTC), settings)
    await controller.start()
    app = create_app(controller, ApiOptions(TOKEN, "1", LOOPBACK_HOSTS, lambda: (b"serin_up 1\n", "text/plain")))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=URL, timeout=30) as http:
        yield House(controller, app, http, clock)
    await controller.close()
    await store.close()


@asynccontextmanager
async def a_worker(house: House, slot: int = 0, **more: Any) -> AsyncIterator[Worker]:
    identity = Identity(slot, f"w{slot}-{id(more)}", 100 + slot)
    held: States = {}
    follower = Follower(house.http, TOKEN, identity, lambda: {model: dict(v) for model, v in held.items()})
    worker = Worker(follower, identity, held=held, **more)
    task = asyncio.ensure_future(follower.run(worker.apply))
    try:
        yield worker
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.005)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path) as made:
        await InventoryLink(made.http, TOKEN).report(snapshot(READY, READY, BROKEN))
        yield made


@pytest.fixture
async def workers(house: House) -> AsyncIterator[tuple[Worker, Worker]]:
    async with a_worker(house, 0) as first, a_worker(house, 1) as second:
        await until(lambda: all(w.states and w.applied == house.controller.table.revision for w in _two(house)))
        yield first, second


def _two(house: House) -> Any:
    found = house.controller.fleet.all()
    return found if len(found) == 2 else [replace(w, states=None) for w in found] or [type("No", (), {"states": None})]


Pair = tuple[Worker, Worker]


async def test_a_route_is_set_and_both_workers_have_it_when_the_call_returns(house: House, workers: Pair) -> None:
    answer = await house.put(90, 10, reason="a look")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["applied"], body["workers"]) == (2, 2)
    assert [variant["weight"] for variant in body["route"]["variants"]] == [90, 10]
    assert answer.headers["etag"] == f'"{body["revision"]}"'
    assert [worker.tables[-1].revision for worker in workers] == [body["revision"]] * 2
    last = (await house.call("GET", "/events?limit=1")).json()["events"][0]
    assert (last["kind"], last["actor"], last["reason"], last["revision"]) == (
        "route.set",
        "ann",
        "a look",
        body["revision"],
    )
    assert last["before"]["variants"][0]["weight"] == 100
    assert last["at"] == "2023-11-14T22:13:20.000Z"


async def test_a_model_starts_on_its_default_and_later_versions_get_no_weight(house: House, workers: Pair) -> None:
    route = (await house.call("GET", "/routes/digits")).json()
    assert [(v["version"], v["weight"]) for v in route["variants"]] == [(1, 100)]
    await InventoryLink(house.http, TOKEN).report(snapshot(READY, READY, READY, READY))
    assert (await house.call("GET", "/routes/digits")).json() == route
    assert await house.kinds() == ["versions.wanted", "route.first", "versions.wanted"]


async def test_a_worker_that_refuses_the_table_has_the_old_one_recorded_again(house: House, workers: Pair) -> None:
    workers[1].refuse = lambda table: "no room" if len(table.routes["digits"].variants) == 2 else None
    answer = await house.put(50, 50)
    assert answer.status_code == 409
    assert answer.json()["error"] == "worker 1 refused the table: no room; the route is as it was"
    route = (await house.call("GET", "/routes/digits")).json()
    assert [variant["weight"] for variant in route["variants"]] == [100]
    assert (await house.kinds())[-2:] == ["route.set", "route.restored"]
    assert workers[0].tables[-1].routes["digits"].variants == workers[1].tables[-1].routes["digits"].variants
    assert (await house.put(100)).status_code == 200


@pytest.mark.parametrize("case", ["inventory", "worker", "unknown", "alias"])
async def test_a_version_that_cannot_be_loaded_is_refused_and_changes_nothing(
    house: House, workers: Pair, case: str
) -> None:
    if case == "worker":
        workers[1].cannot.add(2)
        await InventoryLink(house.http, TOKEN).report(snapshot(READY, READY, BROKEN, v2="other"))
        await until(lambda: workers[1].held["digits"][2].digest == "other")
    before = house.controller.table
    variants = {
        "inventory": [{"version": 1, "weight": 90}, {"version": 3, "weight": 10}],
        "worker": [{"version": 1, "weight": 90}, {"version": 2, "weight": 10}],
        "unknown": [{"version": 9, "weight": 100}],
        "alias": [{"version": "champion", "weight": 100}],
    }[case]
    answer = await house.call("PUT", "/routes/digits", {"variants": variants})
    status, words = {
        "inventory": (409, "digits:3 cannot be loaded: not an ONNX file; nothing was changed"),
        "worker": (409, "digits:2 cannot be loaded by worker 1: out of memory; nothing was changed"),
        "unknown": (404, "digits has no version 9; there are: 1, 2, 3"),
        "alias": (404, "digits has no alias 'champion'; its aliases: none"),
    }[case]
    assert (answer.status_code, answer.json()["error"]) == (status, words)
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert house.controller.table is before


async def test_weight_is_taken_from_a_version_that_has_failed(house: House, workers: Pair) -> None:
    assert (await house.put(90, 10)).status_code == 200
    workers[0].cannot.add(2)
    await InventoryLink(house.http, TOKEN).report(snapshot(READY, BROKEN, BROKEN))
    assert (await house.put(100, 0)).status_code == 200
    assert (await house.put(95, 5)).status_code == 409


async def test_a_version_that_loads_is_waited_for(house: House, workers: Pair) -> None:
    link = InventoryLink(house.http, TOKEN)
    await link.report(snapshot(READY, READY, LOADING))
    variants = {"variants": [{"version": 1, "weight": 99}, {"version": 3, "weight": 1}]}
    pending = asyncio.ensure_future(house.call("PUT", "/routes/digits", variants))
    await asyncio.sleep(0.05)
    assert not pending.done()
    await link.report(snapshot(READY, READY, READY))
    assert (await pending).status_code == 200
    late = await house.put(99, 1, rules=[{"header": "x", "variant": "2"}])
    assert late.status_code == 200


async def test_a_version_that_never_gets_ready_is_given_up(house: House, workers: Pair) -> None:
    await InventoryLink(house.http, TOKEN).report(snapshot(READY, READY, LOADING))
    answer = await house.call("PUT", "/routes/digits", {"variants": [{"version": 3, "weight": 100}]})
    assert answer.status_code == 504
    assert answer.json()["error"] == "digits:3 is being examined (LOADING), after 1 s; nothing was changed"


async def test_a_restart_keeps_routes_unloaded_versions_and_history(tmp_path: Path) -> None:
    async with a_house(tmp_path) as first:
        await InventoryLink(first.http, TOKEN).report(snapshot(READY, READY, READY))
        assert (await first.put(75, 25, aliases={"stable": 1})).status_code == 200
        assert (await first.call("POST", "/models/digits/versions/3/unload")).status_code == 200
        table, history = first.controller.table, await first.kinds()
    async with a_house(tmp_path) as second:
        assert second.controller.table == table
        assert await second.kinds() == history
        await InventoryLink(second.http, TOKEN).report(snapshot(READY, READY, READY))
        assert sorted(second.controller.table.wanted["digits"]) == [1, 2]
        assert second.controller.table == table


async def test_a_second_controller_on_the_same_state_is_refused(house: House, tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="another controller"):
        await StoreThread.open(tmp_path, "now")


async def test_a_follower_outlives_its_controller_and_follows_the_next(tmp_path: Path) -> None:
    doors: list[Any] = [None]

    async def door(scope: Any, receive: Any, send: Any) -> None:
        if doors[0] is None:
            raise httpx.ConnectError("nobody")
        await doors[0](scope, receive, send)

    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            httpx.AsyncClient(transport=httpx.ASGITransport(app=door), base_url=URL, timeout=30)
        )
        clock = [0.0]
        async with a_house(tmp_path) as first:
            doors[0] = first.app
            await InventoryLink(http, TOKEN).report(snapshot(READY, READY))
            worker = await stack.enter_async_context(a_worker(House(first.controller, None, http, clock)))
            await until(lambda: bool(worker.tables))
            doors[0] = None
        await asyncio.sleep(0.1)
        _empty(tmp_path)  # lost, cache and all: its numbers start again below the worker's
        async with a_house(tmp_path) as second:
            doors[0] = second.app
            await until(lambda: worker.follower.applied == second.controller.table.revision > 0)
            assert "state.renumbered" in await second.kinds()
            await until(lambda: second.controller.fleet.all()[0].states is not None)
            await InventoryLink(http, TOKEN).report(snapshot(READY, READY))
            assert (await second.put(50, 50)).json()["applied"] == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If_Match": '"{revision}"'}, 200),
        ({"If_Match": '"1000"'}, 412),
        ({"If_Match": '"1000", "{revision}"'}, 200),
        ({"If_Match": 'W/"{revision}"'}, 412),
        ({"If_Match": "*"}, 200),
        ({"If_None_Match": "*"}, 412),
    ],
)
async def test_a_route_is_changed_only_as_it_was_read(
    house: House, workers: Pair, headers: dict[str, str], status: int
) -> None:
    read = await house.call("GET", "/routes/digits")
    assert read.headers["etag"] == f'"{read.json()["revision"]}"'
    body = {"variants": [{"version": 2, "weight": 100}]}
    sent = {name: value.format(revision=read.json()["revision"]) for name, value in headers.items()}
    answer = await house.call("PUT", "/routes/digits", body, **sent)
    assert answer.status_code == status
    assert (await house.call("GET", "/routes/digits")).json()["variants"][0]["version"] == (2 if status == 200 else 1)


async def test_an_unchanged_route_is_not_sent_again(house: House) -> None:
    etag = (await house.call("GET", "/routes/digits")).headers["etag"]
    assert (await house.call("GET", "/routes/digits", If_None_Match=etag)).status_code == 304


async def test_of_two_who_read_the_same_route_one_is_refused(house: House, workers: Pair) -> None:
    etag = (await house.call("GET", "/routes/digits")).headers["etag"]
    bodies = [{"variants": [{"version": 1, "weight": w}, {"version": 2, "weight": 100 - w}]} for w in range(10, 60, 10)]
    answers = await asyncio.gather(*(house.call("PUT", "/routes/digits", body, If_Match=etag) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412]


async def test_many_who_write_at_once_get_revisions_of_their_own(house: House, workers: Pair) -> None:
    answers = await asyncio.gather(*(house.put(100 - weight, weight) for weight in range(1, 11)))
    revisions = [answer.json()["revision"] for answer in answers]
    assert all(answer.status_code == 200 for answer in answers)
    assert len(set(revisions)) == 10
    newest = max(answers, key=lambda answer: answer.json()["revision"]).json()
    assert (await house.call("GET", "/routes/digits")).json() == newest["route"]


async def test_a_worker_that_does_not_confirm_is_killed_before_the_call_returns(tmp_path: Path) -> None:
    async with a_house(tmp_path, supervised=True) as house, a_worker(house, 0) as good, a_worker(house, 1) as bad:
        await InventoryLink(house.http, TOKEN).report(snapshot(READY, READY))
        listed = {
            w.identity.instance: WorkerProcess(w.identity.slot, w.identity.instance, 1, True) for w in (good, bad)
        }
        killed: list[str] = []

        def kill(instance: str) -> None:
            killed.append(instance)
            if listed.pop(instance, None):
                link.died(Death(1, instance, "SIGKILL"))

        link = SupervisorLink(house.http, TOKEN)
        task = asyncio.ensure_future(link.run(lambda: tuple(listed.values()), kill))
        await until(lambda: len([w for w in house.controller.fleet.all() if w.listed and w.states]) == 2)
        bad.stuck = True
        answer = await house.put(90, 10)
        assert (answer.status_code, answer.json()["applied"], answer.json()["workers"]) == (200, 1, 1)
        assert set(killed) == {bad.identity.instance}
        assert (await house.kinds())[-1] == "worker.died"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_worker_that_can_not_be_stopped_makes_the_call_fail_honestly(house: House, workers: Pair) -> None:
    workers[1].stuck = True
    answer = await house.put(90, 10)
    assert answer.status_code == 504
    assert "worker 1 has neither confirmed it nor been stopped" in answer.json()["error"]
    assert len((await house.call("GET", "/routes/digits")).json()["variants"]) == 2
    workers[1].stuck = False


async def test_nothing_is_acknowledged_before_the_supervisor_has_spoken(tmp_path: Path) -> None:
    async with a_house(tmp_path, supervised=True, limits=replace(QUICK, load_seconds=0.1)) as house:
        await InventoryLink(house.http, TOKEN).report(snapshot(READY))
        assert (await house.put(100)).status_code == 503
        await SupervisorLink(house.http, TOKEN).exchange(SuperviseReport())
        assert (await house.put(100)).json()["workers"] == 0


async def test_events_are_paged_and_filtered(house: House, workers: Pair) -> None:
    for weight in (1, 2, 3):
        await house.put(100 - weight, weight)
    first = (await house.call("GET", "/events?after=0&limit=2")).json()
    second = (await house.call("GET", f"/events?after={first['next_after']}&limit=100")).json()
    assert [event["id"] for event in first["events"] + second["events"]] == [1, 2, 3, 4, 5]
    assert (await house.call("GET", f"/events?after={second['next_after']}")).json() == {"events": [], "next_after": 5}
    assert (await house.call("GET", "/events?model=nothing")).json()["events"] == []
    assert (await house.call("GET", "/events?limit=0")).status_code == 400


async def test_events_stream_from_where_the_client_stopped_and_go_on_live(house: House, workers: Pair) -> None:
    async with a_stream(house, "/api/v1/events/stream", {"last-event-id": "1"}) as stream:
        assert (await stream())["kind"] == "route.first"
        await house.put(90, 10)
        live = await stream()
        assert (live["id"], live["kind"]) == (3, "route.set")


@pytest.mark.parametrize("headers", [{}, {"last-event-id": "\u00b2"}, {"last-event-id": "9" * 30}])
async def test_a_stream_without_a_start_tells_only_what_comes(
    house: House, workers: Pair, headers: dict[str, str]
) -> None:
    async with a_stream(house, "/api/v1/events/stream", headers) as stream:
        await house.put(90, 10)
        assert (await stream())["kind"] == "route.set"


@asynccontextmanager
async def a_stream(
    house: House, path: str, headers: dict[str, str]
) -> AsyncIterator[Callable[[], Awaitable[dict[str, Any]]]]:
    sent: asyncio.Queue[bytes] = asyncio.Queue()
    gone = asyncio.Event()
    raw = [(b"host", b"localhost"), *((k.encode(), v.encode("latin-1")) for k, v in headers.items())]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
             "path": path, "raw_path": path.encode(), "query_string": b"", "headers": raw, "root_path": "",
             "server": ("localhost", 80), "client": ("127.0.0.1", 1)}  # fmt: skip
    first = [True]

    async def receive() -> dict[str, Any]:
        if first[0]:
            first[0] = False
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        await sent.put(message.get("body", b""))

    async def following() -> dict[str, Any]:
        async with asyncio.timeout(5):
            while True:
                for line in (await sent.get()).decode().splitlines():
                    if line.startswith("data: "):
                        found: dict[str, Any] = json.loads(line[6:])
                        return found

    task = asyncio.ensure_future(house.app(scope, receive, send))
    await sent.get()
    await sent.get()  # the head and the retry hint: the stream has its start
    try:
        yield following
    finally:
        gone.set()
        await asyncio.wait_for(task, 5)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/models/nothing"),
        ("GET", "/routes/nothing"),
        ("PUT", "/routes/nothing"),
        ("PATCH", "/routes/nothing"),
        ("POST", "/models/nothing/load"),
        ("POST", "/models/nothing/unload"),
        ("POST", "/models/digits/versions/9/load"),
        ("POST", "/models/digits/versions/9/unload"),
        ("GET", "/nowhere"),
    ],
)
async def test_what_is_not_there_is_404_in_the_common_form(house: House, method: str, path: str) -> None:
    body = {"variants": [{"version": 1, "weight": 100}]} if method == "PUT" else {} if method == "PATCH" else None
    answer = await house.call(method, path, body)
    assert answer.status_code == 404
    assert sorted(answer.json()) == ["code", "error", "request_id"]
    assert answer.json()["code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "variants: Field required"),
        ({"variants": []}, "variants: "),
        ({"variants": [{"version": 1, "weight": 90}]}, "variants: the weights sum to 90 percent, not to 100"),
        ({"variants": [{"version": 1, "weight": "0.00001"}]}, "variants[0].weight: weight 0.00001 is finer"),
        ({"variants": [{"version": 1, "weight": -1}]}, "variants[0].weight: "),
        ({"variants": [{"version": "01", "weight": 100}]}, "variants[0].version: "),
        ({"variants": [{"version": 1.5, "weight": 100}]}, "variants.0.version"),
        ({"variants": [{"version": True, "weight": 100}]}, "variants.0.version"),
        ({"variants": [{"version": 1, "weight": 100}], "colour": "blue"}, "colour: Extra inputs"),
        ({"variants": [{"version": 1, "weight": 100}], "aliases": {"7": 1}}, "aliases.7: "),
        ({"variants": [{}] * 100_000}, "variants: List should have at most 64 items"),
        ([], "body: "),
    ],
)
async def test_a_bad_body_is_refused_with_the_field_and_without_an_echo(house: House, body: Any, words: str) -> None:
    before = house.controller.table
    answer = await house.call("PUT", "/routes/digits", body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(words)
    assert len(answer.content) < 500
    assert house.controller.table is before


async def test_aliases_move_without_weight_and_name_versions_in_routes(house: House, workers: Pair) -> None:
    answer = await house.call("PATCH", "/routes/digits", {"aliases": {"canary": 2, "stable": 1}})
    assert answer.json()["route"]["aliases"] == {"canary": 2, "stable": 1}
    variants = [{"version": "stable", "weight": "87.5%"}, {"version": "canary", "weight": 12.5}]
    route = (await house.call("PUT", "/routes/digits", {"variants": variants})).json()["route"]
    assert [(v["name"], v["version"], v["weight_ppm"]) for v in route["variants"]] == [
        ("stable", 1, 875_000),
        ("canary", 2, 125_000),
    ]
    assert (await house.call("PATCH", "/routes/digits", {"aliases": {"x": 3}})).status_code == 409
    gone = await house.call("PATCH", "/routes/digits", {"aliases": {"canary": None}})
    assert gone.json()["route"]["aliases"] == {"stable": 1}


async def test_a_version_is_unloaded_and_loaded_by_command(house: House, workers: Pair) -> None:
    refused = await house.call("POST", "/models/digits/versions/1/unload")
    assert refused.status_code == 409
    out = (await house.call("POST", "/models/digits/versions/2/unload", {"reason": "room"}, Serin_Actor="ann")).json()
    assert out["versions"] == [{"version": 2, "state": "UNAVAILABLE", "reason": "unloaded"}]
    assert 2 not in workers[0].held["digits"]
    assert (await house.put(90, 10)).status_code == 409
    back = await CommandLink(house.http, "bob").load("digits", 2)
    assert back["versions"] == [{"version": 2, "state": "READY", "reason": ""}]
    assert (back["applied"], back["workers"]) == (2, 2)
    broken = await house.call("POST", "/models/digits/versions/3/load")
    assert broken.json()["error"] == "digits:3 cannot be loaded: not an ONNX file; it is not loaded"
    events = (await house.call("GET", "/events")).json()["events"]
    assert [(e["kind"], e["actor"], e["reason"]) for e in events[-2:]] == [
        ("version.unload", "ann", "room"),
        ("version.load", "bob", ""),
    ]


async def test_a_whole_model_goes_and_comes_back_with_its_route(house: House, workers: Pair) -> None:
    route = (await house.call("GET", "/routes/digits")).json()
    out = (await house.call("POST", "/models/digits/unload")).json()
    assert {version["state"] for version in out["versions"]} == {"UNAVAILABLE"}
    back = (await house.call("POST", "/models/digits/load")).json()
    assert [version["state"] for version in back["versions"]] == ["READY", "READY", "UNAVAILABLE"]
    assert (await house.call("GET", "/routes/digits")).json() == route


async def test_models_show_state_and_reason_for_each_version_and_worker(house: House, workers: Pair) -> None:
    model = (await house.call("GET", "/models/digits")).json()
    assert [(v["version"], v["state"], v["weight"]) for v in model["versions"]] == [
        (1, "READY", 100),
        (2, "READY", 0),
        (3, "UNAVAILABLE", 0),
    ]
    assert model["versions"][2]["reason"] == "not an ONNX file"
    assert model["versions"][0]["workers"] == [{"worker": n, "state": "READY", "reason": ""} for n in (0, 1)]
    listed = (await house.call("GET", "/models")).json()
    assert listed["models"] == [model]
    status = (await house.call("GET", "/status")).json()
    assert [(w["worker"], w["applied"], w["live"]) for w in status["workers"]] == [
        (0, status["revision"], True),
        (1, status["revision"], True),
    ]


async def test_content_that_kills_three_workers_is_quarantined_also_after_a_restart(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        await InventoryLink(house.http, TOKEN).report(snapshot(READY, READY))
        await house.put(90, 10)
        link = SupervisorLink(house.http, TOKEN)
        for number in (1, 2):
            await link.exchange(SuperviseReport((), (death(number),)))
            await link.exchange(SuperviseReport((), (death(number),)))  # told twice, counted once
        assert house.controller.table.routes["digits"].variants[1].weight_ppm == 100_000
    async with a_house(tmp_path) as house:
        await InventoryLink(house.http, TOKEN).report(snapshot(READY, READY))
        house.clock[0] += 30
        await SupervisorLink(house.http, TOKEN).exchange(SuperviseReport((), (death(2), death(3))))
        route = (await house.call("GET", "/routes/digits")).json()
        assert [variant["weight"] for variant in route["variants"]] == [100, 0]
        assert sorted(house.controller.table.wanted["digits"]) == [1]
        assert (await house.kinds())[-2:] == ["worker.died", "version.quarantined"]
        refused = await house.put(90, 10)
        assert "in quarantine (killed 3 workers in 60 s, last by SIGSEGV)" in refused.json()["error"]
    async with a_house(tmp_path) as house:
        await InventoryLink(house.http, TOKEN).report(snapshot(READY, READY))
        model = (await house.call("GET", "/models/digits")).json()
        assert model["versions"][1]["reason"] == "quarantined: killed 3 workers in 60 s, last by SIGSEGV"
        assert (await house.call("POST", "/models/digits/versions/2/load")).status_code == 200
        assert sorted(house.controller.table.wanted["digits"]) == [1, 2]


async def test_deaths_far_apart_or_by_the_wrong_signal_quarantine_nothing(house: House) -> None:
    link = SupervisorLink(house.http, TOKEN)
    for number in range(6):
        house.clock[0] += 31
        await link.exchange(SuperviseReport((), (death(number), replace(death(number + 50), signal="SIGKILL"))))
    assert sorted(house.controller.table.wanted["digits"]) == [1, 2]


def death(number: int) -> Death:
    return Death(0, f"dead-{number}", "SIGSEGV", Blame("digits", 2, "d2"))


async def test_the_inventory_hears_of_a_rescan_and_its_answer_is_known(house: House) -> None:
    link = InventoryLink(house.http, TOKEN)
    await link.command(0)
    pending = asyncio.ensure_future(link.command(5))
    await asyncio.sleep(0.02)
    asked = (await house.call("POST", "/models/rescan")).json()
    command = await pending
    assert (command.rescan, command.sequence) == (True, asked["sequence"])
    assert (await link.command(0)).rescan is False


async def test_a_pushed_version_is_found_by_loading_it(house: House, workers: Pair) -> None:
    link = InventoryLink(house.http, TOKEN)
    seen = [snapshot(READY, READY, BROKEN, sequence=0)]

    def rescan(number: int) -> None:
        seen[0] = snapshot(READY, READY, BROKEN, READY, sequence=number)
        link.changed()

    await link.report(seen[0])
    task = asyncio.ensure_future(link.run(lambda: seen[0], rescan))
    assert (await house.call("POST", "/models/digits/versions/4/load")).status_code == 200
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_snapshot_that_still_holds_is_not_told_and_gone_through_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconciled: list[int] = []
    posted: list[bytes] = []

    def counted(state: State, *rest: Any) -> Change:
        reconciled.append(state.table.revision)
        return reconcile(state, *rest)

    async def seen(request: httpx.Request) -> None:
        posted.append(request.content)

    monkeypatch.setattr("router.controller.reconcile", counted)
    house.http.event_hooks["request"].append(seen)
    link, report = InventoryLink(house.http, TOKEN), snapshot(READY, READY, BROKEN)
    for _ in range(3):
        await link.tell(report)
    assert (len(reconciled), [b"models" in body for body in posted]) == (1, [True, False, False])
    assert (await house.put(90, 10)).status_code == 200
    await link.tell(report)  # what follows from it may be another thing now
    assert len(reconciled) == 2
    await InventoryLink(house.http, TOKEN).report(snapshot(READY))
    posted.clear()
    await link.tell(report)  # somebody else's is held
    assert [b"models" in body for body in posted] == [False, True]
    assert len(house.controller.inventory.models["digits"].versions) == 3


async def test_the_next_controller_is_told_the_whole_snapshot(tmp_path: Path) -> None:
    report = snapshot(READY, READY)
    async with a_house(tmp_path) as first:
        link = InventoryLink(first.http, TOKEN)
        await link.tell(report)
        await link.tell(report)
    async with a_house(tmp_path) as second:
        link._line = InventoryLink(second.http, TOKEN)._line
        await link.tell(report)
        assert second.controller.inventory.models == report.models


async def test_the_short_list_of_models_says_what_the_long_one_says(house: House, workers: Pair) -> None:
    short = (await CommandLink(house.http, "ann", TOKEN).index())["models"]
    long = (await house.call("GET", "/models")).json()["models"]
    kept = "version", "state", "reason"
    assert short == [
        {
            "name": model["name"],
            "error": model["error"],
            "versions": [{name: version[name] for name in kept} for version in model["versions"]],
        }
        for model in long
    ]
    assert [version["state"] for version in short[0]["versions"]] == ["READY", "READY", "UNAVAILABLE"]


async def test_reports_of_many_versions_come_seldom(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def gather(versions: int) -> float:
        asked.append(versions)
        return 0.0

    monkeypatch.setattr("router.follower.gather_seconds", gather)
    async with a_worker(house) as worker:
        await until(lambda: worker.follower.applied > 0)
        worker.held["many"] = {number: WorkerVersion(READY) for number in range(1, 501)}
        worker.follower.states_changed()
        await until(lambda: len(asked) > 0 and asked[-1] >= 500)


@pytest.mark.parametrize("path", ["follow", "inventory", "inventory/still", "supervise", "inventory/commands", "index"])
@pytest.mark.parametrize("token", ["", "let-me-i", "let-me-in ", "é"])
async def test_internal_calls_need_the_token(house: House, path: str, token: str) -> None:
    method = "GET" if path.endswith(("commands", "index")) else "POST"
    headers = {b"serin-token": token.encode()}
    answer = await house.http.request(method, f"/internal/v1/{path}", content=b"{}", headers=headers)
    assert answer.status_code in (400, 401)
    assert answer.json()["code"] in ("UNAUTHENTICATED", "INVALID_ARGUMENT")
    if token != "let-me-in ":
        assert answer.status_code == 401


async def test_a_wrong_token_is_told_to_the_caller(house: House) -> None:
    with pytest.raises(Unauthenticated):
        await InventoryLink(house.http, "wrong").report(snapshot(READY))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8002"}, 200),
        ({"Host": "127.0.0.1"}, 200),
        ({"Host": "[::1]:8002"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:8002"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "localhost@evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost:8002", "Origin": "http://localhost:8002"}, 200),
        ({"Host": "localhost:8002", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost:8002", "Origin": "null"}, 403),
        ({"Host": "localhost:8002", "Origin": "http://localhost:3000"}, 403),
    ],
)
async def test_foreign_names_and_origins_are_refused(house: House, headers: dict[str, str], status: int) -> None:
    answer = await house.http.get("/api/v1/status", headers=headers)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


async def test_bodies_are_bounded_declared_or_not(house: House) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    for content in (b" " * (2 << 20), chunks()):
        headers = {"Content-Type": "application/json"}
        answer = await house.http.put("/api/v1/routes/digits", content=content, headers=headers)
        assert answer.status_code == 413


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip"])
async def test_packed_bodies_are_refused_rather_than_taken_for_something_else(house: House, coding: str) -> None:
    for ask in (house.http.put, house.http.post):
        answer = await ask("/api/v1/models/digits/rollout", content=b"{}", headers={"Content-Encoding": coding})
        assert answer.status_code == 415
        assert set(answer.json()) == {"error", "code", "request_id"}


@pytest.mark.parametrize("path", ["/api/v1/routes/", "/api/v1/models/digits/", "/metrics/", "//api/v1/routes"])
async def test_a_path_that_is_none_leads_nowhere(house: House, path: str) -> None:
    answer = await house.http.get(path, follow_redirects=False)
    assert answer.status_code == 404
    assert "location" not in answer.headers


@pytest.mark.parametrize("number", [2**63, 10**30, "-1", "x"])
@pytest.mark.parametrize("path", ["events", "events/stream"])
async def test_numbers_that_no_event_has_are_refused(house: House, path: str, number: Any) -> None:
    answer = await house.http.get(f"/api/v1/{path}?after={number}")
    assert answer.status_code == 400


@pytest.mark.parametrize("number", ["\u00b2", "9" * 5000, "9" * 30, "1_0"])
async def test_tags_that_are_no_number_of_ours_match_nothing(house: House, number: str) -> None:
    headers = {"If-Match": f'"{number}"'.encode("latin-1")}
    body = {"variants": [{"version": 1, "weight": 100}]}
    assert (await house.http.put("/api/v1/routes/digits", json=body, headers=headers)).status_code == 412


@pytest.mark.parametrize("version", ["01", "+1", "1_0", "1.0", "%201", "%D9%A1", "0", "-1", "9" * 19])
async def test_versions_that_nobody_writes_so_are_refused(house: House, version: str) -> None:
    assert (await house.http.post(f"/api/v1/models/digits/versions/{version}/load")).status_code == 400


async def test_a_body_of_many_members_is_refused_with_one_reason(house: House) -> None:
    many = {f"k{number}": 1 for number in range(50_000)}
    for method, path in (("PUT", "routes/digits"), ("PATCH", "routes/digits"), ("POST", "models/digits/load")):
        answer = await house.http.request(method, f"/api/v1/{path}", json=many)
        assert answer.status_code == 400
        assert "50000 members" in answer.json()["error"]
        assert "more)" not in answer.json()["error"]


async def test_probes_metrics_and_the_openapi_page_answer(house: House) -> None:
    assert (await house.http.get("/healthz")).json() == {"live": True}
    assert (await house.http.get("/readyz")).json() == {"ready": True}
    assert (await house.http.get("/metrics")).text == "serin_up 1\n"
    schema = (await house.http.get("/api/v1/openapi.json")).json()
    assert "/api/v1/routes/{model}" in schema["paths"]
    assert not any(path.startswith("/internal") for path in schema["paths"])
    assert "first look at version 2" in json.dumps(schema)


async def test_a_full_disk_refuses_the_change_keeps_the_state_and_recovers(tmp_path: Path) -> None:
    from sqlalchemy.exc import OperationalError

    full = [False]

    def fault(point: str) -> None:
        if full[0] and point == "commit.before":
            raise OperationalError("COMMIT", None, Exception("database or disk is full"))

    async with a_house(tmp_path, fault=fault) as house:
        await InventoryLink(house.http, TOKEN).report(snapshot(READY, READY))
        before, full[0] = house.controller.table, True
        answer = await house.put(90, 10)
        assert answer.status_code == 503
        assert "disk is full" in answer.json()["error"]
        assert house.controller.table == before
        full[0] = False
        assert (await house.put(90, 10)).status_code == 200


async def test_a_failure_after_the_commit_leaves_memory_as_the_disk_is(tmp_path: Path) -> None:
    failing = [False]

    def fault(point: str) -> None:
        if failing[0] and point == "commit.after":
            failing[0] = False
            raise Unavailable("stopped after the commit")

    async with a_house(tmp_path, fault=fault) as house:
        await InventoryLink(house.http, TOKEN).report(snapshot(READY, READY))
        failing[0] = True
        assert (await house.put(90, 10)).status_code == 503
        assert len(house.controller.table.routes["digits"].variants) == 2
        assert (await house.put(80, 20)).status_code == 200


async def test_a_new_worker_gets_its_first_table_and_none_without_a_controller(house: House) -> None:
    follower = Follower(house.http, TOKEN, Identity(0, "w", 1), dict)
    assert await follower.initial_table(1.0) == house.controller.table
    async with httpx.AsyncClient(transport=httpx.MockTransport(_refuse), base_url=URL) as nobody:
        alone = Follower(nobody, TOKEN, Identity(0, "w", 1), dict)
        assert await alone.initial_table(0.12) is None


async def test_trouble_is_told_once_when_it_has_lasted_and_when_it_ends() -> None:
    told: list[str] = []
    patient, hasty = Pause(told.append, 60.0), Pause(told.append, 0.0)
    for pause in (patient, hasty):
        for _ in range(2):
            await pause.after(Unavailable("away"))
        pause.over()
    assert told == ["away", ""]


def _empty(directory: Path) -> None:
    for part in directory.iterdir():
        part.unlink()


def _refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


@dataclass
class Answering:
    """Hands blocking calls of the command line's client to the app in the test's loop."""

    house: House
    loop: asyncio.AbstractEventLoop

    def __call__(self, request: httpx.Request) -> httpx.Response:
        sent = self.house.http.request(
            request.method, str(request.url), content=request.read(), headers=request.headers
        )
        answer = asyncio.run_coroutine_threadsafe(sent, self.loop).result(10)
        return httpx.Response(answer.status_code, content=answer.content, headers={"content-type": "application/json"})


async def test_the_command_lines_client_says_what_the_server_says(house: House, workers: Pair) -> None:
    answering = Answering(house, asyncio.get_running_loop())
    client = AdminClient(httpx.Client(transport=httpx.MockTransport(answering), base_url=URL), "ann")
    call = asyncio.to_thread
    shares = {"variants": [{"version": 1, "weight": 90}, {"version": 2, "weight": 10}]}
    assert (await call(client.set_route, "digits", shares))["applied"] == 2
    assert (await call(client.route, "digits"))["variants"][1]["weight"] == 10
    assert [model["name"] for model in (await call(client.models))["models"]] == ["digits"]
    assert (await call(client.events, None, 1))["events"][0]["actor"] == "ann"
    with pytest.raises(Conflict):
        await call(client.set_route, "digits", shares, 1)
    with pytest.raises(NotFound, match="there is no model 'nothing'"):
        await call(client.model, "nothing")


def test_the_command_lines_client_names_the_way_out_when_nobody_answers() -> None:
    client = AdminClient(httpx.Client(transport=httpx.MockTransport(_refuse), base_url="http://127.0.0.1:1"))
    with pytest.raises(SerinError) as refused:
        client.models()
    assert isinstance(refused.value, Unavailable)
    assert "is `serin serve` running?" in refused.value.message
    assert "--admin-url or SERIN_ADMIN_URL" in refused.value.message
