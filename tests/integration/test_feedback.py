"""Labels that come back to a whole gateway: from the answer's header to the counts, by the public port alone."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from router.layout import ASSIGNED, OUTCOME, How, Outcome
from router.rewards import reward_counts
from router.routes import Exposure, Fallback, Rule, Units
from router.tally import by_epoch, read_all
from router.telemetry import UNITS
from router.tokens import Kind
from service.settings import Settings
from service.together import Together, gateway
from tests.integration.test_rollout_dataplane import digits, metric, route, split

ROOT = Path(__file__).resolve().parents[2]
HELDOUT = json.loads((ROOT / "models/digits/heldout.json").read_text())
TRUTH = HELDOUT["truth"]["label"]
URL, FEEDBACK = "/v2/models/digits/infer", "/v2/models/digits/feedback"
Start = Callable[..., AbstractAsyncContextManager[Together]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    @asynccontextmanager
    async def started(faults: str = "", **more: object) -> AsyncIterator[Together]:
        async with gateway(Settings(models=ROOT / "models", state=tmp_path, faults=faults, **more)) as serin:
            yield serin

    return started


async def answered(serin: Together, count: int, **headers: str) -> list[tuple[str, str, int]]:
    """(token, variant, predicted) of some answers."""
    found = []
    for row in range(count):
        own = {"Serin-Routing-Key": f"user-{row}", **headers}
        answer = await serin.http.post(URL, json=digits(row), headers=own)
        assert answer.status_code == 200
        outputs = {output["name"]: output["data"][0] for output in answer.json()["outputs"]}
        found.append((answer.headers["serin-assignment"], answer.headers["serin-variant"], outputs["label"]))
    return found


def counts(serin: Together, kind: Kind = "split") -> dict[str, tuple[int, int, int]]:
    """(good, bad, possible) by variant, in the epoch of the tests' route."""
    found = reward_counts(read_all(serin.worker.settings.state / "counters"), "digits", kind).get(7, {})
    return {variant: (sum(one.good), sum(one.bad), sum(one.issued)) for (variant, _), one in found.items()}


async def test_labels_of_both_arms_come_back_and_are_shown(start):
    async with start() as serin:
        await route(serin, split(500_000))
        answers = await answered(serin, 120)
        items = [{"assignment": token, "label": TRUTH[row]} for row, (token, _, _) in enumerate(answers)]
        told = await serin.http.post(FEEDBACK, json={"feedback": items})

        assert told.status_code == 200
        assert told.json() == {"counted": 120, "repeated": 0, "refused": 0, "errors": []}
        for arm in ("stable", "canary"):
            own = [int(said == TRUTH[row]) for row, (_, variant, said) in enumerate(answers) if variant == arm]
            assert 30 < len(own) < 90
            assert counts(serin)[arm] == (sum(own), len(own) - sum(own), len(own))
            labels = {"model": "digits", "variant": arm, "assignment": "split"}
            assert await metric(serin, "serin_feedback_total", **labels, result="good") == sum(own)
            assert await metric(serin, "serin_feedback_possible_total", **labels) == len(own)


async def test_one_item_is_answered_as_itself(start):
    async with start() as serin:
        await route(serin, split(0))
        ((token, _, said),) = await answered(serin, 1)
        first = await serin.http.post(FEEDBACK, json={"assignment": token, "label": said})
        again = await serin.http.post(FEEDBACK, json={"assignment": token, "reward": 0})
        forged = await serin.http.post(FEEDBACK, json={"assignment": token[:-2] + "zz", "reward": 1})

        assert first.json()["counted"] == 1
        assert again.json() == {"counted": 0, "repeated": 1, "refused": 0, "errors": []}
        assert (forged.status_code, forged.json()["code"]) == (400, "INVALID_ARGUMENT")
        assert "was not signed here" in forged.json()["error"]
        assert counts(serin)["stable"] == (1, 0, 1)


