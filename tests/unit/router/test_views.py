from dataclasses import replace

import pytest

from router.reports import InventoryModel, InventoryReport, VersionState
from router.routes import RouteTable, Rule
from router.state import State
from router.views import model_document, overall, percent, route_document
from tests.unit.router.world import BROKEN, LOADING, READY, inventory, route, sight, state, worker

UNLOADING = VersionState.UNLOADING


@pytest.mark.parametrize(("ppm", "shown"), [(100_000, 10), (125_000, 12.5), (1, 0.0001), (0, 0)])
def test_weights_are_json_numbers_in_percent(ppm: int, shown: float) -> None:
    assert percent(ppm) == shown


def test_a_route_shows_its_salt_in_use_and_both_forms_of_weight() -> None:
    document = route_document(route(875_000, 125_000, rules=(Rule("x", "2"),), aliases={"stable": 1}))
    assert document["salt"] == "digits"
    assert document["variants"][1] == {"name": "2", "version": 2, "weight": 12.5, "weight_ppm": 125_000}


@pytest.mark.parametrize(
    ("held", "word"),
    [((READY, READY), READY), ((READY, LOADING), LOADING), ((READY, BROKEN), BROKEN), ((), LOADING)],
)
def test_one_word_stands_for_all_workers(held: tuple[VersionState, ...], word: VersionState) -> None:
    workers = [worker(slot, v2=one) for slot, one in enumerate(held)]
    assert overall(sight(None, None, *workers), "digits", 2)[0] is word


def test_an_unloaded_version_waits_for_its_requests_then_says_why_it_is_gone() -> None:
    out = replace(state(route(1_000_000), 1), unloaded=frozenset({("digits", 2)}))
    assert overall(sight(out, None, worker(0, v2=UNLOADING)), "digits", 2)[0] is UNLOADING
    assert overall(sight(out, None, worker(0)), "digits", 2) == (BROKEN, "unloaded")


def test_loaded_content_with_broken_or_lost_files_is_ready_and_says_so() -> None:
    broken = overall(sight(None, inventory(READY, BROKEN), worker(0, v2=READY)), "digits", 2)
    assert broken[0] is READY
    assert "unusable" in broken[1]
    gone = overall(sight(None, inventory(READY), worker(0, v2=READY)), "digits", 2)
    assert gone == (READY, "its files are gone; what is loaded serves on")


def test_a_model_shows_each_version_with_its_share_aliases_and_workers() -> None:
    recorded = state(route(900_000, 100_000, aliases={"canary": 2}))
    seen = sight(recorded, None, worker(0, v1=READY, v2=READY))
    document = model_document(seen, "digits")
    second = document["versions"][1]
    assert (second["version"], second["weight"], second["aliases"], second["variants"]) == (2, 10, ["canary"], ["2"])
    assert second["workers"] == [{"worker": 0, "state": "READY", "reason": ""}]


@pytest.mark.parametrize(
    ("model", "note"),
    [
        (InventoryModel(error="model.toml: line 3"), "model.toml: line 3"),
        (InventoryModel(default_version=7), "no route yet: default_version 7 is not there"),
        (InventoryModel(), "no route yet: no version is ready"),
    ],
)
def test_a_model_without_a_route_says_why(model: InventoryModel, note: str) -> None:
    seen = sight(State(RouteTable()), InventoryReport("i", {"digits": model}, True))
    assert model_document(seen, "digits")["note"] == note
