"""What a load waits for before it says what cannot be loaded."""

import pytest

from router.commands import Load
from router.obstacles import is_examined
from router.readiness import Sight
from router.reports import InventoryModel, InventoryReport, InventoryVersion, VersionState
from router.routes import RouteTable, Wanted
from router.state import State


def sight(state: VersionState, *, held: bool = False, sequence: int = 0, wanted: bool = True) -> Sight:
    table = RouteTable(wanted={"digits": {1: Wanted("d", "s")}} if held else {})
    models = {"digits": InventoryModel(versions={1: InventoryVersion(state, wanted=wanted)})}
    return Sight(State(table), InventoryReport("i", models, True, sequence), ())


@pytest.mark.parametrize("state", [VersionState.LOADING, VersionState.UNKNOWN])
@pytest.mark.parametrize("version", [None, 1])
def test_files_that_are_still_being_written_are_waited_for(state: VersionState, version: int | None) -> None:
    assert not is_examined(Load("digits", version), sight(state, held=True, sequence=9), 3)
    assert is_examined(Load("digits", version), sight(state, held=True, sequence=9, wanted=False), 3)


def test_a_verdict_from_before_the_command_is_not_the_last_word_where_nothing_can_be_loaded() -> None:
    assert not is_examined(Load("digits"), sight(VersionState.UNAVAILABLE, sequence=2), 3)
    assert is_examined(Load("digits"), sight(VersionState.UNAVAILABLE, sequence=3), 3)


def test_what_is_known_to_load_waits_for_no_look_at_the_disk() -> None:
    assert is_examined(Load("digits"), sight(VersionState.READY, held=True, sequence=2), 3)
