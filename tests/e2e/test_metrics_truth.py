"""What /metrics says against what clients counted: exactly the same, whoever is asked, and never less than before."""

import json
import os
import random
import signal
import string
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from router.metrics import METRICS
from tests.e2e.conftest import Running, eventually
from tests.e2e.test_crashes import ready_workers
from tests.e2e.test_switching import put
from tests.e2e.traffic import ONE_ROW, PIXELS, Answer, Ask, Traffic, body_of, failed, keyed, post, run

Start = Callable[..., Any]
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]

ADMIN_ONLY = tuple(metric.name for metric in METRICS if metric.admin_only)
STILL_SECONDS = 2.0
OUTCOMES = {200: "ok", 400: "client_error", 500: "error", 504: "timeout"}
ROUTE = {
    "variants": [
        {"name": "stable", "version": 1, "weight": 60},
        {"name": "canary", "version": 2, "weight": 30},
        {"name": "flaky", "version": 3, "weight": 10},
    ],
    "rules": [{"header": "x-beta", "value": None, "variant": "canary"}],
}


def scrape(base: str) -> Series:
    """Every sample by its name and labels."""
    answer = httpx.get(f"{base}/metrics", timeout=20)
    assert answer.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def counters(series: Series) -> Series:
    """The samples that must never go down."""
    return {key: value for key, value in series.items() if key[0].endswith(("_total", "_count", "_bucket", "_sum"))}


def summed(series: Series, name: str, *labels: str) -> Counter[tuple[str, ...]]:
    """The samples of a metric, added up by some of their labels."""
    found: Counter[tuple[str, ...]] = Counter()
    for (sample, pairs), value in series.items():
        if sample == name and value:
            found[tuple(dict(pairs)[label] for label in labels)] += int(value)
    return found


def shared(series: Series) -> Series:
    """The samples that both ports show."""
    return {key: value for key, value in series.items() if not key[0].startswith(ADMIN_ONLY)}


def settled(running: Running) -> Series:
    """The exposition once nothing is in flight any more and what is counted behind requests stands still.

    A thread of low priority counts sampled inputs 20 times a second, as long as there are some.
    """
    last: Series = {}
    since = time.monotonic()

    def quiet() -> Series | None:
        nonlocal last, since
        series = scrape(running.http)
        if counters(series) != counters(last) or any(summed(series, "serin_requests_in_flight", "model").values()):
            last, since = series, time.monotonic()
        return series if time.monotonic() - since > STILL_SECONDS else None

    found: Series = eventually(quiet, seconds=60)
    return found


def assert_both_ports_tell_the_same(running: Running, series: Series) -> None:
    """`series`: of the public port. What the admin port shows besides is what the table of metrics says."""
    admin = scrape(running.admin)
    assert counters(shared(admin)) == counters(series)
    assert {name for name, _ in shared(admin)} == {name for name, _ in series}


def seen_by_clients(answers: Iterable[Answer]) -> Counter[tuple[str, ...]]:
    """Answers by version and outcome, of those that a version gave."""
    return Counter((answer.version, OUTCOMES[answer.status]) for answer in answers if answer.version)


def mixed(number: int) -> Ask:
    """All sorts of requests: split, drawn, by rule, by version, wrong ones, hopeless ones."""
    match number % 10:
        case 0:
            return post("/v2/models/digits/infer", ONE_ROW)
        case 1:
            return post("/v2/models/digits/infer", ONE_ROW, f"user-{number}", x_beta="1")
        case 2:
            return post("/v2/models/digits/versions/2/infer", ONE_ROW)
        case 3:
            wrong = json.dumps({"inputs": [{**PIXELS, "name": "pixel"}]}).encode()
            return post("/v2/models/digits/infer", wrong, f"user-{number}")
        case 4:
            return post("/v2/models/digits/versions/3/infer", body_of(parameters={"timeout": 1}))
        case 5:
            return post("/v2/models/nobody/infer", ONE_ROW)
        case 6:
            return post("/v2/models/digits/infer", b"{", f"user-{number}")
    return keyed(number)