async def test_good_items_of_a_batch_count_beside_bad_ones(start):
    async with start() as serin:
        await route(serin, split(0))
        (one, _, said), (two, _, _), (three, _, _) = await answered(serin, 3)
        items = [
            {"assignment": one, "label": str(said)},
            {"assignment": two},
            {"assignment": two, "label": 1, "reward": 1},
            {"assignment": two, "reward": 0.5},
            {"assignment": two, "reward": 1, "note": "x"},
            {"assignment": two, "label": "eleven"},
            {"assignment": "nonsense", "reward": 1},
            "text",
            {"assignment": three, "reward": False},
            {"assignment": three, "reward": True},
        ]
        told = (await serin.http.post(FEEDBACK, json={"feedback": items})).json()

        assert (told["counted"], told["repeated"], told["refused"]) == (2, 1, 7)
        assert [error["index"] for error in told["errors"]] == [1, 2, 3, 4, 5, 6, 7]
        assert {error["code"] for error in told["errors"]} == {"INVALID_ARGUMENT"}
        assert counts(serin)["stable"] == (1, 1, 3)


BAD_BODIES = (
    b"",
    b"[]",
    b"{",
    b'{"feedback": 1}',
    b"\xff",
    b"[" * 100_000,
    b'{"feedback": [' + b"{}," * 1000 + b"{}]}",
)


@pytest.mark.parametrize(("body", "status"), [*((body, 400) for body in BAD_BODIES), (b" " * (1024 * 1024 + 1), 413)])
async def test_a_body_that_is_none_is_refused_as_a_whole(start, body, status):
    async with start() as serin:
        told = await serin.http.post(FEEDBACK, content=body)
        assert told.status_code == status
        assert set(told.json()) == {"error", "code", "request_id"}
        packed = await serin.http.post(FEEDBACK, content=b"{}", headers={"Content-Encoding": "gzip"})
        assert packed.status_code == 415


async def test_a_list_of_nothing_is_taken_and_an_unknown_model_has_no_tokens(start):
    async with start() as serin:
        await route(serin, split(0))
        ((token, _, _),) = await answered(serin, 1)
        assert (await serin.http.post(FEEDBACK, json={"feedback": []})).json()["counted"] == 0
        other = await serin.http.post("/v2/models/nobody/feedback", json={"assignment": token, "reward": 1})
        assert other.status_code == 400
        assert "is of model digits" in other.json()["error"]


async def test_requests_that_went_past_the_split_are_counted_apart(start):
    async with start() as serin:
        await route(serin, split(0, rules=(Rule("x-beta", "canary"),)))
        by_rule = await answered(serin, 2, **{"X-Beta": "1"})
        by_version = await serin.http.post("/v2/models/digits/versions/2/infer", json=digits())
        tokens = [*(token for token, _, _ in by_rule), by_version.headers["serin-assignment"]]
        told = await serin.http.post(FEEDBACK, json={"feedback": [{"assignment": t, "reward": 1} for t in tokens]})

        assert told.json()["counted"] == 3
        assert counts(serin).get("canary", (0, 0, 0)) == (0, 0, 0)
        direct = {"model": "digits", "variant": "canary", "assignment": "direct"}
        assert await metric(serin, "serin_feedback_total", **direct, result="good") == 3
        assert await metric(serin, "serin_feedback_possible_total", **direct) == 3


async def test_an_answer_in_the_place_of_another_and_a_failure_carry_no_token(start):
    async with start("digits:2 fail=1") as serin:
        await route(serin, split(1_000_000, fallback=Fallback("stable")))
        instead = await serin.http.post(URL, json=digits())
        assert instead.headers["serin-fallback"] == "error"
        assert "serin-assignment" not in instead.headers
        await route(serin, split(1_000_000))
        failed = await serin.http.post(URL, json=digits())
        assert failed.status_code == 500
        assert "serin-assignment" not in failed.headers


async def test_a_horizon_of_nothing_switches_it_off(start):
    async with start(feedback_horizon_seconds=0) as serin:
        answer = await serin.http.post(URL, json=digits())
        assert answer.status_code == 200
        assert "serin-assignment" not in answer.headers
        told = await serin.http.post(FEEDBACK, json={"assignment": "x", "reward": 1})
        assert (told.status_code, told.json()["code"]) == (501, "UNIMPLEMENTED")


