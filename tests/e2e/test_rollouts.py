"""Every strategy from the command line, with real processes and traffic: what callers get, what is recorded."""

import json
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from router.routes import Route, Variant
from router.split import choose
from tests.e2e.conftest import ROOT, Running, eventually, gateway
from tests.e2e.rollouts import (
    CHECK,
    END,
    INFER,
    apply,
    at_step,
    client,
    ended,
    history,
    kinds,
    status,
    steps_of,
    user,
)
from tests.e2e.traffic import ONE_ROW, Answer, Ask, Traffic, by_version, failed, keyed, post, run

Start = Callable[..., Any]
Document = dict[str, Any]

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def recorded(events: Iterable[Document]) -> dict[int, dict[str, int]]:
    """Revision -> weights, as the history has them."""
    found: dict[int, dict[str, int]] = {}
    for event in events:
        weights = event["after"].get("weights_ppm")
        if weights is not None:
            assert found.setdefault(event["revision"], weights) == weights, event
    return found


def require_recorded(answers: Iterable[Answer], events: list[Document], identity: str) -> Counter[int]:
    """Each answer is what the recorded weights of its revision give its key; how many there were of each revision."""
    weights, seen = recorded(events), Counter[int]()
    first = min(weights)
    for answer in answers:
        if answer.status != 200 or answer.revision < first:
            continue
        assert answer.revision in weights, f"nobody recorded revision {answer.revision}"
        variants = tuple(Variant(name, int(name), ppm) for name, ppm in weights[answer.revision].items())
        chosen = choose(Route("digits", variants, salt=identity), str(answer.key).encode(), 0.0)
        assert (answer.variant, answer.version) == (chosen.name, str(chosen.version)), answer
        seen[answer.revision] += 1
    return seen


# ---- the strategies -------------------------------------------------------------------------------------------------


def test_a_canary_is_promoted_step_by_step_and_rolled_back(at_one: Running) -> None:
    apply(at_one, strategy="canary", canary={"weights": [10, 50], "pause": "1s"}, checks=[CHECK], reason="carefully")
    with Traffic(at_one.http, user, connections=4, pause=0.003) as traffic:
        found = ended(at_one, 0)
        assert found["phase"] == "window"
        traffic.wait_for(50)
        promoted_at = time.monotonic()
        traffic.wait_for(50)
        at_one.serin("rollout", "rollback", "digits", "--reason", "second thoughts")
        back_at = time.monotonic()
        traffic.wait_for(50)
        answers = traffic.stop()
    assert failed(answers) == []
    events = history(at_one, found["id"])
    assert steps_of(events) == [1, 2]
    assert [kind for kind in kinds(events) if kind != "holding"] == (
        ["started", "checking", "step", "step", "promoting", "promoted", "rolling_back", "rolled_back"]
    )
    assert (events[0]["reason"], events[-1]["reason"]) == ("carefully", "second thoughts")
    seen = require_recorded(answers, events, found["id"])
    assert len(seen) == len(recorded(events).keys() & seen.keys()) >= 4
    after_promotion = [a for a in answers if promoted_at < a.sent and a.revision == found["route_revision"]]
    assert by_version(after_promotion).keys() == {"2"}
    assert by_version(a for a in answers if a.sent > back_at).keys() == {"1"}


def test_a_caller_who_gets_the_candidate_keeps_it_while_the_weights_grow(at_one: Running) -> None:
    apply(at_one, canary={"weights": [10, 40, 80], "pause": "1h"}, checks=[])
    before: set[str] = set()
    for step in (1, 2, 3):
        at_step(at_one, step)
        answers = run(at_one.http, user, count=500)
        mine = {str(answer.key) for answer in answers if answer.version == "2"}
        assert before <= mine
        assert abs(len(mine) / 500 - (0.1, 0.4, 0.8)[step - 1]) < 0.1
        before = mine
        if step < 3:
            at_one.serin("rollout", "promote", "digits", "--step")


