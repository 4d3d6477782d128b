"""Feedback through real processes: any worker takes it, once, and no kill loses what was acknowledged."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from router.tokens import Given, signer
from service.feedback import shared_key
from tests.e2e.conftest import ROOT, Running, clean_environment, eventually
from tests.e2e.test_crashes import ready_workers
from tests.e2e.test_metrics_truth import counters, scrape, summed
from tests.e2e.test_switching import put

Start = Callable[..., Any]
HELDOUT = json.loads((ROOT / "models/digits/heldout.json").read_text())
ROWS, TRUTH = HELDOUT["inputs"]["pixels"], HELDOUT["truth"]["label"]
HALVES = {
    "variants": [
        {"name": "stable", "version": 1, "weight": 50},
        {"name": "canary", "version": 3, "weight": 50},
    ]
}


def ask(running: Running, row: int) -> tuple[str, str, int]:
    """(token, variant, predicted) of one answer, on a connection of its own, so of any worker."""
    tensor = {"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": ROWS[row % len(ROWS)]}
    answer = httpx.post(f"{running.http}/v2/models/digits/infer", json={"inputs": [tensor]}, timeout=20)
    answer.raise_for_status()
    outputs = {output["name"]: output["data"][0] for output in answer.json()["outputs"]}
    return answer.headers["serin-assignment"], answer.headers["serin-variant"], outputs["label"]


def tell(running: Running, *items: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{running.http}/v2/models/digits/feedback", json={"feedback": list(items)}, timeout=20)


def results(running: Running) -> Counter[tuple[str, ...]]:
    return summed(scrape(running.http), "serin_feedback_total", "variant", "result")


@pytest.fixture
def serving(start: Start) -> Iterator[Running]:
    with start("--workers", "3") as running:
        assert put(running, HALVES).status_code == 200
        yield running


def test_labels_of_both_versions_come_back_through_any_worker_and_port(serving: Running) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda row: ask(serving, row), range(160)))
    items = [{"assignment": token, "label": TRUTH[row % len(ROWS)]} for row, (token, _, _) in enumerate(answers)]
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda first: tell(serving, *items[first : first + 20]).json(), range(0, 160, 20)))
    assert sum(one["counted"] for one in told) == 160

    right = [TRUTH[row % len(ROWS)] == said for row, (_, _, said) in enumerate(answers)]
    wanted = Counter(
        (variant, "good" if ok else "bad") for ok, (_, variant, _) in zip(right, answers, strict=True)
    )  # version 3 is broken on purpose
    assert results(serving) == wanted
    assert wanted["canary", "bad"] > wanted["stable", "bad"]
    possible = summed(scrape(serving.admin), "serin_feedback_possible_total", "variant")
    assert possible == Counter((variant,) for _, variant, _ in answers)


def test_a_token_that_is_sent_to_all_workers_at_once_counts_once(serving: Running) -> None:
    tokens = [ask(serving, row)[0] for row in range(10)]
    items = [{"assignment": token, "reward": 1} for token in tokens]
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: tell(serving, *items).json(), range(24)))
    assert sum(one["counted"] for one in told) == 10
    assert sum(one["repeated"] for one in told) == 230
    assert results(serving).total() == 10


def test_what_is_forged_or_old_is_refused_and_good_items_beside_it_count(serving: Running, tmp_path: Path) -> None:
    good = ask(serving, 0)[0]
    given = Given("digits", 1, "stable", 1, "split")
    minute = int(time.time()) // 60
    old = signer(shared_key(serving.state), given)(minute - 24 * 60 - 2, 1, 0).decode()
    (tmp_path / "elsewhere").mkdir()
    forged = signer(shared_key(tmp_path / "elsewhere"), given)(minute, 1, 0).decode()
    told = tell(serving, *({"assignment": token, "reward": 1} for token in (forged, good, old, good[:-1], "")))
    assert told.status_code == 200
    body = told.json()
    assert (body["counted"], body["refused"]) == (1, 4)
    assert {error["index"]: error["code"] for error in body["errors"]} == {
        0: "INVALID_ARGUMENT",
        2: "FAILED_PRECONDITION",
        3: "INVALID_ARGUMENT",
        4: "INVALID_ARGUMENT",
    }
    refused = summed(scrape(serving.http), "serin_feedback_refused_total", "reason")
    assert refused == {("unsigned",): 3, ("expired",): 1}


def test_a_person_sends_a_file_and_may_send_it_again(serving: Running, tmp_path: Path) -> None:
    lines = [json.dumps({"assignment": ask(serving, row)[0], "label": str(TRUTH[row])}) for row in range(12)]
    (tmp_path / "labels.jsonl").write_text("\n".join(lines))
    words = ("feedback", "digits", "--file", str(tmp_path / "labels.jsonl"), "--url", serving.http)
    assert "12 counted, 0 counted before, 0 refused" in told_by(serving, *words)
    assert "0 counted, 12 counted before, 0 refused" in told_by(serving, *words)


def told_by(running: Running, *words: str) -> str:
    """`serin` without the admin address, which this command has no use for."""
    command = [sys.executable, "-m", "service.cli", *words]
    done = subprocess.run(command, env=clean_environment(), cwd=running.state, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_kill_of_a_worker_loses_what_was_acknowledged(serving: Running) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = [token for token, _, _ in pool.map(lambda row: ask(serving, row), range(200))]
    killing = threading.Event()
    kills = 0

    def insist(token: str) -> int:
        """Send until somebody acknowledges it; how many said that they counted it."""
        while True:
            try:
                told = tell(serving, {"assignment": token, "reward": 1})
                if told.status_code == 200:
                    return int(told.json()["counted"])
            except httpx.HTTPError:
                pass  # the worker that was asked has been killed
            time.sleep(0.05)

    def kill() -> None:
        nonlocal kills
        while not killing.wait(0.4):
            workers = serving.workers()
            if len(workers) == 3:
                os.kill(workers[0], signal.SIGKILL)
                kills += 1

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with ThreadPoolExecutor(6) as pool:
            acknowledged = sum(pool.map(insist, tokens))
    finally:
        killing.set()
        killer.join()
    eventually(lambda: ready_workers(serving, 3), seconds=60)
    assert kills > 0
    counted = results(serving).total()
    # What was counted and whose acknowledgement was lost is repeated as such; only a kill in between may count twice.
    assert 200 <= counted <= 200 + kills
    assert acknowledged <= 200
    assert tell(serving, *({"assignment": token, "reward": 1} for token in tokens)).json()["repeated"] == 200
    assert counters(scrape(serving.admin))


# ---- rollouts that labels decide ----


def told_all_the_time(running: Running, until: threading.Event, keys: int = 0) -> None:
    """Ask and send the truth back, as fast as it goes; with `keys` callers that are recognised, each many times."""
    number = 0
    with httpx.Client(base_url=running.http, timeout=20) as http:
        while not until.is_set():
            number += 1
            row = number % len(ROWS)
            tensor = {"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": ROWS[row]}
            headers = {"Serin-Routing-Key": f"user-{number % keys}"} if keys else {}
            answer = http.post("/v2/models/digits/infer", json={"inputs": [tensor]}, headers=headers)
            item = {"assignment": answer.headers["serin-assignment"], "label": TRUTH[row]}
            http.post("/v2/models/digits/feedback", json=item)


@pytest.mark.parametrize("keys", [0, 2000])
def test_a_version_that_answers_wrongly_is_taken_back_by_the_labels_that_come_back(start: Start, keys: int) -> None:
    metrics = {"class_share": False, "score": False, "latency": False, "reward": {"action": "abort"}}
    analysis = {"warmup": {"seconds": "1s", "requests": 5}, "metrics": metrics}
    more = {"key": {"header": "serin-routing-key"}} if keys else {}
    document = {"model": "digits", "to": 3, "steps": [{"weight": 50, "pause": "10m"}], "analysis": analysis, **more}
    with start("--workers", "2") as running:
        eventually(lambda: "digits" in running.serin("route", "show", "digits"))
        file = running.state.parent / "rollout.json"
        file.write_text(json.dumps(document))
        running.serin("rollout", "start", "digits", "-f", str(file))
        until = threading.Event()
        clients = [threading.Thread(target=told_all_the_time, args=(running, until, keys)) for _ in range(4)]
        for client in clients:
            client.start()
        try:
            found = eventually(lambda: aborted(running), seconds=90, every=0.3)
        finally:
            until.set()
            for client in clients:
                client.join()
        assert found["reason"].startswith("evidence: reward: evidence of harm")


def aborted(running: Running) -> dict[str, Any] | None:
    found: dict[str, Any] = json.loads(running.serin("rollout", "status", "digits", "--json"))
    return found if found["phase"] == "aborted" else None
