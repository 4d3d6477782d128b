"""What people say to a rollout and what it says to them: approvals, deadlines, limits, decisions, hooks. CLI only."""

import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Running, eventually
from tests.e2e.rollouts import CHECK, apply, at_step, ended, history, kinds, status, steps_of, user
from tests.e2e.traffic import Traffic, by_version, failed, keyed, run

Start = Callable[..., Any]
MANY = 1_000_000


# ---- approvals ------------------------------------------------------------------------------------------------------


def test_an_approval_too_early_says_what_is_missing_and_a_rejected_rollout_can_be_tried_again(at_one: Running) -> None:
    apply(at_one, canary={"weights": [50], "pause": "0s", "requests": 60, "approval": True}, checks=[CHECK])
    at_step(at_one, 1)
    refused = at_one.says("rollout", "approve", "digits", expect=1)
    assert "Before it can be approved it waits for 60 of 60 requests" in refused
    with Traffic(at_one.http, user, connections=4, pause=0.003):
        first = at_step(at_one, 1, "waiting_approval")
    at_one.serin("rollout", "reject", "digits", "--reason", "not before Monday")
    found = ended(at_one, 3)
    assert (found["phase"], found["reason"]) == ("aborted", "not before Monday")
    assert by_version(run(at_one.http, user, count=50)) == {"1": 50}

    at_one.serin("rollout", "retry", "digits", "--reason", "it is Monday")
    with Traffic(at_one.http, user, connections=4, pause=0.003):
        again = at_step(at_one, 1, "waiting_approval")
        at_one.serin("rollout", "approve", "digits", "--reason", "seen by the team")
        found = ended(at_one, 0)
    assert again["id"] != first["id"]
    assert found["approvals"][0]["reason"] == "seen by the team"
    assert "approved" in kinds(history(at_one, found["id"]))
    assert by_version(run(at_one.http, user, count=50)) == {"2": 50}


def test_a_pause_keeps_the_weights_and_the_clock_until_it_is_resumed(at_one: Running) -> None:
    apply(at_one, canary={"weights": [30], "pause": "2s"}, checks=[])
    at_step(at_one, 1)
    at_one.serin("rollout", "pause", "digits", "--reason", "lunch")
    spent = at_step(at_one, 1, "paused")["step"]["spent_seconds"]
    at_one.serin("rollout", "wait", "digits", "--timeout", "3s", expect=4)
    found = status(at_one)
    assert (found["phase"], found["step"]["spent_seconds"]) == ("paused", spent)
    assert 0 < by_version(run(at_one.http, user, count=300))["2"] < 200
    at_one.serin("rollout", "resume", "digits")
    assert ended(at_one, 0)["winner"] == "2"


# ---- deadlines ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("consequence", ["hold", "abort", "promote"])
def test_at_its_deadline_a_step_ends_as_the_document_says(consequence: str, at_one: Running) -> None:
    step = {"weights": [50], "pause": "0s", "requests": MANY, "deadline": "3s"}
    apply(at_one, canary=step, checks=[CHECK], on_deadline=consequence)
    with Traffic(at_one.http, user, connections=4, pause=0.003) as traffic:
        if consequence == "hold":
            found = at_step(at_one, 1, "holding")
        else:
            found = ended(at_one, {"abort": 3, "promote": 0}[consequence])
        traffic.wait_for(50)
        answers = traffic.stop()
    assert failed(answers) == []
    reasons = [event["reason"] for event in history(at_one, found["id"])]
    assert any(reason.startswith("step 1 not done within 3 s") for reason in reasons), reasons


def test_a_deadline_promotes_nothing_whose_checks_do_not_pass(at_one: Running) -> None:
    step = {"weights": [50], "pause": "0s", "deadline": "2s"}
    apply(at_one, canary=step, checks=[CHECK], on_deadline="promote")  # and nobody calls the model
    assert ended(at_one, 3)["reason"].startswith("step 1 not done within 2 s")


def test_a_rollout_that_is_not_done_in_time_ends(at_one: Running) -> None:
    apply(at_one, canary={"weights": [50], "pause": "0s"}, checks=[CHECK], max_duration="2s", on_deadline="hold")
    assert "max_duration" in ended(at_one, 3)["reason"]


