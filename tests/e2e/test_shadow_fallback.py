"""What a candidate does wrong while people are served: nobody notices, it is counted, and the rollout hears of it."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from router.pairs import worst_pairs
from tests.e2e.conftest import Running, eventually
from tests.e2e.traffic import failed, keyed, run

Start = Callable[..., Any]
ROLLOUT = "/api/v1/models/digits/rollout"


def begin(running: Running, *steps: dict[str, Any], **spec: Any) -> str:
    """Start a rollout of version 2 by these steps, and wait until the first one is in force; its id."""
    document = {"to": 2, "steps": list(steps), "checks": [], **spec}
    answer = httpx.put(running.admin + ROLLOUT, json=document, timeout=60)
    assert answer.status_code == 200, answer.text
    eventually(lambda: rollout(running)["step_number"] == 1 and rollout(running)["followed"])
    return str(answer.json()["id"])


def rollout(running: Running) -> dict[str, Any]:
    return dict(httpx.get(running.admin + ROLLOUT, timeout=10).json())


def metric(running: Running, name: str, **labels: str) -> float:
    page = httpx.get(f"{running.http}/metrics", timeout=10).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_callers_of_a_candidate_that_fails_every_request_see_no_error(start: Start) -> None:
    with start(faults="digits:2 fail=1") as running:
        begin(running, {"weight": 10, "pause": "1h"})
        answers = run(running.http, keyed, count=1000)

        assert failed(answers) == []
        assert Counter(answer.version for answer in answers) == {"1": 1000}
        missed = metric(running, "serin_requests_total", version="2", outcome="error")
        missed += metric(running, "serin_requests_total", version="2", outcome="diverted")
        assert 50 < missed < 150
        assert metric(running, "serin_served_instead_total", version="1", outcome="ok") == missed


def test_a_spent_fallback_budget_ends_the_rollout_and_says_so(start: Start) -> None:
    with start(faults="digits:2 fail=1") as running:
        begin(running, {"weight": 50, "pause": "1h"})
        answers = run(running.http, keyed, count=400)

        assert failed(answers) == []
        ended = eventually(lambda: rollout(running) if rollout(running)["phase"] == "aborted" else None)
        assert "fallback budget spent" in str(ended)
        assert {answer.version for answer in run(running.http, keyed, count=100)} == {"1"}
        tried = metric(running, "serin_requests_total", version="2", outcome="error")
        assert tried < 0.3 * 400


def test_the_mirrored_requests_of_all_workers_are_compared_and_never_seen(start: Start) -> None:
    with start() as running:
        identity = begin(running, {"shadow": 100, "requests": 100_000})
        answers = run(running.http, keyed, count=500, connections=4)

        assert failed(answers) == []
        assert Counter(answer.version for answer in answers) == {"1": 500}
        ran = eventually(lambda: sum_of_copies(running) == 500)
        assert ran
        pairs = metric(running, "serin_mirror_pairs_total", version="2")
        assert pairs == metric(running, "serin_mirror_requests_total", version="2", outcome="ok") > 10
        # Every request of this test has the same row.
        assert metric(running, "serin_mirror_difference_bucket", output="probabilities", le="+Inf") == pairs
        assert metric(running, "serin_requests_total", version="2") == 0
        [kept] = eventually(lambda: worst_pairs(running.state, "digits", identity))
        assert set(kept.pairs[0]["outputs"]) == {"label", "probabilities"}
        assert "inputs" not in kept.pairs[0]


def sum_of_copies(running: Running) -> float:
    ran = metric(running, "serin_mirror_requests_total", version="2")
    return ran + metric(running, "serin_mirror_dropped_total", version="2")


def test_a_mirror_that_hangs_is_dropped_and_delays_nobody(start: Start) -> None:
    with start(faults="digits:2 slow=5") as running:
        begin(running, {"shadow": 100, "requests": 100_000})
        answers = run(running.http, keyed, count=2000, connections=8)

        assert failed(answers) == []
        assert max(answer.done - answer.sent for answer in answers) < 4.0
        assert metric(running, "serin_mirror_dropped_total", reason="queue_full") > 0


def test_no_more_than_allowed_see_the_candidate_whichever_worker_they_meet(start: Start) -> None:
    with start() as running:
        begin(running, {"weight": 50, "pause": "1h"}, exposure={"requests": 40})
        answers = run(running.http, keyed, count=400)

        assert failed(answers) == []
        assert 40 <= Counter(answer.version for answer in answers)["2"] <= 42
        assert metric(running, "serin_exposure_used", limit="requests") <= 42
        assert rollout(running)["phase"] == "progressing"
