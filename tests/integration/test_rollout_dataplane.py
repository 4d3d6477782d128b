"""Fallback, mirrors and exposure limits in a whole gateway: real models, faults on purpose, what is seen of it."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from router.mirrors import MirrorCounts, mirror_counts
from router.pairs import worst_pairs
from router.routes import Comparison, Exposure, Fallback, Mirror, Route, Rule, Variant
from router.tally import read_all
from service import shadow
from service.restraint import Restraint
from service.settings import Settings
from service.together import Together, gateway

ROOT = Path(__file__).resolve().parents[2]
ROWS = json.loads((ROOT / "models/digits/heldout.json").read_text())["inputs"]["pixels"]
URL = "/v2/models/digits/infer"
Start = Callable[..., AbstractAsyncContextManager[Together]]


@pytest.fixture(autouse=True)
def without_rests(monkeypatch):
    """On a busy machine few copies are run, and that is not what is looked at here."""
    monkeypatch.setattr(Restraint, "end", lambda *told: 0)


@pytest.fixture
def start(tmp_path: Path) -> Start:
    @asynccontextmanager
    async def started(faults: str = "", **more: object) -> AsyncIterator[Together]:
        async with gateway(Settings(models=ROOT / "models", state=tmp_path, faults=faults, **more)) as serin:
            yield serin

    return started


def split(candidate_ppm: int, **more: object) -> Route:
    variants = (Variant("stable", 1, 1_000_000 - candidate_ppm), Variant("canary", 2, candidate_ppm))
    return Route("digits", variants, salt="r1", epoch=7, **more)


async def route(serin: Together, wanted: Route) -> None:
    for _ in range(1000):
        if all(serin.worker.engine.peek("digits", version) for version in (1, 2, 3)):
            break
        await asyncio.sleep(0.01)
    table = serin.worker.dataplane.table
    refused = await serin.worker.apply(replace(table, routes={**table.routes, "digits": wanted}))
    assert refused is None


def digits(row: int = 0, **more: object) -> dict[str, object]:
    tensor = {"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": ROWS[row % len(ROWS)]}
    return {"inputs": [tensor], **more}


async def ask(serin: Together, count: int, key: str = "user"):
    headers = [{"Serin-Routing-Key": f"{key}-{number}"} for number in range(count)]
    return [await serin.http.post(URL, json=digits(row), headers=one) for row, one in enumerate(headers)]


async def metric(serin: Together, name: str, **labels: str) -> float:
    text = (await serin.http.get("/metrics")).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


async def mirrored(serin: Together, pairs: int) -> MirrorCounts:
    for _ in range(500):
        found = list(mirror_counts(read_all(serin.worker.settings.state / "counters")))
        ended = found[0].outcomes if found else {}
        compared = ended.get("ok", 0) + ended.get("nonfinite", 0)
        if sum(ended.values()) >= pairs and found[0].pairs >= compared:
            return found[0]
        await asyncio.sleep(0.01)
    raise AssertionError(found)


# ---- fallback ----


@pytest.mark.parametrize(
    ("fault", "reason", "outcome"), [("fail=1", "error", "error"), ("nonfinite=1", "nonfinite", "nonfinite")]
)
async def test_what_a_candidate_fails_stable_answers_and_the_candidate_is_blamed(start, fault, reason, outcome):
    async with start(f"digits:2 {fault}") as serin:
        await route(serin, split(100_000, fallback=Fallback("stable")))
        answers = await ask(serin, 300)

        fallen = [answer for answer in answers if "serin-fallback" in answer.headers]
        assert {answer.status_code for answer in answers} == {200}
        assert 10 < len(fallen) < 60
        assert {answer.headers["serin-fallback"] for answer in fallen} == {reason}
        assert {(answer.headers["serin-version"], answer.headers["serin-variant"]) for answer in answers} == {
            ("1", "stable")
        }
        assert "NaN" not in "".join(answer.text for answer in answers)
        own = {"model": "digits", "variant": "canary"}
        assert await metric(serin, "serin_requests_total", **own, outcome=outcome) == len(fallen)
        assert await metric(serin, "serin_requests_total", **own) == len(fallen)
        assert await metric(serin, "serin_requests_total", variant="stable", outcome="ok") == 300 - len(fallen)
        served = {"variant": "stable", "instead_of": "canary", "reason": reason, "outcome": "ok"}
        assert await metric(serin, "serin_served_instead_total", **served) == len(fallen)
        assert await metric(serin, "serin_requests_in_flight", model="digits") == 0


async def test_a_candidate_gets_half_of_the_time_that_remains_and_stable_the_rest(start):
    async with start("digits:2 slow=0.6") as serin:
        await route(serin, split(1_000_000, fallback=Fallback("stable")))
        await serin.http.post(URL, json=digits())  # inline for the last time: from now on it runs in a thread
        late = await serin.http.post(URL, json=digits(parameters={"timeout": 400_000}))

        assert (late.status_code, late.headers["serin-fallback"]) == (200, "timeout")
        assert late.elapsed.total_seconds() < 0.39
        assert await metric(serin, "serin_requests_total", variant="canary", outcome="timeout") == 1


async def test_only_failures_that_the_route_names_fall_back(start):
    async with start("digits:2 fail=1") as serin:
        await route(serin, split(1_000_000, fallback=Fallback("stable", ("timeout",))))
        answer = await serin.http.post(URL, json=digits())

        assert answer.status_code == 500
        assert answer.headers["serin-version"] == "2"
        assert "serin-fallback" not in answer.headers


async def test_a_callers_mistake_is_answered_as_one(start):
    async with start("digits:2 fail=1") as serin:
        await route(serin, split(1_000_000, fallback=Fallback("stable")))
        wrong = digits()
        wrong["inputs"][0]["datatype"] = "INT8"
        answer = await serin.http.post(URL, json=wrong)

        assert answer.status_code == 400
        assert "serin-fallback" not in answer.headers
        assert await metric(serin, "serin_requests_total", variant="canary", outcome="client_error") == 1


async def test_who_names_a_version_gets_that_one_and_its_failure(start):
    async with start("digits:2 fail=1") as serin:
        await route(serin, split(0, fallback=Fallback("stable")))
        answer = await serin.http.post("/v2/models/digits/versions/2/infer", json=digits())

        assert (answer.status_code, answer.headers["serin-version"]) == (500, "2")


async def test_requests_that_a_rule_sends_to_the_candidate_fall_back_too(start):
    async with start("digits:2 fail=1") as serin:
        await route(serin, split(0, fallback=Fallback("stable"), rules=(Rule("x-beta", "canary"),)))
        answer = await serin.http.post(URL, json=digits(), headers={"X-Beta": "1"})

        assert (answer.status_code, answer.headers["serin-fallback"]) == (200, "error")


async def test_when_both_fail_the_caller_hears_of_the_second(start):
    async with start("digits:* fail=1") as serin:
        await route(serin, split(1_000_000, fallback=Fallback("stable")))
        answer = await serin.http.post(URL, json=digits())

        assert answer.status_code == 500
        assert (answer.headers["serin-version"], answer.headers["serin-fallback"]) == ("1", "error")
        assert await metric(serin, "serin_served_instead_total", outcome="error") == 1


async def test_a_spent_budget_ends_the_choosing_of_the_candidate_and_is_told(start):
    async with start("digits:2 fail=1") as serin:
        await route(serin, split(500_000, fallback=Fallback("stable")))
        answers = await ask(serin, 200)

        assert {answer.status_code for answer in answers} == {200}
        runs = await metric(serin, "serin_requests_total", variant="canary", outcome="error")
        diverted = await metric(serin, "serin_requests_total", variant="canary", outcome="diverted")
        assert 3 <= runs <= 8
        assert 60 < diverted < 140
        assert {answer.headers.get("serin-diverted") for answer in answers} == {None, "budget"}
        served = {"variant": "stable", "instead_of": "canary", "reason": "budget", "outcome": "ok"}
        assert await metric(serin, "serin_served_instead_total", **served) == diverted
        worker = await told(serin, "troubles")
        assert "fallback budget spent: canary" in worker["digits"]


async def told(serin: Together, what: str) -> dict[str, str]:
    for _ in range(300):
        [worker] = serin.controller.fleet.all()
        if getattr(worker, what):
            return dict(getattr(worker, what))
        await asyncio.sleep(0.01)
    raise AssertionError(f"the controller heard no {what}")


async def test_a_new_rollout_begins_with_a_budget_of_its_own(start):
    async with start("digits:2 fail=1") as serin:
        await route(serin, split(500_000, fallback=Fallback("stable")))
        await ask(serin, 50)
        await route(serin, split(400_000, fallback=Fallback("stable")))
        assert serin.worker.dataplane.guards()["digits"].trouble
        await route(serin, replace(split(400_000, fallback=Fallback("stable")), salt="r2"))
        assert not serin.worker.dataplane.guards()["digits"].trouble


# ---- mirrors ----


async def test_a_share_of_requests_is_also_run_on_the_candidate_and_compared(start):
    async with start() as serin:
        await route(serin, split(0, mirrors=(Mirror(2, variant="canary"),)))
        answers = await ask(serin, 100)
        counts = await mirrored(serin, 100)

        assert Counter(answer.headers["serin-version"] for answer in answers) == {"1": 100}
        assert (counts.name.version, counts.name.variant, counts.name.epoch) == (2, "canary", 7)
        assert (counts.given, counts.pairs, counts.outcomes, counts.dropped) == (100, 100, {"ok": 100}, {})
        assert [(output.output, output.kind) for output in counts.outputs] == [
            ("label", "exact"),
            ("probabilities", "argmax"),
        ]
        flipped = [output.different for output in counts.outputs]
        assert flipped[0] == flipped[1] == counts.flipped
        assert 0 < counts.flip_rate < 0.5
        # What is mirrored is never part of what was asked for.
        assert await metric(serin, "serin_requests_total", version="2") == 0
        assert await metric(serin, "serin_mirror_requests_total", version="2", outcome="ok") == 100
        assert await metric(serin, "serin_mirror_pairs_total", result="different") == counts.flipped
        assert await metric(serin, "serin_mirror_difference_bucket", output="probabilities", le="+Inf") == 100


async def test_a_share_is_a_share(start):
    async with start() as serin:
        await route(serin, split(0, mirrors=(Mirror(2, share_ppm=250_000),)))
        await ask(serin, 400)

        counts = await mirrored(serin, 50)
        assert 50 <= counts.given <= 150


async def test_stable_against_itself_is_the_noise_floor(start):
    async with start() as serin:
        noise = Mirror(1, variant="noise", against="stable", compare=(Comparison("*", "exact"),))
        await route(serin, split(0, mirrors=(noise,)))
        await ask(serin, 50)

        counts = await mirrored(serin, 50)
        assert (counts.pairs, counts.flip_rate) == (50, 0.0)


@pytest.mark.parametrize(("fault", "outcome"), [("fail=1", "error"), ("nonfinite=1", "nonfinite")])
async def test_what_fails_in_a_mirror_no_caller_sees(start, fault, outcome):
    async with start(f"digits:2 {fault}") as serin:
        await route(serin, split(0, mirrors=(Mirror(2),)))
        answers = await ask(serin, 20)

        counts = await mirrored(serin, 20)
        assert {answer.status_code for answer in answers} == {200}
        assert counts.outcomes == {outcome: 20}


async def test_a_mirror_that_is_too_slow_drops_copies_and_delays_nobody(start):
    async with start("digits:2 slow=0.05") as serin:
        await route(serin, split(0, mirrors=(Mirror(2),)))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await ask(serin, 300)
        seconds = loop.time() - begun

        counts = await mirrored(serin, 1)
        assert seconds < 3.0  # 300 x 0.05 s if anybody had waited
        assert counts.dropped["queue_full"] > 0
        assert counts.given + counts.dropped["queue_full"] == 300
        assert counts.drop_rate == pytest.approx(counts.dropped["queue_full"] / 300)
        assert await metric(serin, "serin_mirror_dropped_total", reason="queue_full") == counts.dropped["queue_full"]


async def test_where_copies_hold_up_requests_most_are_dropped_and_all_are_counted(start, monkeypatch):
    monkeypatch.setattr(Restraint, "end", lambda *told: 10 * shadow.LONGEST_WAIT_NS)
    async with start() as serin:
        await route(serin, split(0, mirrors=(Mirror(2),)))
        one, guards = await ask(serin, 1), serin.worker.dataplane.guards()["digits"]
        await until(lambda: guards.means.shadow._mean_rest_ns > 0)
        assert guards.takes_copies
        answers = await ask(serin, 100)

        assert {answer.status_code for answer in [*one, *answers]} == {200}
        assert not guards.takes_copies  # the second waits
        counts = await mirrored(serin, 1)
        assert (counts.given, counts.dropped) == (2, {"busy": 99})


async def test_the_most_different_pairs_are_kept_without_inputs_unless_asked(start):
    async with start() as serin:
        mirrors = (Mirror(2, variant="a", worst=3), Mirror(3, variant="b", keep_inputs=True))
        await route(serin, split(0, mirrors=mirrors))
        await ask(serin, 60)
        await mirrored(serin, 60)
        for _ in range(3000):
            found = {kept.variant: kept for kept in worst_pairs(serin.worker.settings.state, "digits", "r1")}
            if {variant: len(kept.pairs) for variant, kept in found.items()} == {"a": 3, "b": 10}:
                break
            await asyncio.sleep(0.01)

        assert len(found["a"].pairs) == 3
        assert [pair["differs"] for pair in found["a"].pairs] == [True] * 3
        distances = [pair["distance"] for pair in found["a"].pairs]
        assert distances == sorted(distances, reverse=True)
        assert set(found["a"].pairs[0]["outputs"]) == {"label", "probabilities"}
        assert "inputs" not in found["a"].pairs[0]
        assert found["b"].pairs[0]["inputs"]["pixels"]["shape"] == [1, 64]


async def test_the_thread_of_the_mirrors_ends_with_the_worker(start):
    async with start("digits:2 slow=0.3") as serin:
        await route(serin, split(0, mirrors=(Mirror(2),)))
        await ask(serin, 5)
    assert "shadow" not in [thread.name for thread in threading.enumerate()]


# ---- exposure ----


async def test_no_more_requests_than_allowed_reach_the_candidate(start):
    async with start() as serin:
        limits = Exposure("r1", "canary", "stable", requests=25)
        await route(serin, split(500_000, exposure=limits))
        answers = await ask(serin, 200)

        versions = Counter(answer.headers["serin-version"] for answer in answers)
        assert {answer.status_code for answer in answers} == {200}
        assert versions["2"] == 25
        assert await metric(serin, "serin_requests_total", variant="canary", outcome="ok") == 25
        diverted = await metric(serin, "serin_requests_total", variant="canary", outcome="diverted")
        assert diverted == sum(answer.headers.get("serin-diverted") == "exposure" for answer in answers) > 25
        assert await metric(serin, "serin_exposure_used", model="digits", limit="requests") == 25
        assert await metric(serin, "serin_exposure_limit", model="digits", limit="requests") == 25
        assert "exposure used up" in (await told(serin, "notices"))["digits"]
        assert not serin.controller.fleet.all()[0].troubles


async def test_what_was_exposed_is_remembered_beyond_a_restart(start):
    limits = Exposure("r1", "canary", "stable", requests=10)
    for expected in (10, 0):
        async with start() as serin:
            await route(serin, split(500_000, exposure=limits))
            answers = await ask(serin, 60)
            assert sum(answer.headers["serin-version"] == "2" for answer in answers) == expected


async def test_keys_that_were_let_through_go_on_and_new_ones_do_not(start):
    async with start() as serin:
        await route(serin, split(500_000, exposure=Exposure("r1", "canary", "stable", keys=5)))
        first = [answer.headers["serin-version"] for answer in await ask(serin, 50)]
        again = [answer.headers["serin-version"] for answer in await ask(serin, 50)]

        assert first == again
        assert first.count("2") == 5


async def test_failures_are_limited_too(start):
    async with start("digits:2 fail=1") as serin:
        limits = Exposure("r1", "canary", "stable", failures=2)
        await route(serin, split(100_000, exposure=limits, fallback=Fallback("stable")))
        answers = await ask(serin, 150)

        assert {answer.status_code for answer in answers} == {200}
        assert await metric(serin, "serin_requests_total", variant="canary", outcome="error") == 2


# ---- what waits when the route changes ----


@pytest.mark.parametrize("fallback", [None, Fallback("stable")], ids=["bare", "with fallback"])
async def test_what_waits_for_a_candidate_that_is_taken_back_is_answered_by_stable_at_once(start, fallback):
    async with start("digits:2 slow=1.5", max_concurrency=1) as serin:
        await route(serin, split(1_000_000, fallback=fallback))
        await serin.http.post(URL, json=digits())  # inline for the last time: from now on they run in a thread
        asked = [asyncio.create_task(serin.http.post(URL, json=digits(row))) for row in range(6)]
        named = asyncio.create_task(serin.http.post("/v2/models/digits/versions/2/infer", json=digits()))
        executor = serin.worker.engine.peek("digits", 2).executor
        await until(lambda: executor.in_flight == 1 and executor.room.queued == 6)
        await route(serin, split(0))

        answers = [await answer for answer in asyncio.as_completed(asked)]
        assert answers.pop().headers["serin-version"] == "2", "it had begun"
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.headers["serin-version"] for answer in answers} == {"1"}
        assert not any("serin-fallback" in answer.headers for answer in answers), "the candidate has not failed them"
        assert (await named).headers["serin-version"] == "2", "who names a version waits for that one"
        candidate = {"model": "digits", "variant": "canary"}
        assert await metric(serin, "serin_requests_total", **candidate, outcome="diverted") == 5
        assert await metric(serin, "serin_requests_total", **candidate, outcome="ok") == 3
        assert await metric(serin, "serin_requests_total", variant="stable", outcome="ok") == 5
        assert await metric(serin, "serin_requests_in_flight", model="digits") == 0


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


async def test_a_baseline_answers_as_stable_does_from_a_queue_of_its_own(start: Start) -> None:
    variants = (Variant("stable", 1, 0), Variant("canary", 2, 500_000), Variant("baseline", 1, 500_000, apart=True))
    wanted = Route("digits", variants, salt="r1", epoch=7, fallback=Fallback("stable", ("error", "nonfinite"), 200_000))
    async with start("digits:1 fail=1") as serin:
        await route(serin, wanted)
        answers = await ask(serin, 40)
        by = Counter((answer.headers["Serin-Variant"], answer.headers["Serin-Version"]) for answer in answers)
        failed = [answer for answer in answers if answer.headers["Serin-Variant"] == "baseline"]
        assert by.keys() == {("canary", "2"), ("baseline", "1")}
        assert {answer.status_code for answer in failed} == {500}  # it is stable: nobody steps in for it
        counted = await metric(serin, "serin_requests_total", variant="baseline", outcome="error")
        assert counted == len(failed) > 5
        assert await metric(serin, "serin_fallbacks_total", instead_of="baseline") == 0
        primary = serin.worker.engine.peek("digits", 1)
        assert primary is not None
        assert primary.executor.in_flight == primary.apart.executor.in_flight == 0
