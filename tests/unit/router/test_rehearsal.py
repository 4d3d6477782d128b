from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from router.errors import InvalidArgument
from router.figures import LATENCY_EDGES_SECONDS
from router.policy import Policy
from router.rehearsal import Ending, Outcome, Play, block_seconds, rehearse
from router.spec import parse_spec
from router.synthetic import ORDINARY, Behaviour, Latency, Traffic

LATENCY = Latency(LATENCY_EDGES_SECONDS)
QUICK = {"safe": {"or_below": 0.01}}
STEPS = [{"weight": 20, "pause": "30s"}, {"weight": 50, "pause": "30s"}]


def spec_of(**more: Any) -> dict[str, Any]:
    analysis = {"metrics": {"errors": QUICK, "latency": False}, **more.pop("analysis", {})}
    return {"model": "digits", "to": 2, "strategy": "steps", "steps": STEPS, "analysis": analysis, **more}


def played(document: dict[str, Any], candidate: Behaviour = ORDINARY, onset: float = 0.0, seed: int = 1) -> Outcome:
    traffic = Traffic(candidate, ORDINARY, LATENCY, onset)
    return rehearse(Play(parse_spec(document), traffic, 100.0, 1800.0), np.random.default_rng(seed))


def test_without_a_fault_it_is_promoted_after_its_steps() -> None:
    found = played(spec_of())
    assert found.ending is Ending.PROMOTED
    assert 60.0 <= found.seconds < 300.0
    assert found.step == 2


def test_the_same_seed_gives_the_same_outcome() -> None:
    assert played(spec_of(), seed=3) == played(spec_of(), seed=3)


def test_a_failing_candidate_is_aborted_by_the_check_that_saw_it() -> None:
    found = played(spec_of(), Behaviour(errors=0.3))
    assert (found.ending, found.check, found.step) == (Ending.ABORTED, "errors", 1)
    assert 0 < found.exposed < 300
    assert found.reason.startswith("evidence of harm")


def test_a_fault_that_begins_late_is_timed_from_its_beginning() -> None:
    found = played(spec_of(), Behaviour(errors=0.3), onset=40.0)
    assert found.ending is Ending.ABORTED
    assert found.seconds < 30.0
    assert found.exposed < 600


def test_other_predictions_ask_a_person() -> None:
    found = played(spec_of(), Behaviour(shares=(0.1, 0.3, 0.15, 0.1, 0.35)))
    assert (found.ending, found.check) == (Ending.HELD, "class_share")


def test_an_approval_is_given_at_once_and_a_decision_is_an_end() -> None:
    asks = [{**step, "approval": True} for step in STEPS]
    assert played(spec_of(steps=asks)).ending is Ending.PROMOTED
    assert played(spec_of(end="decide")).ending is Ending.DECISION


def test_a_rollout_that_runs_out_of_time_is_no_false_alarm() -> None:
    found = played(spec_of(max_duration="65s", analysis={"metrics": {"errors": {"safe": {"ratio": 1.01}}}}))
    assert found.ending is Ending.EXPIRED


def test_a_rehearsal_ends_at_its_horizon() -> None:
    spec = parse_spec(spec_of(analysis={"metrics": {"errors": {"safe": {"ratio": 1.01}}}}))
    play = Play(spec, Traffic(ORDINARY, ORDINARY, LATENCY), 100.0, 120.0)
    assert rehearse(play, np.random.default_rng(1)).ending is Ending.UNDECIDED


def test_steps_without_a_randomised_control_pass_by_their_time() -> None:
    steps = [{"shadow": 10, "pause": "30s", "checks": False}, *STEPS]
    assert played(spec_of(steps=steps)).step == 3


@pytest.mark.parametrize(
    "more", [{"analysis": {"method": "threshold", "metrics": {}}}, {"checks": [], "analysis": None}]
)
def test_what_evidence_does_not_judge_cannot_be_rehearsed(more: dict[str, Any]) -> None:
    spec = parse_spec({**spec_of(), **more})
    with pytest.raises(InvalidArgument, match="evidence"):
        Play(spec, Traffic(ORDINARY, ORDINARY, LATENCY), 100.0, 60.0)


@pytest.mark.parametrize(("rate", "seconds"), [(1000.0, 1.0), (20.0, 1.0), (5.0, 4.0), (0.1, 60.0)])
def test_a_block_lasts_until_it_has_its_requests(rate: float, seconds: float) -> None:
    assert block_seconds(Policy(), rate) == seconds
    assert block_seconds(replace(Policy(), max_age_seconds=2.0), rate) == min(seconds, 2.0)
