import asyncio
from dataclasses import replace
from typing import Any

import pytest

from router.bell import Bell
from router.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from router.remotes import FORGET_SECONDS, MAX_TARGETS, Prober, Remotes
from router.reports import InventoryReport, InventoryVersion, VersionState
from router.routes import PPM, Route, RouteTable, Variant, Wanted
from router.state import State
from router.targets import Target, parse_target
from router.upstreams import Signature, digest_of
from router.wanted import first_version, reconcile
from tests.unit.router.world import ANN, READY, inventory, state

OTHER = parse_target("other#digits")
KEY = ("digits", OTHER.number)
SIGNATURE: Signature = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
}
HERE = InventoryVersion(READY, digest=digest_of(OTHER, SIGNATURE), stamp="s", signature=SIGNATURE)
AWAY = InventoryVersion(VersionState.UNAVAILABLE, "cannot be reached", OTHER.digest())


def asked(*references: str) -> Remotes:
    remotes = Remotes(frozenset({"other"}))
    assert remotes.ask("digits", references or ("other#digits",), 0.0)
    return remotes


def routed() -> State:
    route = Route("digits", (Variant("other.digits", OTHER.number, PPM),))
    wanted = {"digits": {OTHER.number: Wanted(HERE.digest, "s")}}
    return State(RouteTable(3, {"digits": route}, wanted, True))


def test_what_is_asked_for_is_looked_at_before_it_is_there() -> None:
    remotes = asked()
    merged = remotes.merged(inventory(READY))
    assert merged.models["digits"].versions[OTHER.number].state is VersionState.LOADING
    assert remotes.has_news
    assert remotes.due(State(), 1.0) == {KEY: OTHER}


def test_a_table_without_any_is_gone_through_once() -> None:
    rounds: list[int] = []

    class Wanted(dict[str, Any]):
        def items(self) -> Any:
            rounds.append(1)
            return super().items()

    remotes, own = Remotes(frozenset({"other"})), State(RouteTable(1, wanted=Wanted()))
    assert [remotes.due(own, float(now)) for now in range(3)] == [{}, {}, {}]
    assert len(rounds) == 1
    remotes.due(replace(own, table=replace(own.table, revision=2)), 3.0)
    assert len(rounds) == 2


def test_versions_and_aliases_are_nothing_to_ask_for() -> None:
    assert not Remotes().ask("digits", ["1", "stable"], 0.0)


def test_only_upstreams_of_the_settings_are_asked() -> None:
    with pytest.raises(FailedPrecondition, match=r"no \[upstreams.evil\]; there are: other"):
        asked("evil#digits")
    with pytest.raises(InvalidArgument):
        asked("other#digits?x")
    with pytest.raises(InvalidArgument, match="model: must match"):
        Remotes(frozenset({"other"})).ask("../digits", ["other#digits"], 0.0)


def test_there_are_so_many_and_no_more() -> None:
    remotes = asked(*(f"other#digits/{number}" for number in range(MAX_TARGETS)))
    with pytest.raises(ResourceExhausted):
        remotes.ask("digits", ["other#digits"], 0.0)
    assert len(remotes.due(State(), 1.0)) == MAX_TARGETS


def test_what_answers_becomes_wanted_and_gets_no_traffic_by_that() -> None:
    remotes = asked()
    assert remotes.take(State(), {KEY: HERE})
    assert not remotes.take(State(), {KEY: HERE})
    merged = remotes.merged(inventory(READY))

    table = reconcile(State(), merged, ANN).state.table

    assert table.wanted["digits"][OTHER.number].digest == HERE.digest
    assert [variant.version for variant in table.routes["digits"].variants] == [1]


def test_a_model_that_is_only_elsewhere_waits_for_a_person() -> None:
    remotes = asked()
    remotes.take(State(), {KEY: HERE})
    merged = remotes.merged(InventoryReport("i", {}, True))
    assert first_version(merged.models["digits"], frozenset({OTHER.number}), frozenset(), "digits") is None
    assert reconcile(State(), merged, ANN).state.table.routes == {}


def test_one_that_is_away_stays_in_the_table_where_a_route_leads_to_it() -> None:
    remotes = Remotes(frozenset({"other"}))
    assert remotes.due(routed(), 0.0) == {KEY: OTHER}  # after a restart
    assert remotes.take(routed(), {KEY: AWAY})

    merged = remotes.merged(InventoryReport("i", {}, True))
    found = merged.models["digits"].versions[OTHER.number]

    assert (found.state, found.digest) == (VersionState.UNAVAILABLE, HERE.digest)
    assert reconcile(routed(), merged, ANN).state.table.wanted == routed().table.wanted


def test_one_that_comes_back_otherwise_is_other_content() -> None:
    changed = {**SIGNATURE, "outputs": [{"name": "z", "datatype": "FP32", "shape": [-1]}]}
    assert digest_of(OTHER, changed) != HERE.digest


def test_what_nobody_routes_to_is_forgotten_after_a_while() -> None:
    remotes = asked()
    assert remotes.due(state(), FORGET_SECONDS - 1) == {KEY: OTHER}
    assert remotes.due(state(), FORGET_SECONDS + 1) == {}
    assert remotes.merged(inventory(READY)) == inventory(READY)


def test_what_a_route_leads_to_is_not_forgotten() -> None:
    remotes = asked()
    assert remotes.due(routed(), FORGET_SECONDS * 100) == {KEY: OTHER}


def test_what_could_not_be_reached_is_tried_anew_when_asked_for_again() -> None:
    remotes = asked()
    remotes.take(State(), {KEY: AWAY})
    assert not remotes.has_news
    remotes.ask("digits", ["other#digits"], 1.0)
    assert remotes.has_news


class Controller:
    """What a prober needs of one."""

    def __init__(self, remotes: Remotes) -> None:
        self.bell, self.remotes, self.state, self.closing = Bell(), remotes, State(), False
        self.reports: list[InventoryReport] = []
        self.full = 0

    async def report_inventory(self, report: InventoryReport) -> None:
        if self.full > 0:
            self.full -= 1
            raise ResourceExhausted("the disk is full")
        self.reports.append(self.remotes.merged(report))


class Upstreams:
    """Answers with SIGNATURE, but for models called absent."""

    async def signature(self, target: Target) -> Signature:
        if target.model == "absent":
            raise Unavailable(f"{target} answers 404")
        return SIGNATURE


def test_the_prober_reports_what_is_new_and_only_that() -> None:
    controller = Controller(asked("other#digits", "other#absent"))
    prober = Prober(controller, Upstreams(), lambda: 1.0)  # type: ignore[arg-type]

    async def looks() -> None:
        await prober.look()
        await prober.look()

    asyncio.run(looks())

    [report] = controller.reports
    versions = report.models["digits"].versions
    assert versions[OTHER.number] == replace(HERE, stamp=HERE.digest)
    assert versions[parse_target("other#absent").number].reason == "other#absent answers 404"


def test_what_could_not_be_recorded_is_told_again() -> None:
    controller = Controller(asked())
    controller.full = 1
    prober = Prober(controller, Upstreams(), lambda: 1.0)  # type: ignore[arg-type]

    async def looks() -> None:
        with pytest.raises(ResourceExhausted):
            await prober.look()
        await prober.look()
        await prober.look()

    asyncio.run(looks())

    assert len(controller.reports) == 1