async def test_a_restart_keeps_counts_key_and_what_was_counted(start):
    async with start() as serin:
        await route(serin, split(0))
        (one, _, _), (two, _, _) = await answered(serin, 2)
        await serin.http.post(FEEDBACK, json={"assignment": one, "reward": 1})
    async with start() as serin:
        items = [{"assignment": one, "reward": 1}, {"assignment": two, "reward": 1}]
        told = (await serin.http.post(FEEDBACK, json={"feedback": items})).json()
        assert (told["counted"], told["repeated"]) == (1, 1)
        assert counts(serin)["stable"] == (2, 0, 2)


# ---- callers ----


async def asked(serin: Together, keys: list[str]) -> list[str]:
    """The variants that answered; every answer is judged good at once."""
    variants = []
    for row, key in enumerate(keys):
        answer = await serin.http.post(URL, json=digits(row), headers={"Serin-Routing-Key": key} if key else {})
        variants.append(answer.headers["serin-variant"])
        if token := answer.headers.get("serin-assignment"):
            await serin.http.post(FEEDBACK, json={"assignment": token, "reward": 1})
    return variants


def callers(serin: Together) -> dict[str, dict[str, list[int]]]:
    """variant -> family -> cells, of the callers of the tests' route."""
    own = [copy for copy in read_all(serin.worker.settings.state / "counters") if copy.spec.kind == UNITS]
    return {
        copy.spec.labels["variant"]: {name: list(copy.family(name)) for name in (ASSIGNED, OUTCOME)}
        for copy in by_epoch(own).get(7, [])
    }


async def test_a_caller_counts_once_beside_its_requests_and_so_does_its_label(start):
    async with start() as serin:
        await route(serin, split(500_000, units=Units("r1")))
        users = [f"user-{number}" for number in range(20)]
        variants = await asked(serin, [*users, *users, *users, "", ""])

        found = callers(serin)
        assert sum(found["stable"][ASSIGNED]) + sum(found["canary"][ASSIGNED]) == 20
        for arm in ("stable", "canary"):
            own = variants[:20].count(arm)
            assert found[arm][ASSIGNED][How.SPLIT_KEYED] == found[arm][OUTCOME][Outcome.OK] == own
            assert counts(serin, "unit")[arm] == (own, 0, own)
            # requests are counted as ever, and shown once
            assert await metric(serin, "serin_requests_total", variant=arm) == variants.count(arm)
            assert await metric(serin, "serin_feedback_total", variant=arm) == variants.count(arm)


async def test_a_caller_of_another_step_waits_for_it(start):
    async with start() as serin:
        users = [f"user-{number}" for number in range(30)]
        await route(serin, split(500_000, units=Units("r1", 0, 2)))
        await asked(serin, users)
        first = sum(sum(found[ASSIGNED]) for found in callers(serin).values())
        await route(serin, split(500_000, units=Units("r1", 1, 2)))
        await asked(serin, users)
        both = sum(sum(found[ASSIGNED]) for found in callers(serin).values())

        assert 5 < first < 25
        assert both == 30


async def test_a_caller_whose_request_failed_or_was_not_tried_counts_for_the_variant_that_was_chosen(start):
    async with start("digits:2 fail=1") as serin:
        await route(serin, split(1_000_000, units=Units("r1"), fallback=Fallback("stable")))
        await asked(serin, ["ann", "ann"])
        assert callers(serin)["canary"][OUTCOME][Outcome.ERROR] == 1
        assert sum(callers(serin)["canary"][OUTCOME]) == 1
    async with start() as serin:
        await route(serin, split(1_000_000, units=Units("r2"), exposure=Exposure("r2", "canary", "stable", requests=1)))
        await asked(serin, ["bob", "eve"])
        assert callers(serin)["canary"][OUTCOME][Outcome.OK] == 1
        assert callers(serin)["canary"][OUTCOME][Outcome.DIVERTED] == 1


async def test_callers_are_remembered_beyond_a_restart(start):
    for _ in range(2):
        async with start() as serin:
            await route(serin, split(500_000, units=Units("r1")))
            await asked(serin, ["ann", "bob"])
            assert sum(sum(found[ASSIGNED]) for found in callers(serin).values()) == 2