def test_blue_green_shows_green_to_testers_switches_at_once_and_returns_in_under_a_second(at_one: Running) -> None:
    at_one.serin("rollout", "start", "digits", "--to", "2", "--strategy", "blue-green", "--header", "x-preview=yes")
    at_step(at_one, 1, "waiting_approval")

    def tester(number: int) -> Ask:
        return post(INFER, ONE_ROW, f"user-{number}", **({"x_preview": "yes"} if number % 2 else {}))

    seen = run(at_one.http, tester, count=200)
    assert {(answer.number % 2, answer.version) for answer in seen} == {(1, "2"), (0, "1")}
    with Traffic(at_one.http, user, connections=8) as traffic:
        traffic.wait_for(20)
        at_one.serin("rollout", "approve", "digits", "--reason", "smoke tests pass")
        found = ended(at_one, 0)
        switched_at = time.monotonic()
        traffic.wait_for(50)
        at_one.serin("rollout", "rollback", "digits")
        back_at = time.monotonic()
        traffic.wait_for(50)
        answers = traffic.stop()
    assert failed(answers) == []
    events = history(at_one, found["id"])
    asked, done = (datetime.fromisoformat(e["at"]) for e in events if e["kind"].startswith("rollout.roll"))
    assert (done - asked).total_seconds() < 1.0
    between = [a for a in answers if a.sent > switched_at and a.revision == found["route_revision"]]
    assert by_version(between).keys() == {"2"}
    assert by_version(a for a in answers if a.sent > back_at).keys() == {"1"}
    assert "approved" in kinds(events)


def test_an_ab_test_holds_its_shares_asks_for_a_decision_and_records_the_result(at_one: Running) -> None:
    words = ("--strategy", "ab", "--to", "2=30", "--to", "third:3=20", "--requests", "150")
    at_one.serin("rollout", "start", "digits", *words)
    at_step(at_one, 1)
    answers = run(at_one.http, user, count=2_000)
    counts = by_version(answers)
    assert failed(answers) == []
    assert abs(counts["2"] / 2_000 - 0.3) < 0.08
    assert abs(counts["3"] / 2_000 - 0.2) < 0.08
    by_key: dict[str, set[str]] = {}
    for answer in answers:
        by_key.setdefault(str(answer.key), set()).add(answer.version)
    assert all(len(versions) == 1 for versions in by_key.values())
    at_step(at_one, 1, "waiting_approval")
    assert "a decision is asked for" in at_one.serin("rollout", "explain", "digits")
    at_one.serin("rollout", "promote", "digits", expect=1)  # which one?
    at_one.serin("rollout", "promote", "digits", "--to", "third", "--reason", "more clicks")
    found = ended(at_one, 0)
    assert found["winner"] == "third"
    assert found["result"]["requests"] == {"1": counts["1"], "2": counts["2"], "third": counts["3"]}
    assert by_version(run(at_one.http, user, count=100)) == {"3": 100}


def test_a_shadow_answers_nobody_is_compared_and_ends_with_a_decision(at_one: Running) -> None:
    check = ("--check", "shadow_flip_rate<=1")
    at_one.serin("rollout", "start", "digits", "--to", "2", "--strategy", "shadow", "--requests", "200", *check)
    at_step(at_one, 1)
    with Traffic(at_one.http, user, connections=4, pause=0.005) as traffic:
        found = at_step(at_one, 1, "waiting_approval")
        answers = traffic.stop()
    assert failed(answers) == []
    assert by_version(answers).keys() == {"1"}
    assert found["mirrored"] >= 200
    assert found["checks"][0]["verdict"] == "pass"
    at_one.serin("rollout", "abort", "digits", "--reason", "seen enough")
    assert ended(at_one, 3)["reason"] == "seen enough"


def test_a_cohort_gets_the_candidate_before_all_others(at_one: Running) -> None:
    at_one.serin("rollout", "start", "digits", "--to", "2", "--strategy", "cohort", "--header", "x-beta")
    at_step(at_one, 1, "waiting_approval")

    def some(number: int) -> Ask:
        return post(INFER, ONE_ROW, f"user-{number}", **({"x_beta": "1"} if number % 4 == 0 else {}))

    seen = run(at_one.http, some, count=400)
    assert {(answer.number % 4 == 0, answer.version) for answer in seen} == {(True, "2"), (False, "1")}
    at_one.serin("rollout", "approve", "digits")
    ended(at_one, 0)
    assert by_version(run(at_one.http, some, count=100)) == {"2": 100}


def test_an_instant_rollout_takes_all_traffic_at_once(at_one: Running) -> None:
    with Traffic(at_one.http, user, connections=4) as traffic:
        traffic.wait_for(20)
        at_one.serin("rollout", "start", "digits", "--to", "2", "--strategy", "instant")
        found = ended(at_one, 0)
        promoted_at = time.monotonic()
        traffic.wait_for(50)
        answers = traffic.stop()
    assert failed(answers) == []
    assert by_version(a for a in answers if a.sent > promoted_at).keys() == {"2"}
    assert kinds(history(at_one, found["id"])) == ["started", "checking", "promoting", "promoted"]