# ---- exposure -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "faults"), [({"requests": 40}, ""), ({"keys": 15}, ""), ({"failures": 10}, "digits:2 fail=1")]
)
def test_the_candidate_gets_no_more_than_it_may_have_and_the_status_says_so(
    limit: dict[str, int], faults: str, start: Start
) -> None:
    [(name, most)] = limit.items()
    with start(faults=faults) as running:
        more = {"fallback": {"enabled": False}} if faults else {}
        apply(running, canary={"weights": [50], "pause": "1h"}, checks=[], exposure=limit, **more)
        at_step(running, 1)
        answers = run(running.http, keyed, count=600, connections=8)
        reached = [answer for answer in answers if answer.version == "2"]
        counted = {"keys": len({answer.key for answer in reached}), "failures": len(failed(answers))}
        seen = counted.get(name, len(reached))
        assert most <= seen <= most + (8 if name == "failures" else 2), (
            "each worker may be one ahead, or what is in flight"
        )
        told = f"{status(running)['exposure']['limits'][name]['used']} of {most} {name}"

        def noticed() -> bool:
            text = running.serin("rollout", "explain", "digits")
            return told in text and "exposure used up: 2 has had all" in text

        assert eventually(noticed)


# ---- A/B, its three ends --------------------------------------------------------------------------------------------


def test_an_ab_test_by_date_asks_for_a_decision_when_the_date_has_come(at_one: Running) -> None:
    until = (datetime.now(UTC) + timedelta(seconds=6)).isoformat(timespec="seconds")
    at_one.serin("rollout", "start", "digits", "--strategy", "ab", "--to", "2=20", "--to", "3=20", "--until", until)
    with Traffic(at_one.http, user, connections=2, pause=0.01) as traffic:
        found = at_step(at_one, 1, "waiting_approval")
        assert datetime.now(UTC) >= datetime.fromisoformat(until)
        answers = traffic.stop()
    assert failed(answers) == []
    assert set(by_version(answers)) == {"1", "2", "3"}
    assert set(found["result"]["requests"]) == {"1", "2", "3"}
    at_one.serin("rollout", "abort", "digits", "--reason", "no difference")
    assert by_version(run(at_one.http, user, count=50)) == {"1": 50}


def test_an_ab_test_with_a_date_says_until_when_it_runs(at_one: Running) -> None:
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds")
    at_one.serin("rollout", "start", "digits", "--strategy", "ab", "--to", "2=20", "--to", "3=20", "--until", until)
    [waits_for] = at_step(at_one, 1, "progressing")["step"]["waits_for"]
    assert waits_for.endswith("until its date")
    assert "until its date" in at_one.serin("rollout", "explain", "digits")


def test_an_ab_test_without_an_end_runs_until_a_person_decides(at_one: Running) -> None:
    at_one.serin("rollout", "start", "digits", "--strategy", "ab", "--to", "2=50")
    found = at_step(at_one, 1, "progressing")
    assert found["step"]["waits_for"] == ["a decision"]
    run(at_one.http, user, count=100)
    at_one.serin("rollout", "promote", "digits", "--to", "2", "--reason", "more clicks")
    found = ended(at_one, 0)
    assert found["winner"] == "2"
    assert sum(found["result"]["requests"].values()) <= 100
    assert found["result"]["shares_ppm"] == {"1": 500_000, "2": 500_000}


# ---- the noise floor ------------------------------------------------------------------------------------------------