def test_metrics_equal_what_clients_counted_by_version_and_outcome_whoever_is_asked(start: Start) -> None:
    with start("--workers", "3", faults="digits:3 fail=0.3") as running:
        assert put(running, ROUTE).status_code == 200
        answers = run(running.http, mixed, count=6_000, connections=24)
        assert {answer.status for answer in answers} == {200, 400, 404, 500, 504}
        series = settled(running)
        assert summed(series, "serin_requests_total", "version", "outcome") == seen_by_clients(answers)
        assert summed(series, "serin_assigned_total", "version") == Counter(
            (answer.version,) for answer in answers if answer.version
        )
        hows = summed(series, "serin_assigned_total", "how")
        assert (hows[("rule",)], hows[("version",)], hows[("split_drawn",)]) == (600, 1_200, 600)
        rejected = summed(series, "serin_rejected_requests_total", "reason")
        assert (rejected[("not_found",)], sum(rejected.values())) == (600, 1_200)
        ok = Counter((a.version,) for a in answers if a.status == 200)
        assert summed(series, "serin_predictions_total", "version") == ok
        split = [answer for answer in answers if answer.number % 10 in (0, 3, 7, 8, 9)]
        canary = (("model", "digits"), ("variant", "canary"), ("version", "2"))
        assert series["serin_route_weight_ratio", canary] == 0.3
        share = sum(answer.variant == "canary" for answer in split) / len(split)
        assert series["serin_route_share_ratio", canary] == share
        for _ in range(6):
            # each a connection of its own, so to different workers
            assert counters(scrape(running.http)) == counters(series)
        assert_both_ports_tell_the_same(running, series)


@contextmanager
def watched(running: Running) -> Iterator[list[str]]:
    """Scrapes all the time from both ports; whatever went down or vanished is in the list at the end."""
    wrong: list[str] = []
    ended = threading.Event()

    def watch(base: str) -> None:
        before: Series = {}
        while not ended.wait(0.05):
            try:
                now = counters(scrape(base))
            except httpx.HTTPError:
                continue  # the worker that was asked has just been killed
            wrong.extend(
                f"{base} {key}: {value} -> {now.get(key)}" for key, value in before.items() if now.get(key, -1) < value
            )
            before = now

    threads = [threading.Thread(target=watch, args=(base,)) for base in (running.http, running.admin)]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_counters_stay_true_and_monotone_while_workers_are_killed(start: Start) -> None:
    with start("--workers", "3") as running:
        assert put(running, ROUTE).status_code == 200
        with watched(running) as wrong, Traffic(running.http, keyed, connections=16) as traffic:
            for _ in range(3):
                traffic.wait_for(500)
                victim = random.choice(running.workers())
                os.kill(victim, signal.SIGKILL)
                eventually(lambda gone=victim: gone not in running.workers() and ready_workers(running, 3))
            traffic.wait_for(200)
            answers = traffic.stop()
        assert wrong == []
        lost = len(failed(answers))
        assert lost <= 3 * 16
        series = settled(running)
        outcomes = summed(series, "serin_requests_total", "outcome")
        answered = Counter((answer.version,) for answer in answers if answer.status == 200)
        by_outcome = summed(series, "serin_requests_total", "version", "outcome")
        counted = Counter({(version,): number for (version, outcome), number in by_outcome.items() if outcome == "ok"})
        # What a dying worker had computed and could not send, or had not finished, is all that may differ.
        assert all(counted[version] >= number for version, number in answered.items())
        assert len(answers) - lost <= outcomes.total() <= len(answers)
        assert outcomes.total() - sum(answered.values()) <= lost
        assert set(outcomes) <= {("ok",), ("lost",)}
        assert outcomes.total() == summed(series, "serin_assigned_total", "model").total()
        assert_both_ports_tell_the_same(running, series)


