from dataclasses import replace

import pytest

from router.errors import NotFound
from router.fleet import Worker
from router.readiness import Answer, readiness
from router.reports import InventoryReport, VersionState, WorkerVersion
from router.state import Quarantine
from tests.unit.router.world import BROKEN, LOADING, READY, inventory, route, sight, state, worker


def test_ready_is_what_the_inventory_passed_and_every_live_worker_holds() -> None:
    assert readiness(sight(None, None, worker(0, v2=READY), worker(1, v2=READY)), "digits", 2).answer is Answer.READY


@pytest.mark.parametrize("held", [{}, {"v2": LOADING}])
def test_a_worker_that_loads_is_waited_for(held: dict[str, VersionState]) -> None:
    found = readiness(sight(None, None, worker(0, v2=READY), worker(1, **held)), "digits", 2)
    assert (found.answer, found.reason) == (Answer.PENDING, "digits:2 is loading in worker 1")


def test_a_worker_that_cannot_load_it_refuses_with_its_reason() -> None:
    found = readiness(sight(None, None, worker(0), worker(1, v2=BROKEN)), "digits", 2)
    assert (found.answer, found.reason) == (Answer.REFUSED, "digits:2 cannot be loaded by worker 1: why v2")


def test_a_failure_of_older_content_is_no_refusal() -> None:
    held = {"digits": {2: WorkerVersion(BROKEN, "old", "other")}}
    assert readiness(sight(None, None, replace(worker(), states=held)), "digits", 2).answer is Answer.PENDING


@pytest.mark.parametrize(("reason", "answer"), [("", Answer.PENDING), ("no memory", Answer.REFUSED)])
def test_older_content_that_serves_on_is_not_the_version_that_is_meant(reason: str, answer: Answer) -> None:
    held = {"digits": {2: WorkerVersion(READY, reason, "other")}}
    assert readiness(sight(None, None, replace(worker(), states=held)), "digits", 2).answer is answer


def test_a_worker_that_starts_is_waited_for_since_it_would_refuse_the_table() -> None:
    starting = Worker(1, "w1", 1, listed=True, listening=False, seen=0.0)
    assert readiness(sight(None, None, worker(0, v2=READY), starting), "digits", 2).answer is Answer.PENDING


@pytest.mark.parametrize(
    ("seen", "answer"),
    [
        (inventory(READY, LOADING), Answer.PENDING),
        (inventory(READY, BROKEN), Answer.REFUSED),
        (inventory(READY), Answer.REFUSED),
        (InventoryReport(), Answer.PENDING),
    ],
)
def test_the_inventory_is_asked_first(seen: InventoryReport, answer: Answer) -> None:
    assert readiness(sight(None, seen, worker(0, v2=READY)), "digits", 2).answer is answer


def test_unloaded_and_quarantined_versions_are_refused_with_the_way_out() -> None:
    out = replace(state(), unloaded=frozenset({("digits", 2)}))
    assert "`serin models load digits:2`" in readiness(sight(out), "digits", 2).reason
    held = replace(state(), quarantined={"d2": Quarantine("d2", "digits", 2, "killed 3 workers")})
    assert "quarantine (killed 3 workers)" in readiness(sight(held), "digits", 2).reason


def test_what_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound, match="digits has no version 9; there are: 1, 2, 3"):
        readiness(sight(), "digits", 9)
    with pytest.raises(NotFound, match="no model 'nothing'"):
        readiness(sight(), "nothing", 1)


def test_a_version_that_is_to_be_loaded_is_waited_for() -> None:
    assert readiness(sight(state(route(1_000_000), 1)), "digits", 3).answer is Answer.PENDING