def test_steps_of_different_kinds_are_walked_as_one_list(at_one: Running) -> None:
    text = "shadow 100 requests, cohort x-beta unchecked, 10% 1s, 25% approval, 50% 1s"
    at_one.serin("rollout", "start", "digits", "--to", "2", "--steps", text, "--no-checks")
    with Traffic(at_one.http, user, connections=4, pause=0.003) as traffic:
        at_step(at_one, 4, "waiting_approval")
        assert "serin rollout approve digits" in at_one.serin("rollout", "explain", "digits")
        at_one.serin("rollout", "approve", "digits", "--reason", "fine")
        found = ended(at_one, 0)
        answers = traffic.stop()
    events = history(at_one, found["id"])
    assert failed(answers) == []
    assert steps_of(events) == [1, 2, 3, 4, 5]
    require_recorded(answers, events, found["id"])
    assert "fine" in [event["reason"] for event in events if event["kind"] == "rollout.approved"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_applied_as_it_is_and_walked_to_its_end(example: Path, at_one: Running) -> None:
    at_one.serin("apply", "-f", str(example))
    first = json.loads(at_one.serin("apply", "-f", str(example), "--json"))
    admin = client(at_one)
    for number in range(1, first["step_count"] + 1):
        at_step(at_one, number)
        if number < first["step_count"]:
            admin.move_rollout("digits", "promote", step=True)
    if first["step_count"]:
        admin.move_rollout("digits", "promote", **({"to": "2"} if len(first["to"]) > 1 else {}))
    found = ended(at_one, 0)
    assert found["id"] == first["id"], "applied twice, begun once"
    assert by_version(run(at_one.http, user, count=40)) == {"2": 40}


# ---- what must not go wrong -----------------------------------------------------------------------------------------


def test_a_candidate_that_fails_every_request_is_noticed_by_nobody_and_aborted_with_the_reason(start: Start) -> None:
    with start(faults="digits:2 fail=1") as running:
        apply(running, canary={"weights": [10, 50], "pause": "5s"}, checks=[CHECK])
        with Traffic(running.http, keyed, connections=4, pause=0.005) as traffic:
            found = ended(running, 3)
            aborted_at = time.monotonic()
            traffic.wait_for(50)
            answers = traffic.stop()
        assert failed(answers) == []
        assert by_version(answers).keys() == {"1"}
        assert len(answers) > 200
        assert found["phase"] == "aborted"
        text = running.serin("rollout", "status", "digits")
        assert found["reason"] in text
        assert re.search(r"error_rate|fallback", found["reason"]), found["reason"]
        assert found["reason"] in running.serin("rollout", "explain", "digits")
        assert max(a.revision for a in answers if a.sent > aborted_at) == found["route_revision"]


@pytest.mark.parametrize("workers", [2])
def test_after_an_abort_has_returned_no_request_reaches_the_candidate_at_any_step(start: Start, workers: int) -> None:
    steps = [{"shadow": 100}, {"weight": 1}, {"weight": 50}, {"weight": 100}]
    document = {"steps": [{**step, "pause": "1h"} for step in steps], "checks": []}
    with start("--workers", str(workers)) as running, Traffic(running.http, keyed, connections=32) as traffic:
        admin = client(running)
        returned: list[tuple[float, int]] = []
        for step in range(1, len(steps) + 1):
            apply(running, **document)
            for number in range(1, step):
                at_step(running, number)
                admin.move_rollout("digits", "promote", step=True)
            at_step(running, step)
            traffic.wait_for(300)
            answer = admin.move_rollout("digits", "abort", f"at step {step}")
            returned.append((time.monotonic(), answer["route_revision"]))
            assert answer["phase"] == "aborted"
            assert answer["applied"] == answer["workers"] == workers
            traffic.wait_for(200)
            quiet_until = time.monotonic()
            late = [a for a in traffic.answers if returned[-1][0] < a.sent < quiet_until]
            assert len(late) >= 100
            assert [a for a in late if a.version != "1" or a.revision < returned[-1][1]] == []
        answers = traffic.stop()
    assert failed(answers) == []
    assert by_version(answers)["2"] > 100


def test_a_word_that_is_not_possible_changes_nothing_and_says_what_is(at_one: Running) -> None:
    apply(at_one, canary={"weights": [10], "pause": "1h"}, checks=[])
    before = at_step(at_one, 1)
    for words in (["rollback", "digits"], ["approve", "digits"], ["retry", "digits"], ["start", "digits", "--to", "3"]):
        at_one.serin("rollout", *words, expect=1)
    at_one.serin("route", "set", "digits", "1=100", expect=1)
    after = status(at_one)
    assert (after["phase"], after["route_revision"]) == (before["phase"], before["route_revision"])
    assert kinds(history(at_one, before["id"])) == ["started", "checking", "step"]


def test_without_requests_nothing_is_promoted_and_wait_leaves_with_4(at_one: Running) -> None:
    apply(at_one, canary={"weights": [50], "pause": "0s"}, checks=[CHECK])
    at_step(at_one, 1, "holding")
    ended(at_one, 4, "1s")
    assert "without evidence it goes no further" in at_one.serin("rollout", "explain", "digits")


# ---- kill -9 --------------------------------------------------------------------------------------------------------

WEIGHTS = [1, 2, 5, 8, 10, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90]


def walked_in_order(events: list[Document], steps: int) -> None:
    """No step is lost, and none is done twice."""
    assert steps_of(events) == list(range(1, steps + 1))
    assert [kind for kind in kinds(events) if kind not in ("step", "holding")] == (
        ["started", "checking", "promoting", "promoted"]
    )


@pytest.mark.parametrize("kills", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_kill_9_at_random_loses_no_step_doubles_none_and_serves_no_unrecorded_weight(start: Start, kills: int) -> None:
    dice = random.Random(kills)
    with start("--workers", "2") as running, Traffic(running.http, keyed, connections=8, pause=0.004) as traffic:
        done, killed = 0, list[float]()
        walks: list[tuple[str, list[Document]]] = []
        while done < kills:
            apply(running, canary={"weights": WEIGHTS, "pause": "1s"}, checks=[])
            while done < kills and client_phase(running) not in END:
                time.sleep(dice.uniform(0.2, 1.5))
                if _kill_one(running, dice) == "worker":
                    killed.append(time.monotonic())
                done += 1
                eventually(lambda: len(running.children()) == 4, seconds=30)
            found = ended(running, 0, "3m")
            walks.append((found["id"], history(running, found["id"])))
            client(running).move_rollout("digits", "rollback")
            walks[-1] = (found["id"], history(running, found["id"]))
        answers = traffic.stop()
    for identity, events in walks:
        ends = kinds(events).index("promoted") + 1
        walked_in_order(events[:ends], len(WEIGHTS))
        first, last = events[0]["revision"], events[-1]["revision"]
        seen = require_recorded([a for a in answers if first <= a.revision <= last], events, identity)
        assert len(seen) >= len(WEIGHTS), "every step was seen by callers"
        assert sum(seen.values()) > 1_000
    lost = failed(answers)
    assert {answer.status for answer in lost} <= {0}, lost[:5]
    for answer in lost:
        assert any(answer.sent - 0.1 <= at <= answer.done + 0.1 for at in killed), answer


def client_phase(running: Running) -> str:
    """The phase, once the controller answers."""
    return str(eventually(lambda: client_rollout(running), seconds=30)["phase"])


def client_rollout(running: Running) -> Document | None:
    try:
        return client(running).rollout("digits")
    except Exception:
        return None


def _kill_one(running: Running, dice: random.Random) -> str:
    """Kill a worker or the controller; which of the two it was. Without workers' deaths no request may be lost."""
    children = {pid for pid, command in running.children().items() if re.search(r"service\.(app|control)\b", command)}
    chosen = dice.choice(sorted(children))
    kind = "worker" if chosen in running.workers() else "controller"
    os.kill(chosen, signal.SIGKILL)
    return kind


def test_kill_9_of_everything_is_taken_up_where_it_was(tmp_path: Path) -> None:
    with gateway(tmp_path) as running:
        apply(running, canary={"weights": WEIGHTS, "pause": "1s"}, checks=[])
        at_step(running, 3)
        children = list(running.children())
        os.kill(running.pid, signal.SIGKILL)
        running.process.wait(10)
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    with gateway(tmp_path) as running:
        found = client_rollout(running)
        assert found is not None
        assert found["step_number"] >= 3
        answers = run(running.http, keyed, count=300)
        assert failed(answers) == []
        ended(running, 0, "2m")
        events = history(running, found["id"])
        walked_in_order(events, len(WEIGHTS))
        require_recorded(answers, events, found["id"])