def test_a_crash_is_booked_as_an_error_of_the_version_that_caused_it(start: Start) -> None:
    with start("--workers", "1", faults="digits:3 crash=1") as running:
        answers = run(
            running.http, lambda number: post("/v2/models/digits/versions/3/infer", ONE_ROW), count=1, connections=1
        )
        assert [answer.status for answer in answers] == [0]
        eventually(lambda: ready_workers(running, 1))
        found = summed(settled(running), "serin_requests_total", "version", "outcome")
        assert found == {("3", "error"): 1}


def test_series_stay_bounded_under_10000_random_names(start: Start) -> None:
    draw = random.Random(3)

    def name() -> str:
        return "".join(draw.choices(string.ascii_letters + string.digits + "._-%~", k=draw.randint(1, 40)))

    def hostile(number: int) -> Ask:
        path = (
            f"/v2/models/{name()}/infer",
            f"/v2/models/digits/versions/{draw.randrange(10 ** draw.randint(1, 22))}/infer",
            f"/v2/models/digits/versions/{name()}/infer",
            f"/v2/models/{name()}/ready",
            f"/{name()}/{name()}",
            "/v2/models/digits/infer",
        )[number % 6]
        headers = {"X-Request-Id": name(), "User-Agent": name(), f"X-{number}": name(), "x_beta": name()}
        made = post(path, ONE_ROW, name(), **headers)
        method = draw.choice(("POST", "POST", "GET", "PUT", "DELETE", "OPTIONS", "PATCH")).encode()
        return Ask(made.raw.replace(b"POST", method, 1), made.key)

    with start(models=("digits/1", "digits/2")) as running:
        put(running, {"variants": [*ROUTE["variants"][:1], {"name": "canary", "version": 2, "weight": 40}]})
        run(running.http, keyed, count=500)
        run(running.http, lambda number: post("/v2/models/digits/versions/2/infer", ONE_ROW), count=50)
        before = scrape(running.http)
        answers = run(running.http, hostile, count=10_000)
        assert not [answer for answer in answers if answer.status in (0, 500)], failed(answers)[:3]
        after = httpx.get(f"{running.http}/metrics", timeout=20).text
        grown = {key for key in scrape(running.http) if key not in before}
        # direct requests to version 1 and reasons of rejection are new; each series has one place, whoever asks
        assert len({key for key in grown if not key[0].endswith(("_bucket", "_created"))}) < 40, grown
        assert len(after) < 200_000
        assert sum(file.stat().st_size for file in (running.state / "counters").iterdir()) < 40e6


@pytest.mark.slow
def test_the_share_gauge_and_the_weights_follow_the_route(start: Start) -> None:
    with start(models=("digits/1", "digits/2")) as running:
        document = {"variants": [{"version": 1, "weight": 75, "name": "a"}, {"version": 2, "weight": 25, "name": "b"}]}
        applied = put(running, document).json()
        answers = run(running.http, keyed, count=2_000)
        series = scrape(running.http)
        label = (("model", "digits"), ("variant", "b"), ("version", "2"))
        assert series["serin_route_weight_ratio", label] == 0.25
        share = sum(answer.variant == "b" for answer in answers) / len(answers)
        assert series["serin_route_share_ratio", label] == share
        assert series["serin_table_revision", ()] == applied["revision"]
        begun = time.monotonic()
        put(running, {"variants": [{"version": 1, "weight": 100, "name": "a"}]})
        assert time.monotonic() - begun < 5.0
        run(running.http, keyed, count=200)
        now = scrape(running.http)
        assert ("serin_route_weight_ratio", label) not in now
        assert now["serin_requests_total", tuple(sorted((*label, ("assignment", "split"), ("outcome", "ok"))))] == (
            share * len(answers)
        )