def test_a_shadow_measures_stable_against_itself_first_and_shows_the_worst_pairs(at_one: Running) -> None:
    words = ("--strategy", "shadow", "--noise-floor", "100", "--requests", "100", "--check", "shadow_flip_rate<=+1")
    at_one.serin("rollout", "start", "digits", "--to", "2", *words)
    with Traffic(at_one.http, user, connections=4, pause=0.005) as traffic:
        found = at_step(at_one, 2, "waiting_approval")
        answers = traffic.stop()
    assert failed(answers) == []
    assert by_version(answers).keys() == {"1"}
    assert found["noise_floor"]["requests"] >= 100
    assert found["noise_floor"]["flip_rate"] == 0.0, "this model answers alike"
    assert found["checks"][0]["numbers"]["stable"] == 0.0
    assert "noise floor: 0 % of stable's own answers differ" in at_one.serin("rollout", "status", "digits")
    pairs = eventually(lambda: json.loads(at_one.serin("rollout", "pairs", "digits", "--json")))
    assert {mirror["variant"] for mirror in pairs} <= {"2", "noise-floor"}
    assert "inputs" not in json.dumps(pairs)
    assert steps_of(history(at_one, found["id"])) == [1, 2]


# ---- hooks ----------------------------------------------------------------------------------------------------------

SECRET = b"sixteen bytes or more"


@dataclass
class Ops:
    """Somebody's web server: what it was told, and what it says to whom asks. The first delivery fails."""

    told: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    forged: list[str] = field(default_factory=list)
    refused: int = 0
    answer: int = 425
    url: str = ""

    def hear(self, headers: Any, body: bytes) -> int:
        parts = dict(part.split("=", 1) for part in headers["Serin-Signature"].split(","))
        expected = hmac.new(SECRET, parts["t"].encode() + b"." + body, "sha256").hexdigest()
        if not hmac.compare_digest(expected, parts["v1"]):
            self.forged.append(headers["Serin-Delivery"])
        if headers["Serin-Event"] == "gate":
            self.asked.append(json.loads(body))
            return self.answer
        if not self.refused:
            self.refused = 1
            return 500
        self.told.append((headers["Serin-Event"], headers["Serin-Delivery"], json.loads(body)))
        return 204


@contextmanager
def ops_server() -> Iterator[Ops]:
    ops = Ops()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(ops.hear(self.headers, body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    ops.url = f"http://127.0.0.1:{server.server_port}/serin"
    try:
        yield ops
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def configured(directory: Path, ops: Ops) -> Path:
    secret, file = directory / "secret", directory / "serin.toml"
    secret.write_bytes(SECRET)
    file.write_text(f'[hooks.ops]\nurl = "{ops.url}"\nsecret_file = "{secret}"\nallow_private = true\n')
    return file


def test_a_hook_is_told_of_every_move_in_order_once_it_listens_and_may_hold_and_end_a_rollout(
    start: Start, tmp_path: Path
) -> None:
    gate = {"name": "freeze", "kind": "hook", "source": "ops", "interval": "1s"}
    with ops_server() as ops, start("--config", str(configured(tmp_path, ops))) as running:
        apply(running, canary={"weights": [10], "pause": "0s"}, checks=[gate])
        assert at_step(running, 1, "holding")["checks"][0]["reason"] == "ops says not yet"
        ops.answer = 200
        found = ended(running, 0)
        events = history(running, found["id"])
        eventually(lambda: len(ops.told) == len(events), seconds=40)
        assert [body["id"] for _, _, body in ops.told] == [event["id"] for event in events]
        assert [kind for kind, _, _ in ops.told] == [event["kind"] for event in events]
        assert [delivery for _, delivery, _ in ops.told] == [str(event["id"]) for event in events]
        assert ops.refused == 1, "the first attempt failed, and it came again"
        assert ops.asked[0]["rollout"] == found["id"]

        running.serin("rollout", "rollback", "digits")
        ops.answer = 403
        running.serin("rollout", "retry", "digits")
        assert ended(running, 3)["reason"] == "freeze: ops says no"
        assert ops.forged == []


def test_an_abort_waits_for_no_hook(start: Start, tmp_path: Path) -> None:
    gate = {"name": "freeze", "kind": "hook", "source": "ops"}
    with ops_server() as ops:
        file = configured(tmp_path, ops)
    with start("--config", str(file)) as running:  # nobody listens there any more
        apply(running, canary={"weights": [50], "pause": "0s"}, checks=[gate])
        at_step(running, 1)
        running.serin("rollout", "abort", "digits", "--reason", "enough")
        assert by_version(run(running.http, user, count=100)) == {"1": 100}
