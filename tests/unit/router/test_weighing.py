"""From counts to verdicts and back: what is remembered, what is logged, and what a replay of the log gives."""

import json
from typing import Any

import numpy as np
import pytest

from router.analysis import Decision
from router.cursor import Counted, Subject
from router.demands import Stand
from router.errors import InvalidArgument
from router.evaluator import Evidence, judged, lost, verdict_from
from router.evidence import Arm, Block
from router.evidence_views import evidence_document
from router.plan import RolloutSpec
from router.policy import Policy
from router.replay import replay
from router.spec import parse_spec
from router.strata import STRATA, RewardCounts
from router.verdict import VerdictKind
from router.weighing import Finding, Trial, weigh_counted

SUBJECT = Subject("digits", ("2", 2), ("1", 1))
EDGES = 158


def spec(**analysis: Any) -> RolloutSpec:
    steps = [{"weight": 50}, {"weight": 60}]
    analysis = {"warmup": {"seconds": 0, "requests": 0}, **analysis}
    return parse_spec({"model": "digits", "to": 2, "steps": steps, "analysis": analysis})


SPEC = spec(metrics={"class_share": False, "score": False})
TENTH = parse_spec({"model": "digits", "to": 2, "steps": [{"weight": 10}], "analysis": {}})
MEDIAN = spec(metrics={"class_share": False, "score": False, "latency": {"quantiles": [0.5]}})


class World:
    """Two versions that count, a hundred requests a second; a step of the rollout is an epoch."""

    def __init__(self, of: RolloutSpec = SPEC, errors: float = 0.0, slower: float = 1.0, seed: int = 1) -> None:
        self.spec, self.errors, self.slower = of, errors, slower
        self.rng = np.random.default_rng(seed)
        self.arms = {4: [Arm(), Arm()], 5: [Arm(), Arm()]}
        self.second, self.index, self.still = 0, 0, False
        self.rows: list[dict[str, Any]] = []
        self.evidence = Evidence()
        self.good: tuple[float, float] | None = None
        self.labelled = (0.2, 0.2)
        self.labels: dict[int, list[list[list[int]]]] = {}
        self.accepted: tuple[str, ...] = ()
        self.beside: dict[int, dict[int, Arm]] = {}
        self.golden = Arm(), Arm()

    def tick(self, restart: bool = False) -> Finding:
        epoch = 4 + self.index
        if self.second and not self.still:
            ours = self.arms[epoch]
            n = int(self.rng.binomial(100, 0.5))
            ours[0] = ours[0] + self._arm(n, self.errors, self.slower)
            ours[1] = ours[1] + self._arm(100 - n, 0.0, 1.0)
        if restart:
            self.evidence = Evidence.from_json(json.loads(json.dumps(self.evidence.to_json())))
        counted = {
            e: Counted({0: arms[0]}, {0: arms[1]}, baseline=self.beside.get(e, {}), golden=self.golden)
            for e, arms in self.arms.items()
        }
        policy = self.spec.analysis
        assert policy is not None
        weights, now = (500_000, 500_000), float(self.second)
        trial = Trial("digits-9", policy, self.spec.steps, self.index, SUBJECT, epoch, weights, now, self.accepted)
        finding = weigh_counted(trial, self.evidence, counted, None, self._labels(epoch))
        self.evidence = finding.evidence
        self.rows += [] if finding.row is None else [json.loads(json.dumps(finding.row))]
        self.second += 1
        return finding

    def _labels(self, epoch: int) -> dict[int, tuple[RewardCounts, RewardCounts]]:
        """Labels that come at once, for a part of the answers; `good`: of candidate and stable."""
        if self.good is None:
            return {}
        rings = self.labels.setdefault(epoch, [[[0] * STRATA for _ in range(3)] for _ in range(2)])
        place = self.second // 300 % STRATA
        for ring, good, part in zip(rings, self.good, self.labelled, strict=True):
            came = int(self.rng.binomial(50, part))
            right = int(self.rng.binomial(came, good))
            for cells, more in zip(ring, (right, came - right, 50), strict=True):
                cells[place] += more
        return {
            epoch: (RewardCounts(5, *map(tuple, ours)), RewardCounts(5, *map(tuple, theirs)))
            for epoch, (ours, theirs) in self.labels.items()
        }

    def _arm(self, n: int, errors: float, slower: float) -> Arm:
        failed = int(self.rng.binomial(n, errors))
        millis = self.rng.lognormal(0.0, 0.3, n) * slower
        at = np.clip(np.ceil(np.log(millis * 1000 / 20) / np.log(1.1)), 0, EDGES - 1).astype(int)
        cells = tuple(np.bincount(at, minlength=EDGES).tolist())
        return Arm(n, n, failed, cells, flags={"invalid": (n - failed, 0)})


