"""The evidence in words: tables of status and watch, sentences of explain, and the replay's answer."""

import json
from typing import Any

import msgspec
import pytest

from router.evaluator import Evidence
from router.evidence_views import evidence_document
from router.replay import WATCH_ROWS, Replayed
from service.cli import replaying
from service.cli.evidence_text import EVIDENCE, evidence_lines, evidence_rows, evidence_sentences
from service.cli.replaying import told
from service.replaying import replayed
from tests.unit.router.test_weighing import SPEC, World

Document = dict[str, Any]


@pytest.fixture(scope="module")
def world() -> World:
    found = World(errors=0.02)
    for _ in range(61):
        found.tick()
    return found


@pytest.fixture
def found(world: World) -> Document:
    evidence = evidence_document(SPEC.analysis, SPEC.steps, 0, {"evidence": world.evidence.to_json()})
    return {"evidence": json.loads(json.dumps(evidence))}


def test_a_table_has_a_row_each_check_with_counts_odds_and_what_is_needed(found: Document) -> None:
    rows = evidence_rows(found)
    assert {len(row) for row in rows} == {len(EVIDENCE)}
    assert [row[0] for row in rows] == ["errors", "latency", "outputs_valid"]
    errors, latency, valid = rows
    assert errors[5] == found["evidence"]["checks"][0]["harm"]["odds"]
    assert str(latency[4]).startswith("p50 ")
    assert (valid[6], valid[7]) == ("-", "-")


def test_sentences_say_what_would_have_to_happen(found: Document) -> None:
    text = "\n".join(evidence_sentences(found))
    assert "it aborts at 100 : 1, whenever that is reached. 60 blocks were weighed." in text
    assert "to be shown: less than 20 % slower at every quantile" in text
    assert "more requests, if there is no difference" in text


def test_a_broken_split_mirrored_requests_and_cold_workers_are_said(found: Document) -> None:
    evidence = found["evidence"]
    assert list(evidence_lines(found)) == []
    evidence["assignment"] = {**evidence["assignment"], "broken": True, "candidate": 900, "of": 1000, "expected": 500.0}
    evidence["mirrored"] = {"requests": 1200, "failed": 3}
    evidence["warming"] = {"workers": [0, 2], "seconds": 10.0, "requests": 20}
    broken, mirrored, cold = evidence_lines(found)
    assert broken == "the assignment is broken: the candidate got 900 of 1,000 requests, 500 were due"
    assert mirrored.startswith("1,200 requests of the candidate were only mirrored (3 failed)")
    assert cold.startswith("worker 0, 2 is still warming up")


def test_nothing_is_said_where_there_is_no_evidence_and_that_it_is_lost_where_it_is() -> None:
    assert (evidence_rows({"evidence": None}), list(evidence_sentences({"evidence": None}))) == ([], [])
    lost = {"evidence": {"lost": "another release's"}}
    assert (evidence_rows(lost), list(evidence_lines(lost))) == ([], [])
    assert list(evidence_sentences(lost)) == ["The evidence cannot be read: another release's."]


def job(world: World, **more: Any) -> bytes:
    told = {
        "policy": SPEC.analysis,
        "steps": SPEC.steps,
        "recorded": {"evidence": world.evidence.to_json()},
        "rows": world.rows,
    }
    return msgspec.json.encode({**told, **more})


def test_a_replay_gives_the_same_from_json(world: World) -> None:
    again = replayed(job(world))
    assert (again.differs, again.rows, again.blocks) == ("", 60, 60)


def test_a_replay_of_a_changed_log_and_of_no_log_differs(world: World) -> None:
    assert replayed(job(world, rows=world.rows[:-1])).differs == "the log has 59 lines, 60 were recorded"
    assert replayed(job(world, recorded={"evidence": {**Evidence().to_json(), "version": 9}})).differs.startswith(
        "the log cannot be"
    )
    assert replayed(b"{}").differs.startswith("the log cannot be read")


def test_a_replay_is_one_sentence() -> None:
    same = {"rows": 4, "blocks": 5, "kind": "no_data", "reason": "nothing", "differs": ""}
    assert told("digits-7", same) == "digits-7: 5 blocks in 4 lines give the same again: no data - nothing"
    differs = Replayed(1, 1, "", "", "line 1: kind was 'pass'").differs
    assert told("digits-7", {**same, "differs": differs}).endswith(
        "not give what was recorded: line 1: kind was 'pass'"
    )


def test_both_sides_number_the_lines_of_the_watch_alike() -> None:
    assert replaying.WATCH_ROWS == WATCH_ROWS
