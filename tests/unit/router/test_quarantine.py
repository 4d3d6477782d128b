from dataclasses import replace

import pytest

from router.quarantine import blames, crash_of, quarantine, record_death, signal_name
from router.reports import Blame, Death
from router.routes import PPM, Variant
from tests.unit.router.world import BROKEN, READY, inventory, route, sight, state

BLAME = Blame("digits", 2, "d2")
ALL = inventory(READY, READY, READY)


def weights(change: object) -> dict[str, int]:
    return {v.name: v.weight_ppm for v in change.state.table.routes["digits"].variants}  # type: ignore[attr-defined]


def test_the_weight_goes_to_the_largest_other_variant_and_the_content_is_not_wanted() -> None:
    change = quarantine(state(route(200_000, 300_000, 500_000)), ALL, BLAME, "killed 3")
    assert weights(change) == {"1": 200_000, "2": 0, "3": 800_000}
    assert sorted(change.state.table.wanted["digits"]) == [1, 3]
    assert change.state.table.revision == 6
    assert change.state.table.routes["digits"].revision == 6
    assert [event.kind for event in change.events] == ["version.quarantined"]


def test_the_weight_goes_to_stable_when_there_is_one() -> None:
    recorded = route(200_000, 300_000, 500_000, aliases={"stable": 1})
    assert weights(quarantine(state(recorded), ALL, BLAME, "x")) == {"1": 500_000, "2": 0, "3": 500_000}


def test_stable_takes_over_even_when_it_had_no_variant() -> None:
    recorded = replace(route(PPM, aliases={"stable": 1}), variants=(Variant("2", 2, PPM),))
    assert weights(quarantine(state(recorded), ALL, BLAME, "x")) == {"2": 0, "stable": PPM}


@pytest.mark.parametrize(
    ("recorded", "versions", "seen"),
    [
        (replace(route(PPM), variants=(Variant("2", 2, PPM),)), (2,), inventory(BROKEN, READY)),
        (replace(route(PPM), variants=(Variant("2", 2, PPM),)), (1, 2), inventory(BROKEN, READY)),
        (replace(route(PPM), variants=(Variant("2", 2, PPM),)), (1, 2), inventory(READY, READY)),
    ],
)
def test_a_version_that_nobody_can_replace_goes_on_and_is_only_noted(
    recorded: object, versions: tuple[int, ...], seen: object
) -> None:
    before = state(recorded, *versions)  # type: ignore[arg-type]
    change = quarantine(before, seen, BLAME, "killed 3")  # type: ignore[arg-type]
    assert change.state is before
    assert [event.kind for event in change.events] == ["version.crashing"]


def test_a_version_without_weight_is_taken_out_and_no_weight_moves() -> None:
    change = quarantine(state(route(PPM, 0)), ALL, BLAME, "x")
    assert weights(change) == {"1": PPM, "2": 0}
    assert change.state.table.routes == state(route(PPM, 0)).table.routes
    assert 2 not in change.state.table.wanted["digits"]


@pytest.mark.parametrize(
    ("signal", "out_of_memory", "counts"),
    [
        ("SIGSEGV", False, True),
        ("SIGABRT", False, True),
        ("SIGBUS", False, True),
        ("SIGFPE", False, True),
        ("SIGILL", False, True),
        (11, False, True),
        (-6, False, True),
        ("SIGKILL", False, False),
        ("SIGKILL", True, True),
        (9, True, True),
        ("SIGTERM", False, False),
        ("SIGINT", False, False),
        (None, False, False),
        (999, False, False),
    ],
)
def test_only_signals_of_native_code_and_proven_memory_kills_blame(
    signal: str | int | None, out_of_memory: bool, counts: bool
) -> None:
    death = Death(0, "w0", signal, BLAME, out_of_memory)
    assert blames(death) is counts
    assert (crash_of(death, 1.0) is not None) is counts


def test_a_death_with_nobody_to_blame_counts_against_nobody() -> None:
    assert not blames(Death(0, "w0", "SIGSEGV", None))


@pytest.mark.parametrize(
    ("signal", "name"), [(11, "SIGSEGV"), (-9, "SIGKILL"), ("SIGBUS", "SIGBUS"), (None, ""), (999, "signal 999")]
)
def test_signals_are_named(signal: str | int | None, name: str) -> None:
    assert signal_name(Death(0, "w0", signal)) == name


def test_every_death_is_in_the_history_and_the_last_one_too_many_quarantines() -> None:
    death = Death(3, "w3", "SIGSEGV", BLAME)
    crash = crash_of(death, 1.0)
    seen = sight(state(route(900_000, 100_000)))
    first = record_death(seen, death, crash, None)
    assert [event.kind for event in first.events] == ["worker.died"]
    assert first.crash == crash
    last = record_death(seen, death, crash, "killed 3 workers")
    assert [event.kind for event in last.events] == ["worker.died", "version.quarantined"]
    assert last.crash == crash
    assert "d2" in last.state.quarantined