def policy_of(of: RolloutSpec) -> Policy:
    assert of.analysis is not None
    return of.analysis


def test_a_candidate_that_fails_is_taken_back_and_the_log_says_so_again() -> None:
    world = World(errors=0.1)
    while (found := world.tick()).verdict.decision is not Decision.ABORT:
        assert world.second < 40
    said = verdict_from(found.verdict)
    assert (said.kind, said.check) == (VerdictKind.FAIL, "evidence")
    assert said.reason.startswith("errors: evidence of harm ")
    again = replay(policy_of(SPEC), SPEC.steps, {"evidence": world.evidence.to_json()}, world.rows)
    assert (again.differs, again.kind, again.rows) == ("", "fail", len(world.rows))
    assert again.reason == found.verdict.reason


def test_restarts_change_nothing_to_the_last_digit() -> None:
    one, other = World(errors=0.02, slower=1.03), World(errors=0.02, slower=1.03)
    for second in range(60):
        one.tick()
        other.tick(restart=second % 2 == 1)
    assert one.evidence.to_json() == other.evidence.to_json()
    assert one.rows == other.rows


def test_what_is_remembered_is_plain_json_and_no_record_is_made_of_nothing_new() -> None:
    world = World()
    for _ in range(5):
        world.tick()
    told = world.evidence.to_json()
    assert json.loads(json.dumps(told)) == told
    before, world.still, world.second = world.evidence, True, world.second - 1
    assert world.tick().evidence is before


def test_an_equal_candidate_goes_on_once_it_is_shown_to_be_no_worse_and_again_in_the_next_step() -> None:
    world = World(MEDIAN)
    while (found := world.tick()).verdict.decision is not Decision.ADVANCE:
        assert found.verdict.decision is Decision.HOLD
        assert world.second < 100
    world.index = 1
    world.still = True
    assert world.tick().verdict.kind is VerdictKind.NO_DATA  # what another epoch has shown is not enough
    world.still = False
    while (found := world.tick()).verdict.decision is not Decision.ADVANCE:
        assert world.second < 100
    assert {row["step"] for row in world.rows} == {0, 1}
    assert replay(policy_of(MEDIAN), MEDIAN.steps, {"evidence": world.evidence.to_json()}, world.rows).differs == ""


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda rows: rows[:5] + rows[6:], "line 6 is missing: the log goes on with 7"),
        (lambda rows: rows[:-1], "the log has 19 lines, 20 were recorded"),
        (lambda rows: [*rows[:3], _with_error(rows[3]), *rows[4:]], "line 4: reason was"),
        (lambda rows: [*rows[:3], _judged_otherwise(rows[3]), *rows[4:]], "line 4: kind was 'pass'"),
    ],
)
def test_a_log_that_was_changed_gives_another_answer_and_says_where(spoil: Any, told: str) -> None:
    world = World(errors=0.01)
    for _ in range(21):
        world.tick()
    again = replay(policy_of(SPEC), SPEC.steps, {"evidence": world.evidence.to_json()}, spoil(world.rows))
    assert again.differs.startswith(told)


def _with_error(row: dict[str, Any]) -> dict[str, Any]:
    block = row["blocks"][0]
    candidate = {**block["candidate"], "errors": block["candidate"].get("errors", 0) + 5}
    return {**row, "blocks": [{**block, "candidate": candidate}]}


def _judged_otherwise(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "verdict": {**row["verdict"], "kind": "pass"}}


