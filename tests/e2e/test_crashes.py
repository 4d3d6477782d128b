"""kill -9 of every process of a running gateway, under load: what is lost, what is noticed, what comes back."""

import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Running, eventually
from tests.e2e.test_processes import is_gone
from tests.e2e.test_switching import Moves, current, put, shares
from tests.e2e.traffic import Traffic, by_version, connections_of, failed, fresh, keyed, run, stale

Start = Callable[..., Any]

#: A new connection to a gateway that has just lost a worker is answered within this (tens of ms on an idle machine).
AT_ONCE_SECONDS = 2.0


def port_of(running: Running) -> int:
    return int(running.http.rpartition(":")[2])


def ready_workers(running: Running, count: int) -> bool:
    """The controller knows so many workers that listen and have the newest table."""
    status = httpx.get(f"{running.admin}/api/v1/status", timeout=5).json()
    listening = [worker for worker in status["workers"] if worker["listening"]]
    return len(listening) == count and all(worker["applied"] == status["revision"] for worker in listening)


def requests_total(text: str) -> dict[str, float]:
    """Series of serin_requests_total in an exposition."""
    pattern = re.compile(r"^(serin_requests_total\{[^}]*\}) (\S+)$", re.M)
    return {name: float(value) for name, value in pattern.findall(text)}


def metrics(running: Running) -> str:
    return httpx.get(f"{running.http}/metrics", timeout=10).text


def test_a_killed_worker_loses_what_was_in_flight_in_it_and_nobody_else_notices(start: Start) -> None:
    with start("--workers", "3") as running:
        Moves(running).set(50)
        held, killed = 0, []
        with Traffic(running.http, keyed, connections=24) as steady, Traffic(running.http, fresh, connections=2) as new:
            for round_ in range(3):
                steady.wait_for(300)
                victim = running.workers()[round_ % 3]
                held += connections_of(victim, port_of(running))
                at = time.monotonic()
                os.kill(victim, signal.SIGKILL)
                eventually(lambda gone=victim: not Path(f"/proc/{gone}").exists())
                killed.append((at, time.monotonic()))
                new.wait_for(20)
                eventually(lambda gone=victim: gone not in running.workers() and ready_workers(running, 3))
            steady.wait_for(300)
            lost, answers = failed(steady.stop()), steady.answers
            lost_new, answers_new = failed(new.stop()), new.answers
        assert {answer.status for answer in lost + lost_new} <= {0}, (lost, lost_new)
        assert len(lost) + len(lost_new) <= held + 2 * len(killed)
        assert len(lost_new) <= 2 * len(killed)
        for answer in lost + lost_new:
            # each was under way while a worker died: nothing sent once it was gone, nothing that had been answered
            assert any(answer.sent - 0.1 <= gone and at <= answer.done for at, gone in killed), answer
        after_kill = [a for a in answers_new if any(0 < a.sent - at < 3 for at, _ in killed) and a.status == 200]
        assert len(after_kill) >= 60
        assert max(a.done - a.sent for a in after_kill) < AT_ONCE_SECONDS
        assert max(a.done - a.sent for a in answers if a.status == 200) < AT_ONCE_SECONDS
        assert ready_workers(running, 3)
        assert failed(run(running.http, fresh, count=60)) == []


def test_a_killed_controller_and_inventory_lose_nothing_and_the_state_is_as_last_acknowledged(start: Start) -> None:
    with start() as running:
        moves = Moves(running)
        moves.set(25)
        with Traffic(running.http, keyed, connections=16) as traffic:
            for module in ("service.control", "service.inventory", "service.control"):
                before = current(running).json()
                victim = running.child(module)
                os.kill(victim, signal.SIGKILL)
                traffic.wait_for(300)
                eventually(lambda gone=victim: gone not in running.children() and ready_workers(running, 2))
                assert current(running).json() == before
                moves.set(25 + before["revision"])
            traffic.wait_for(100)
            answers = traffic.stop()
        assert failed(answers) == []
        moves.verify(answers)
        assert len(running.children()) == 4


def test_a_controller_killed_in_the_midst_of_changes_never_forgets_an_acknowledged_one(start: Start) -> None:
    with start() as running:
        acknowledged: list[tuple[float, int]] = []
        asked: dict[int, float] = {}
        ended = threading.Event()

        def change() -> None:
            percent = 0
            while not ended.is_set():
                percent = percent % 99 + 1
                try:
                    answer = put(running, shares(percent))
                except httpx.TransportError:
                    time.sleep(0.05)
                    continue
                if answer.status_code == 200:
                    acknowledged.append((time.monotonic(), answer.json()["revision"]))
                    asked[answer.json()["revision"]] = percent
                else:
                    assert answer.status_code in (409, 503, 504), answer.text

        writer = threading.Thread(target=change)
        writer.start()
        try:
            with Traffic(running.http, keyed, connections=16) as traffic:
                draw = random.Random(7)
                for _ in range(3):
                    done = len(acknowledged)
                    eventually(lambda goal=done + 3: len(acknowledged) >= goal)
                    time.sleep(draw.random() * 0.1)
                    victim = running.child("service.control")
                    promised = acknowledged[-1][1]
                    os.kill(victim, signal.SIGKILL)
                    found = eventually(lambda gone=victim: gone not in running.children() and current(running).json())
                    assert found["revision"] >= promised
                    if found["revision"] in asked:
                        weights = {variant["name"]: variant["weight"] for variant in found["variants"]}
                        assert weights["canary"] == asked[found["revision"]]
                answers = traffic.stop()
        finally:
            ended.set()
            writer.join()
        assert failed(answers) == []
        assert stale(answers, acknowledged) == []
        revisions = [revision for _, revision in acknowledged]
        assert revisions == sorted(set(revisions))


