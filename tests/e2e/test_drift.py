"""Drift in a real gateway: both workers count, and no death makes it told twice."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx

from tests.e2e.conftest import ROOT, Running, eventually
from tests.e2e.test_crashes import ready_workers
from tests.e2e.test_metrics_truth import scrape, summed

Start = Callable[..., Any]
ROWS = json.loads((ROOT / "models/diabetes/heldout.json").read_text())["inputs"]["features"]
WINDOWS = ("--drift-window-requests", "150", "--drift-window-seconds", "1")
SECONDS = 60.0


@contextmanager
def older_people(running: Running) -> Iterator[None]:
    """Rows of people 20 years older than in the training data, each over a connection of its own, so that both workers
    get some; until the block ends."""
    ended = threading.Event()

    def send() -> None:
        number = 0
        while not ended.is_set():
            row = [ROWS[number % len(ROWS)][0] + 20, *ROWS[number % len(ROWS)][1:]]
            body = {"inputs": [{"name": "features", "shape": [1, 10], "datatype": "FP32", "data": row}]}
            with suppress(httpx.HTTPError):  # its worker was killed
                httpx.post(f"{running.http}/v2/models/diabetes/infer", json=body, timeout=10)
            number += 1
            ended.wait(0.003)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(20)


def known(running: Running) -> dict[str, Any]:
    answer = httpx.get(f"{running.admin}/api/v1/models/diabetes/drift", timeout=10)
    assert answer.status_code == 200
    return {subject["name"]: subject for subject in answer.json()["subjects"]}


def last_window(running: Running) -> tuple[Any, ...]:
    """What the last closed window said of `age`; no two windows say the same."""
    age = known(running)["age"]
    return age["requests"], age["psi"], age["wasserstein"]


def looked_at(running: Running, least: int) -> dict[tuple[str, ...], int]:
    values = summed(scrape(running.http), "serin_input_values_total", "feature")
    assert len(values) == 10
    assert min(values.values()) >= least
    return values


def alarms(running: Running) -> list[str]:
    answer = httpx.get(f"{running.admin}/api/v1/events", params={"model": "diabetes", "limit": 1000}, timeout=10)
    told = [event["after"]["subjects"] for event in answer.json()["events"] if event["kind"] == "drift.alarm"]
    return [subject for subjects in told for subject in subjects]


def test_drift_is_told_once_whoever_dies(start: Start) -> None:
    with start(*WINDOWS, models=("diabetes",)) as running:
        with older_people(running):
            eventually(lambda: known(running)["age"]["drifted"], seconds=SECONDS)
            assert "drifted" in running.serin("drift", "diabetes", expect=3)
            before = summed(scrape(running.http), "serin_inputs_sampled_total", "model")

            os.kill(running.child("service.control"), signal.SIGKILL)
            windows = eventually(lambda: known(running)["age"], seconds=SECONDS)
            assert windows["drifted"]

            os.kill(running.workers()[0], signal.SIGKILL)
            eventually(lambda: ready_workers(running, 2), seconds=SECONDS)
            window = last_window(running)
            eventually(lambda: last_window(running) != window, seconds=SECONDS)
            assert known(running)["age"]["drifted"]
        after = scrape(running.http)
        assert summed(after, "serin_inputs_sampled_total", "model")["diabetes",] > before["diabetes",]
        assert summed(after, "serin_drift_alarm", "feature") == {}  # the controller's page has it, not the workers'
        assert summed(scrape(running.admin), "serin_drift_alarm", "feature")["age",] == 1
        assert alarms(running).count("input/age") == 1
        # What a killed worker had in its queue was taken and never looked at; all else was, in every feature.
        taken = summed(after, "serin_inputs_sampled_total", "model")["diabetes",]
        values = eventually(lambda: looked_at(running, taken - 50))
        assert max(values.values()) <= taken