@pytest.mark.parametrize("content", [{}, {"version": 99}, {"version": 1, "shape": None}, {"version": 1, "shape": 3}])
def test_evidence_of_another_version_or_that_is_broken_counts_as_lost(content: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        Evidence.from_json(content)
    assert lost("x").kind is VerdictKind.FAIL


def test_batches_make_latency_inconclusive_and_hold_the_step() -> None:
    stand = Stand(TENTH.steps, 0, None, True)
    blocks = [Block("m", "r", 4, "s", 1, Arm(done=500, latency=(500,) + (0,) * 157), Arm(done=500))]
    _, verdict = judged(policy_of(TENTH), stand, Evidence().wealth, blocks, 4)
    latency = next(check for check in verdict.checks if check.name == "latency")
    assert latency.kind is VerdictKind.INCONCLUSIVE
    assert latency.reason.startswith("many requests run together")


def test_the_document_for_people_has_counts_odds_intervals_and_what_is_needed() -> None:
    world = World(errors=0.01)
    for _ in range(61):
        world.tick()
    found = evidence_document(SPEC.analysis, SPEC.steps, 0, {"evidence": world.evidence.to_json()})
    assert found is not None
    json.dumps(found, allow_nan=False)
    errors, latency, valid = found["checks"]
    (estimate,) = errors["estimates"]
    assert estimate["candidate"]["requests"] + estimate["stable"]["requests"] == 6000
    median = latency["estimates"][0]
    assert median["low"] < median["value"] < median["high"]
    assert errors["safe"]["margin"] == "fewer than 1.5 times stable's, or a rate below 0.5 %"
    assert errors["harm"]["needed"] == "100 : 1"
    assert [one["label"] for one in latency["estimates"]] == ["p50", "p95", "p99"]
    assert latency["safe"]["margin"] == "less than 20 % slower at every quantile, or that quantile below 1 ms"
    assert latency["requests_needed"] > 0
    assert valid["safe"] is None
    assert (found["assignment"]["broken"], found["blocks"]) == (False, 60)


def test_no_document_is_made_where_no_evidence_is_gathered() -> None:
    assert evidence_document(None, SPEC.steps, 0, {}) is None
    assert evidence_document(SPEC.analysis, SPEC.steps, 0, {}) is None
    assert evidence_document(SPEC.analysis, SPEC.steps, 0, {"evidence": {}}) == {
        "lost": "evidence of version None, this release reads 1"
    }


@pytest.mark.parametrize(("action", "check"), [("hold", "assignment"), ("report", "errors")])
def test_a_broken_split_holds_and_says_so_unless_it_is_only_to_be_told(action: str, check: str) -> None:
    world = World(spec(srm={"action": action}, metrics={"class_share": False, "score": False}))
    world.tick()
    world.arms[4] = [Arm(assigned=900, done=900, latency=(900,) + (0,) * 157), Arm(assigned=100, done=100)]
    found = world.tick().verdict
    assert (found.decision, found.check) == (Decision.HOLD, check)
    assert found.assignment_log_e > 100


LABELS = spec(metrics={"class_share": False, "score": False, "reward": {"action": "abort"}})


def test_a_candidate_whose_answers_are_wrong_is_taken_back_by_its_labels() -> None:
    world = World(LABELS)
    world.good = (0.5, 0.95)
    while (found := world.tick(restart=True)).verdict.decision is not Decision.ABORT:
        assert world.second < 60
    assert (found.verdict.check, found.verdict.kind) == ("reward", VerdictKind.FAIL)
    again = replay(policy_of(LABELS), LABELS.steps, {"evidence": world.evidence.to_json()}, world.rows)
    assert (again.differs, again.kind) == ("", "fail")
    told = evidence_document(LABELS.analysis, LABELS.steps, 0, {"evidence": world.evidence.to_json()})
    assert told is not None
    json.dumps(told, allow_nan=False)
    (reward,) = [check for check in told["checks"] if check["name"] == "reward"]
    assert reward["estimates"][0]["candidate"]["requests"] > 20


def test_labels_that_come_for_one_version_only_hold_the_rollout() -> None:
    world = World(LABELS)
    world.good, world.labelled = (0.9, 0.9), (0.1, 0.3)
    while world.second < 640:  # the first minutes tell how often labels come at all
        found = world.tick().verdict
        world.second += 9
        assert found.decision is not Decision.ABORT
    assert (found.decision, found.check) == (Decision.HOLD, "labels_fewer")
    assert "a person must decide" in found.reason


def test_equal_labels_neither_abort_nor_hold_for_ever() -> None:
    world = World(spec(metrics={"class_share": False, "score": False, "latency": {"quantiles": [0.5]}, "reward": {}}))
    world.good = (0.9, 0.9)
    while (found := world.tick()).verdict.decision is not Decision.ADVANCE:
        assert found.verdict.decision is Decision.HOLD
        assert world.second < 100


def test_an_accepted_shift_holds_no_more_and_the_log_is_weighed_alike() -> None:
    world = World(spec(metrics={"latency": False, "score": False, "class_share": False, "reward": {"action": "hold"}}))
    world.good = (0.5, 0.95)
    while not (found := world.tick()).verdict.asks:
        assert world.second < 4000
    assert found.verdict.asks == ("reward",)
    world.accepted = ("reward",)
    for _ in range(40):
        found = world.tick()
    assert (found.verdict.asks, found.verdict.kind) == ((), VerdictKind.PASS)
    again = replay(policy_of(world.spec), world.spec.steps, {"evidence": world.evidence.to_json()}, world.rows)
    assert (again.differs, again.kind) == ("", "pass")


def test_latency_is_compared_with_the_baseline_where_there_is_one_and_the_log_knows_it() -> None:
    steps = [{"weight": 10}, {"weight": 50}]
    analysis = {"baseline": True, "warmup": {"seconds": 0, "requests": 0}, "metrics": {"latency": {"quantiles": [0.5]}}}
    of = parse_spec({"model": "digits", "to": 2, "steps": steps, "analysis": analysis})
    world = World(of, slower=2.0)
    for _ in range(6):
        world.beside[4] = {0: world.arms[4][0]}  # a baseline that is as slow as the candidate; stable is not
        found = world.tick()
    [latency] = [check for check in found.verdict.checks if check.name == "latency"]
    assert latency.harm_log_e < 1.0
    assert 0 < latency.requests[1] < latency.requests[0]
    again = replay(policy_of(of), of.steps, {"evidence": world.evidence.to_json()}, world.rows)
    assert again.differs == ""


def test_golden_rows_show_a_quiet_service_that_it_may_go_on_and_the_log_says_so_again() -> None:
    of = spec(golden=2.0)
    world = World(of)
    world.arms[4] = [Arm(), Arm()]
    while world.tick().verdict.decision is not Decision.ADVANCE:
        assert world.second < 2_000
        world.still = True
        world.golden = Arm(done=10 * world.second), Arm(done=10 * world.second)
    told = evidence_document(of.analysis, of.steps, 0, {"evidence": world.evidence.to_json()})
    assert told is not None
    assert told["golden"] == {"requests": world.golden[0].done, "failed": 0}
    assert world.arms[4][0].done == 0
    again = replay(policy_of(of), of.steps, {"evidence": world.evidence.to_json()}, world.rows)
    assert (again.differs, again.kind) == ("", "pass")


def test_golden_rows_that_only_the_candidate_gets_wrong_take_it_back() -> None:
    world = World(spec(golden=2.0))
    while (found := world.tick()).verdict.decision is not Decision.ABORT:
        assert world.second < 60
        world.still = True
        world.golden = Arm(done=10 * world.second, errors=2 * world.second), Arm(done=10 * world.second)
    assert found.verdict.check == "errors"


def test_rows_that_fail_alike_and_more_often_than_requests_speak_for_nobody() -> None:
    """In one sum the candidate's few requests would drown in rows that fail."""
    world, rng = World(spec(golden=2.0), seed=5), np.random.default_rng(5)
    failed = np.zeros(2, dtype=int)
    for _ in range(120):
        found = world.tick()
        failed += rng.binomial(10, 0.3, 2)
        rows = 10 * world.second
        world.golden = Arm(done=rows, errors=int(failed[0])), Arm(done=rows, errors=int(failed[1]))
    assert found.verdict.decision is not Decision.ABORT
    [errors] = [check for check in found.verdict.checks if check.name == "errors"]
    assert errors.harm_log_e < 1.0
