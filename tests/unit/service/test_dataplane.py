"""Whom plain requests are given to: the same by memory as by reckoning."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from router.counters import Segment
from router.routes import PPM, Route, RouteTable, Variant
from router.split import choose
from router.telemetry import DRAWN_ONE_IN, ROUND_BITS, How, Recorder
from service.bound import MOST_KEY_BYTES, MOST_PICKS, BoundRoute
from service.dataplane import Dataplane

ROUTE = Route("digits", (Variant("1", 1, 700_000), Variant("2", 2, PPM - 700_000)))
KEYS = [f"user-{number}".encode() for number in range(300)]
ROUND_NS = 1 << ROUND_BITS


def loaded() -> Any:
    return SimpleNamespace(watch=SimpleNamespace(families=()), batcher=object(), recall=lambda: None)


class Engine:
    def __init__(self) -> None:
        self.changes = 0
        self.ready = {1: loaded(), 2: loaded()}

    def peek(self, model: str, version: int) -> Any:
        return self.ready.get(version)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def dataplane(engine: Engine, tmp_path: Path) -> Iterator[Dataplane]:
    segment = Segment.open(tmp_path, 0)
    made = Dataplane(engine, Recorder(segment, checks_itself=True))  # type: ignore[arg-type]
    made.swap(RouteTable(routes={"digits": ROUTE}))
    yield made
    segment.close()


def bound(dataplane: Dataplane) -> BoundRoute:
    found = dataplane.plain_route("digits")
    assert found is not None
    return found


def keyed(key: bytes) -> dict[bytes, bytes]:
    return {b"serin-routing-key": key}


def test_a_key_gets_its_variant_the_first_time_and_every_other(dataplane: Dataplane) -> None:
    for _ in range(2):
        for key in KEYS:
            pick = dataplane.pick(bound(dataplane), keyed(key), 0)
            assert (pick.arm.variant, pick.how, pick.key) == (choose(ROUTE, key, 0.0), How.SPLIT_KEYED, key)


def test_the_same_callers_are_drawn_in_a_round_of_the_self_check_and_others_in_the_next(dataplane: Dataplane) -> None:
    def drawn(now_ns: int) -> set[bytes]:
        picks = [dataplane.pick(bound(dataplane), keyed(key), now_ns) for key in KEYS]
        return {pick.key for pick in picks if pick.key is not None and pick.twice is not None}

    first, later, following = drawn(0), drawn(ROUND_NS - 1), drawn(ROUND_NS)
    assert first == later != following
    virtual = dataplane.pick(bound(dataplane), keyed(KEYS[0]), 0).arm.virtual
    main = {key for key in KEYS if choose(ROUTE, key, 0.0).name == "1"}
    assert virtual is None or following == {key for key in main if virtual.takes(key, ROUND_NS)}


def test_without_a_key_each_request_is_drawn_anew(dataplane: Dataplane) -> None:
    picks = [dataplane.pick(bound(dataplane), {}, 0) for _ in range(4000)]
    shares = Counter(pick.arm.variant.name for pick in picks)
    assert 2600 < shares["1"] < 3000
    assert {pick.how for pick in picks} == {How.SPLIT_DRAWN}
    twice = sum(pick.twice is not None for pick in picks)
    assert 0.5 < twice / shares["1"] * DRAWN_ONE_IN < 1.5


def test_an_only_variant_gets_all_and_its_part_of_them_is_drawn(dataplane: Dataplane, engine: Engine) -> None:
    dataplane.swap(RouteTable(routes={"digits": Route("digits", (Variant("2", 2, PPM),))}))
    picks = [dataplane.pick(bound(dataplane), {}, 0) for _ in range(2000)]
    assert {pick.arm.variant.name for pick in picks} == {"2"}
    assert 0.5 < sum(pick.twice is not None for pick in picks) / 2000 * DRAWN_ONE_IN < 1.5
    engine.ready[2] = loaded()
    engine.changes += 1
    assert dataplane.pick(bound(dataplane), {}, 0).arm.loaded is engine.ready[2]


def test_what_was_loaded_anew_is_found_though_the_key_is_known(dataplane: Dataplane, engine: Engine) -> None:
    before = dataplane.pick(bound(dataplane), keyed(KEYS[0]), 0)
    engine.ready[before.arm.variant.version] = loaded()
    engine.changes += 1
    after = dataplane.pick(bound(dataplane), keyed(KEYS[0]), 0)
    assert (before.arm.loaded is after.arm.loaded, after.arm.variant) == (False, before.arm.variant)
    assert after.arm.loaded is engine.peek("digits", after.arm.variant.version)


def test_another_split_forgets_what_the_last_one_chose(dataplane: Dataplane) -> None:
    one = next(key for key in KEYS if choose(ROUTE, key, 0.0).name == "1")
    dataplane.pick(bound(dataplane), keyed(one), 0)
    only = Route("digits", (Variant("1", 1, 0), Variant("2", 2, PPM)), epoch=1)
    dataplane.swap(RouteTable(routes={"digits": only}))
    assert dataplane.pick(bound(dataplane), keyed(one), 0).arm.variant.name == "2"


async def test_routes_of_many_new_models_are_bound_between_requests(
    dataplane: Dataplane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.dataplane.TURN_NS", 0)
    many = {name: Route(name, (Variant("1", 1, PPM),)) for name in map("m{}".format, range(20))}
    table, turns = RouteTable(revision=2, routes={"digits": ROUTE, **many}), 0
    known = bound(dataplane)
    preparing = asyncio.ensure_future(dataplane.prepare(table))
    while not preparing.done():
        await asyncio.sleep(0)
        turns += 1
        assert dataplane.plain_route("m1") is None
        assert dataplane.table.revision == 0
    assert turns >= 20
    binding: list[Route] = []
    monkeypatch.setattr(dataplane, "_bind", lambda route, before: binding.append(route))
    dataplane.swap(table, preparing.result())
    assert binding == []
    assert bound(dataplane) is known
    assert all(dataplane.expect(name).route is route for name, route in many.items())


async def test_what_was_prepared_for_another_route_is_bound_anew(dataplane: Dataplane) -> None:
    prepared = await dataplane.prepare(RouteTable(routes={"m": Route("m", (Variant("1", 1, PPM),))}))
    route = Route("m", (Variant("2", 2, PPM),))
    dataplane.swap(RouteTable(routes={"m": route}), prepared)
    assert dataplane.expect("m").route == route
    assert dataplane.pick(dataplane.expect("m"), {}, 0).arm.variant.version == 2


def test_memory_is_bounded_whatever_keys_are_sent(dataplane: Dataplane) -> None:
    for number in range(MOST_PICKS + 10):
        dataplane.pick(bound(dataplane), keyed(b"%d" % number), 0)
    dataplane.pick(bound(dataplane), keyed(b"x" * (MOST_KEY_BYTES + 1)), 0)
    assert len(bound(dataplane).picks.by_key) == 10