def test_after_kill_9_of_the_supervisor_a_restart_has_the_same_route_and_counters_that_never_went_down(
    start: Start,
) -> None:
    with start() as running:
        put(running, shares(30) | {"rules": [{"header": "x-beta", "value": "yes", "variant": "canary"}]})
        route = current(running).json()
        with Traffic(running.http, keyed, connections=8) as traffic:
            traffic.wait_for(1_000)
            counted = requests_total(metrics(running))
            children = list(running.children())
            running.process.kill()
            eventually(lambda: all(is_gone(pid) for pid in children), seconds=10)
            traffic.stop()
    assert sum(counted.values()) > 900
    with start() as again:
        assert current(again).json() == route
        now = requests_total(metrics(again))
        assert all(now[name] >= value for name, value in counted.items()), (counted, now)
        answers = run(again.http, keyed, count=200)
        assert failed(answers) == []
        assert sum(requests_total(metrics(again)).values()) == sum(now.values()) + 200


def test_a_version_that_kills_workers_is_blamed_then_quarantined_and_stays_so_after_a_restart(
    start: Start, tmp_path: Path
) -> None:
    with start(faults="digits:2 crash=0.02") as running:
        before = put(running, shares(40)).json()["revision"]
        with Traffic(running.http, keyed, connections=8) as traffic:
            quarantined = eventually(lambda: _quarantined(running), seconds=60)
            traffic.wait_for(200)
            answers = traffic.stop()
        (entry,) = quarantined
        assert (entry["model"], entry["version"]) == ("digits", 2)
        assert "killed 3 workers" in entry["reason"]
        blamed = [line["blamed"] for line in running.log_lines() if line["event"] == "settled a dead worker"]
        # Where the other version ran in another thread at that moment, nobody is blamed at first, and both are tried.
        assert [culprit for culprit in blamed if culprit][:3] == [["digits", 2]] * 3
        assert ["digits", 1] not in blamed
        route = current(running).json()
        assert route["revision"] > before
        assert {v["name"]: v["weight"] for v in route["variants"]} == {"stable": 100, "canary": 0}
        assert set(by_version(run(running.http, keyed, count=300))) == {"1"}
        assert {answer.status for answer in failed(answers)} <= {0, 503}
        document = httpx.get(f"{running.admin}/api/v1/models/digits", timeout=10).json()
        assert {v["version"]: v["state"] for v in document["versions"]}[2] == "UNAVAILABLE"
        assert "version.quarantined" in running.serin("events", "--json")
    with start() as again:
        refused = put(again, shares(40))
        assert refused.status_code == 409
        assert "quarantine" in refused.json()["error"]
        assert set(by_version(run(again.http, keyed, count=200))) == {"1"}
        again.serin("models", "load", "digits:2")
        assert put(again, shares(40)).status_code == 200


@pytest.mark.slow
def test_random_kills_of_all_processes_amid_changes_never_lead_to_an_older_table(start: Start) -> None:
    draw, seconds = random.Random(11), 60.0
    with start("--workers", "3") as running:
        acknowledged: list[tuple[float, int]] = []
        refusals: list[str] = []
        held = 0
        ended = threading.Event()

        def change() -> None:
            percent = 0
            while not ended.is_set():
                percent = percent % 99 + 1
                try:
                    answer = put(running, shares(percent))
                except httpx.TransportError:
                    time.sleep(0.05)
                    continue
                if answer.status_code == 200:
                    acknowledged.append((time.monotonic(), answer.json()["revision"]))
                else:
                    refusals.append(answer.text)
                time.sleep(0.05)

        writer = threading.Thread(target=change)
        writer.start()
        try:
            with (
                Traffic(running.http, keyed, connections=24) as steady,
                Traffic(running.http, fresh, connections=2) as new,
            ):
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    time.sleep(draw.uniform(0.1, 2.5))
                    alive = list(running.children())  # on a busy machine perhaps none: all are being replaced
                    for victim in draw.sample(alive, min(len(alive), draw.choice((1, 1, 2)))):
                        held += connections_of(victim, port_of(running))
                        os.kill(victim, signal.SIGKILL)
                eventually(lambda: ready_workers(running, 3), seconds=30)
                answers = steady.stop() + new.stop()
        finally:
            ended.set()
            writer.join()
    assert stale(answers, acknowledged) == []
    assert len(acknowledged) > 50
    lost = failed(answers)
    assert {answer.status for answer in lost} <= {0}, Counter(answer.status for answer in lost)
    assert len(lost) <= held + 2 * seconds
    assert max(answer.done - answer.sent for answer in answers) < 15.0


def _quarantined(running: Running) -> list[dict[str, Any]]:
    found = httpx.get(f"{running.admin}/api/v1/status", timeout=5).json()["quarantined"]
    return list(found)
