"""Changing weights while requests flow: nobody fails, and after the answer nobody is served by an older table."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpx
import pytest

from router.routes import PPM, Route, Variant
from router.split import choose
from tests.e2e.conftest import Running, eventually
from tests.e2e.traffic import Answer, Traffic, by_version, connections_of, failed, keyed, run, stale

Start = Callable[..., Any]

CONFIRM_SECONDS = 2.0
KILL_SECONDS = 3.0


def shares(percent: float) -> dict[str, Any]:
    """A route document: version 2 as "canary" at so many percent, the rest at version 1."""
    return {
        "variants": [
            {"name": "stable", "version": 1, "weight": round(100 - percent, 4)},
            {"name": "canary", "version": 2, "weight": percent},
        ]
    }


def put(running: Running, document: dict[str, Any], **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.put(f"{running.admin}/api/v1/routes/digits", json=document, headers=named, timeout=60)


def current(running: Running) -> httpx.Response:
    return httpx.get(f"{running.admin}/api/v1/routes/digits", timeout=10)


def table_revision(running: Running) -> int:
    return int(httpx.get(f"{running.admin}/api/v1/status", timeout=10).json()["revision"])


class Moves:
    """Route changes one after the other; when each was acknowledged, and the route of each revision."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.acknowledged: list[tuple[float, int]] = []
        self.routes: dict[int, Route] = {}
        self.took: list[float] = []

    def set(self, percent: float) -> dict[str, Any]:
        begun = time.monotonic()
        answer = put(self.running, shares(percent))
        now = time.monotonic()
        assert answer.status_code == 200, answer.text
        document = dict(answer.json())
        ppm = round(percent * 10_000)
        revision = document["revision"]
        self.routes[revision] = Route(
            "digits", tuple(v for v in (Variant("stable", 1, PPM - ppm), Variant("canary", 2, ppm)))
        )
        self.acknowledged.append((now, revision))
        self.took.append(now - begun)
        assert document["applied"] == document["workers"]
        return document

    def verify(self, answers: Iterable[Answer]) -> None:
        """Each answer is what the table of its revision gives its key, and none is older than what was promised."""
        answers = list(answers)
        assert stale(answers, self.acknowledged) == []
        for answer in answers:
            if answer.status == 200 and answer.revision in self.routes:
                expected = choose(self.routes[answer.revision], str(answer.key).encode(), 0.0)
                assert (answer.variant, answer.version) == (expected.name, str(expected.version)), answer


def switch_under_load(running: Running, seconds: int) -> tuple[list[Answer], Moves]:
    moves = Moves(running)
    moves.set(50)
    # Enough for a machine that answers 20,000 a second: the traffic must outlast the changes.
    with Traffic(running.http, keyed, connections=64, limit=20_000 * seconds) as traffic:
        begun = time.monotonic()
        for step in range(seconds):
            time.sleep(max(0.0, begun + step + 1 - time.monotonic()))
            moves.set((10, 0, 100, 33.3333, 0.0001)[step % 5])
        return traffic.stop(), moves


@pytest.mark.parametrize("seconds", [20, pytest.param(60, marks=pytest.mark.slow)])
def test_weights_change_every_second_under_load_without_a_failure_or_a_stale_answer(
    start: Start, seconds: int, record_property: Callable[[str, object], None]
) -> None:
    with start("--workers", "4") as running:
        answers, moves = switch_under_load(running, seconds)
    assert failed(answers) == []
    assert len(answers) > 200 * seconds
    moves.verify(answers)
    assert len({answer.revision for answer in answers}) == seconds + 1
    record_property("answers", len(answers))
    record_property("longest_change_seconds", round(max(moves.took), 3))


