from dataclasses import replace

import pytest

from router.reports import InventoryModel, InventoryReport, VersionState
from router.routes import PPM, RouteTable, Wanted
from router.state import Quarantine, State
from router.wanted import reconcile
from tests.unit.router.world import ANN, BROKEN, LOADING, READY, found, inventory, route, state, wanted

UNKNOWN = VersionState.UNKNOWN


def table(change: object) -> RouteTable:
    return change.state.table  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(
    ("seen", "first"),
    [
        (inventory(READY, READY, READY), 3),
        (inventory(READY, READY, READY, default=1), 1),
        (inventory(READY, READY, BROKEN), 2),
        (inventory(READY, READY, LOADING), None),
        (inventory(READY, UNKNOWN, READY), None),
        (inventory(BROKEN, READY, default=1), None),
        (inventory(READY, LOADING, default=1), 1),
        (inventory(BROKEN), None),
        (inventory(READY, default=7), None),
        (inventory(), None),
    ],
)
def test_a_model_starts_on_its_default_else_on_the_newest_ready_version(
    seen: InventoryReport, first: int | None
) -> None:
    change = reconcile(State(), seen, ANN)
    routes = table(change).routes
    assert [variant.version for route in routes.values() for variant in route.variants] == ([first] if first else [])
    assert [event.kind == "route.first" for event in change.events].count(True) == (first is not None)


def test_the_first_route_and_what_is_wanted_are_one_revision() -> None:
    change = reconcile(State(), inventory(READY, READY), ANN)
    assert (table(change).revision, table(change).routes["digits"].revision, table(change).scanned) == (1, 1, True)
    assert [event.kind for event in change.events] == ["versions.wanted", "route.first"]


def test_a_later_version_gets_memory_and_no_weight() -> None:
    change = reconcile(state(route(PPM), 1), inventory(READY, READY), ANN)
    assert table(change).wanted == wanted(1, 2)
    assert table(change).routes == state().table.routes


def test_nothing_new_changes_nothing() -> None:
    before = state()
    change = reconcile(before, inventory(READY, READY, READY), ANN)
    assert change.state == before
    assert not change.events


@pytest.mark.parametrize(("new", "expected"), [(READY, "new"), (LOADING, "d1"), (BROKEN, "d1"), (UNKNOWN, "d1")])
def test_changed_content_is_taken_only_when_it_is_ready(new: VersionState, expected: str) -> None:
    seen = InventoryReport("i", {"digits": InventoryModel(None, None, {1: found(1, new, digest="new")})}, True)
    assert table(reconcile(state(route(PPM), 1), seen, ANN)).wanted["digits"][1].digest == expected


@pytest.mark.parametrize(
    ("version", "scanned", "stays"), [(1, True, True), (2, True, False), (1, False, True), (2, False, True)]
)
def test_vanished_files_are_dropped_only_when_surely_gone_and_not_routed(
    version: int, scanned: bool, stays: bool
) -> None:
    seen = InventoryReport("i", {}, scanned)
    kept = table(reconcile(state(route(PPM), version), seen, ANN)).wanted
    assert kept == (wanted(version) if stays else {})


def test_a_model_whose_settings_broke_keeps_its_versions() -> None:
    seen = InventoryReport("i", {"digits": InventoryModel(error="model.toml: line 3")}, True)
    assert table(reconcile(state(), seen, ANN)).wanted == wanted(1, 2, 3)


def test_content_that_fails_now_stays_only_where_it_is_routed() -> None:
    assert table(reconcile(state(route(PPM), 1, 2), inventory(BROKEN, BROKEN), ANN)).wanted == wanted(1)


def test_a_version_that_settings_leave_out_is_not_wanted_unless_routed() -> None:
    versions = {1: found(1, wanted=False), 2: found(2, wanted=False)}
    seen = InventoryReport("i", {"digits": InventoryModel(None, None, versions)}, True)
    assert table(reconcile(state(route(PPM), 1, 2), seen, ANN)).wanted == wanted(1)


def test_unloaded_and_quarantined_content_is_not_wanted() -> None:
    held = replace(
        state(route(PPM), 1),
        unloaded=frozenset({("digits", 2)}),
        quarantined={"d3": Quarantine("d3", "digits", 3, "killed")},
    )
    assert table(reconcile(held, inventory(READY, READY, READY), ANN)).wanted == wanted(1)


def test_better_content_under_a_quarantined_number_is_wanted() -> None:
    held = replace(state(route(PPM), 1), quarantined={"old": Quarantine("old", "digits", 2, "killed")})
    assert table(reconcile(held, inventory(READY, READY), ANN)).wanted["digits"][2] == Wanted("d2", "s2")


def test_an_unloaded_version_is_forgotten_when_its_files_are_gone() -> None:
    held = replace(state(route(PPM), 1), unloaded=frozenset({("digits", 1), ("digits", 9)}))
    assert reconcile(held, inventory(READY), ANN).state.unloaded == {("digits", 1)}
