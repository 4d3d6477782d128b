from dataclasses import replace

import pytest

from router.commands import (
    Load,
    Match,
    PatchRoute,
    RestoreRoute,
    SetRoute,
    Share,
    Unload,
    decide,
    proposed,
    versions_to_check,
)
from router.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound
from router.routes import PPM, KeySource, Route, Rule, Variant
from router.state import Quarantine, State
from tests.unit.router.world import ANN, READY, inventory, route, sight, state, wanted


def shares(*weights: int) -> tuple[Share, ...]:
    return tuple(Share(str(n), weight) for n, weight in enumerate(weights, 1))


def test_setting_weights_records_one_revision_a_new_epoch_and_one_event() -> None:
    change = decide(SetRoute("digits", shares(900_000, 100_000)), sight(), ANN)
    new = change.state.table.routes["digits"]
    assert (change.state.table.revision, new.revision, new.epoch) == (6, 6, 3)
    assert [variant.weight_ppm for variant in new.variants] == [900_000, 100_000]
    (event,) = change.events
    assert (event.kind, event.model, event.who) == ("route.set", "digits", ANN)
    assert [variant["weight"] for variant in event.before["variants"]] == [100]
    assert [variant["weight"] for variant in event.after["variants"]] == [90, 10]


def test_setting_what_is_recorded_changes_nothing() -> None:
    before = state()
    assert decide(SetRoute("digits", shares(PPM)), sight(before), ANN).state is before


def test_absent_fields_keep_what_is_recorded_and_present_ones_replace_it() -> None:
    old = route(PPM, salt="s", key=KeySource(cookie="c"), rules=(Rule("x", "1"),), aliases={"a": 1})
    kept = proposed(SetRoute("digits", shares(PPM)), sight(state(old)))
    assert replace(kept, revision=5, epoch=2) == old
    new = proposed(SetRoute("digits", shares(PPM), KeySource(), "t", (), {"b": 2}), sight(state(old)))
    assert (new.key, new.salt, new.rules, new.aliases) == (KeySource(), "t", (), {"b": 2})


def test_an_alias_names_a_share_also_one_that_the_same_command_brings() -> None:
    command = SetRoute("digits", (Share("stable", PPM),), aliases={"stable": 2})
    assert proposed(command, sight()).variants == (Variant("stable", 2, PPM),)


@pytest.mark.parametrize(
    ("match", "refused"),
    [
        (Match(), False),
        (Match(frozenset({5})), False),
        (Match(frozenset({3, 5})), False),
        (Match(frozenset({4})), True),
        (Match(frozenset()), True),
        (Match(must_exist=True), False),
        (Match(must_be_absent=True), True),
    ],
)
def test_a_route_is_changed_only_on_the_callers_condition(match: Match, refused: bool) -> None:
    command = SetRoute("digits", shares(0, PPM), match=match)
    if not refused:
        proposed(command, sight())
        return
    with pytest.raises(Conflict):
        proposed(command, sight())


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (SetRoute("nothing", shares(PPM)), NotFound),
        (SetRoute("digits", (Share("champion", PPM),)), NotFound),
        (SetRoute("digits", shares(PPM, 1)), InvalidArgument),
        (SetRoute("digits", ()), InvalidArgument),
        (PatchRoute("digits", rules=(Rule("x", "7"),)), InvalidArgument),
        (Unload("nothing"), NotFound),
        (Unload("digits", 9), NotFound),
        (Load("digits", 9), NotFound),
        (Unload("digits", 1), FailedPrecondition),
    ],
)
def test_what_cannot_be_is_refused(command: SetRoute | PatchRoute | Load | Unload, error: type[Exception]) -> None:
    with pytest.raises(error):
        decide(command, sight(), ANN)


def test_aliases_are_moved_and_taken_away_without_a_new_epoch() -> None:
    old = route(PPM, aliases={"a": 1, "b": 1})
    new = decide(PatchRoute("digits", {"a": 2, "b": None, "c": 3}), sight(state(old)), ANN).state.table.routes["digits"]
    assert (new.aliases, new.epoch, new.variants) == ({"a": 2, "c": 3}, 2, old.variants)


def test_all_weighted_versions_are_checked_and_only_new_names_without_weight() -> None:
    old = route(900_000, 100_000, aliases={"canary": 2})
    assert versions_to_check(old, route(PPM, 0, aliases={"canary": 2})) == (1,)
    assert versions_to_check(old, route(800_000, 200_000)) == (1, 2)
    assert versions_to_check(old, route(PPM, 0, aliases={"canary": 3})) == (1, 3)
    assert versions_to_check(old, route(PPM, 0, 0)) == (1, 3)
    assert versions_to_check(old, route(PPM, 0, rules=(Rule("x", "2"),))) == (1, 2)
    assert versions_to_check(None, Route("digits", (Variant("b", 2, PPM),))) == (2,)


def test_a_refused_route_goes_back_to_the_old_one_under_a_new_revision() -> None:
    old = route(PPM)
    first = decide(SetRoute("digits", shares(0, PPM)), sight(state(old)), ANN).state
    back = decide(RestoreRoute("digits", old, first.table.routes["digits"]), sight(first), ANN)
    restored = back.state.table.routes["digits"]
    assert (restored.variants, restored.revision, restored.epoch) == (old.variants, 7, 4)
    assert back.events[0].kind == "route.restored"


def test_a_first_route_that_is_refused_is_taken_away() -> None:
    bare = State(replace(state().table, routes={}))
    first = decide(SetRoute("digits", shares(PPM)), sight(bare), ANN).state
    back = decide(RestoreRoute("digits", None, first.table.routes["digits"]), sight(first), ANN)
    assert back.state.table.routes == {}
    assert back.state.table.revision == 7


def test_a_route_that_was_decided_anew_is_not_put_back() -> None:
    first = decide(SetRoute("digits", shares(0, PPM)), sight(), ANN).state
    second = decide(SetRoute("digits", shares(500_000, 500_000)), sight(first), ANN).state
    assert decide(RestoreRoute("digits", route(PPM), first.table.routes["digits"]), sight(second), ANN).state is second


def test_an_unloaded_version_is_remembered_and_loaded_again_by_command_only() -> None:
    out = decide(Unload("digits", 3), sight(), ANN)
    assert out.state.table.wanted == wanted(1, 2)
    assert out.state.unloaded == {("digits", 3)}
    assert [event.kind for event in out.events] == ["version.unload"]
    back = decide(Load("digits", 3), sight(out.state), ANN)
    assert back.state.table.wanted == wanted(1, 2, 3)
    assert back.state.unloaded == frozenset()
    assert back.state.table.revision == 7


def test_a_whole_model_is_unloaded_whatever_its_route_says_and_keeps_the_route() -> None:
    out = decide(Unload("digits"), sight(), ANN)
    assert out.state.table.wanted == {}
    assert out.state.table.routes == state().table.routes


def test_loading_lifts_the_quarantine() -> None:
    held = replace(state(None, 1, 2), quarantined={"d3": Quarantine("d3", "digits", 3, "killed")})
    back = decide(Load("digits", 3), sight(held, inventory(READY, READY, READY)), ANN)
    assert back.state.quarantined == {}
    assert 3 in back.state.table.wanted["digits"]