def test_a_version_that_cannot_be_loaded_is_refused_and_changes_nothing(start: Start) -> None:
    with start(models=("digits/1", "digits/2")) as running:
        broken = running.models / "digits" / "7"
        broken.mkdir()
        (broken / "model.onnx").write_text("<html>not found</html>")
        Moves(running).set(20)
        eventually(lambda: put(running, shares(20) | {"aliases": {"next": 7}}).status_code == 409)  # it is known by now
        before, events, revision = current(running), running.serin("events"), table_revision(running)
        with Traffic(running.http, keyed, connections=8) as traffic:
            traffic.wait_for(50)
            for version, status in ((7, 409), (99, 404)):
                document = {"variants": [{"version": 1, "weight": 50}, {"version": version, "weight": 50}]}
                answer = put(running, document)
                assert answer.status_code == status, answer.text
                assert f"digits:{version}" in answer.text or f"version {version}" in answer.text
                assert "/" not in answer.json()["error"]
            unused = {"variants": [{"version": 1, "weight": 100}, {"version": 7, "weight": 0}]}
            assert put(running, unused).status_code == 409
            assert put(running, shares(20) | {"aliases": {"next": 7}}).status_code == 409
            traffic.wait_for(50)
            answers = traffic.stop()
        after = current(running)
        assert (after.json(), after.headers["ETag"]) == (before.json(), before.headers["ETag"])
        assert running.serin("events") == events
        assert failed(answers) == []
        assert {answer.revision for answer in answers} == {table_revision(running)} == {revision}


def test_if_match_lets_one_of_two_writers_win(start: Start) -> None:
    with start(models=("digits/1", "digits/2")) as running:
        tag = current(running).headers["ETag"]
        assert put(running, shares(10), If_Match='"9999"').status_code == 412
        statuses: list[int] = []

        def write(percent: float) -> None:
            statuses.append(put(running, shares(percent), If_Match=tag).status_code)

        writers = [threading.Thread(target=write, args=(percent,)) for percent in (10, 20, 30, 40)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert sorted(statuses) == [200, 412, 412, 412]
        assert put(running, shares(15), If_Match=tag).status_code == 412
        fresh = current(running)
        assert put(running, shares(15), If_Match=fresh.headers["ETag"]).status_code == 200
        assert put(running, shares(15), If_None_Match="*").status_code == 412


@pytest.mark.slow
def test_many_writers_at_once_end_in_the_last_table_everywhere(start: Start) -> None:
    with start(models=("digits/1", "digits/2")) as running:
        moves = Moves(running)
        moves.set(50)
        results: list[tuple[float, int]] = []

        def write(percent: float) -> None:
            answer = put(running, shares(percent))
            assert answer.status_code == 200, answer.text
            results.append((time.monotonic(), answer.json()["revision"]))

        with Traffic(running.http, keyed, connections=16) as traffic:
            writers = [threading.Thread(target=write, args=(percent,)) for percent in range(1, 13)]
            for writer in writers:
                writer.start()
            for writer in writers:
                writer.join()
            traffic.wait_for(50)
            answers = traffic.stop()
        assert len(results) == 12
        assert failed(answers) == []
        assert stale(answers, results) == []
        newest = max(revision for _, revision in results)
        assert current(running).json()["revision"] == newest
        assert {answer.revision for answer in run(running.http, count=100)} == {newest}


def test_a_stopped_worker_does_not_hold_up_the_acknowledgement_and_answers_nothing_old(start: Start) -> None:
    with start(models=("digits/1", "digits/2")) as running:
        moves = Moves(running)
        moves.set(0)
        victim = running.workers()[0]
        port = int(running.http.rpartition(":")[2])
        with Traffic(running.http, keyed, connections=16) as traffic:
            traffic.wait_for(200)
            held = connections_of(victim, port)
            os.kill(victim, signal.SIGSTOP)
            try:
                moves.set(100)
            finally:
                _continue(victim)
            traffic.wait_for(200)
            answers = traffic.stop()
        lost = failed(answers)
        assert moves.took[-1] < CONFIRM_SECONDS + KILL_SECONDS
        assert len(lost) <= held
        assert all(answer.status == 0 for answer in lost)
        moves.verify(answers)
        acknowledged = moves.acknowledged[-1][0]
        assert set(by_version(a for a in answers if a.sent > acknowledged)) == {"2"}
        assert victim not in running.workers()
        assert any("did not confirm" in line["event"] for line in running.log_lines())


def _continue(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGCONT)  # it is dead, or it must not stay stopped when the test fails
    except ProcessLookupError:
        return
