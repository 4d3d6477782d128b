"""Variants that are served elsewhere: two real gateways, one of which asks the other."""

import json
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from router.targets import parse_target
from tests.e2e.conftest import Running, eventually, gateway
from tests.e2e.test_shadow_fallback import metric, rollout
from tests.e2e.traffic import body_of, failed, keyed, keyless, run

FAULTS = "digits:2 fail=1; digits:3 slow=3"
INFER = "/v2/models/digits/infer"

Pair = tuple[Running, Running]


@contextmanager
def pair(directory: Path, *, models: tuple[str, ...] = ("digits",), faults: str = "", more: str = "") -> Iterator[Pair]:
    """A gateway, and one that it knows as `other`."""
    with ExitStack() as stack:
        (directory / "there").mkdir()
        (directory / "here").mkdir()
        there = stack.enter_context(gateway(directory / "there", "--workers", "1", faults=faults))
        settings = f'[upstreams.other]\nurl = "{there.http}"\n{more}'
        (directory / "here/serin.toml").write_text(settings)
        yield stack.enter_context(gateway(directory / "here", models=models)), there


def number(target: str) -> str:
    return str(parse_target(target).number)


def answer(running: Running, **more: Any) -> httpx.Response:
    return httpx.post(running.http + INFER, content=body_of(**more), timeout=30)


def test_a_tenth_of_the_callers_is_answered_elsewhere_and_all_are_counted(tmp_path: Path) -> None:
    with pair(tmp_path) as (here, there):
        here.serin("route", "set", "digits", "1=90", "other#digits/2=10")
        answers = run(here.http, keyed, count=1000)

        assert failed(answers) == []
        said = Counter((found.variant, found.version) for found in answers)
        remote = number("other#digits/2")
        assert said == {("1", "1"): said["1", "1"], ("other.digits.2", remote): said["other.digits.2", remote]}
        assert 50 < said["other.digits.2", remote] < 150
        served = metric(here, "serin_requests_total", version=remote, outcome="ok", variant="other.digits.2")
        assert served == said["other.digits.2", remote]
        assert served == metric(there, "serin_requests_total", version="2", outcome="ok")
        # What it predicts is counted here as of any version.
        assert metric(here, "serin_predictions_total", version=remote) == served


def test_a_model_that_is_only_elsewhere_is_passed_on_to_the_byte(tmp_path: Path) -> None:
    with pair(tmp_path, models=("diabetes",)) as (here, there):
        assert answer(here).status_code == 404
        here.serin("route", "set", "digits", "other#digits/2=100")

        ours = answer(here, id="7")
        theirs = httpx.post(f"{there.http}/v2/models/digits/versions/2/infer", content=body_of(id="7"))

        assert (ours.status_code, ours.headers["serin-variant"]) == (200, "other.digits.2")
        assert ours.content == theirs.content
        assert (ours.json()["model_version"], ours.json()["id"]) == ("2", "7")
        binary = answer(here, parameters={"binary_data_output": True})
        assert int(binary.headers["inference-header-content-length"]) < len(binary.content)
        rows = httpx.post(f"{here.http}/v1/models/digits:predict", json={"instances": [[0] * 64]}, timeout=30)
        assert (rows.status_code, len(rows.json()["predictions"])) == (200, 1)
        asked = metric(there, "serin_requests_total")
        wrong = httpx.post(here.http + INFER, json={"inputs": []})
        assert (wrong.status_code, wrong.json()["code"]) == (400, "INVALID_ARGUMENT")
        assert metric(there, "serin_requests_total") == asked  # the mistake stayed here
        shown = httpx.get(f"{here.http}/v2/models/digits").json()
        assert [one["name"] for one in shown["inputs"]] == ["pixels"]


def test_who_names_what_is_not_there_is_told_so_and_nothing_changes(tmp_path: Path) -> None:
    with pair(tmp_path) as (here, _):
        for target, words in (
            ("nobody#digits", "there is no [upstreams.nobody]; there are: other"),
            ("other#absent", "other#absent answers 404"),
            ("other#digits/77", "other#digits/77 answers 404"),
            ("other#diabetes", "there is no"),
        ):
            told = here.says("route", "set", "digits", "1=90", f"{target}=10", expect=1)
            assert words in told or "404" in told, told
        variants = json.loads(here.serin("route", "show", "digits", "--json"))["variants"]
        assert len(variants) == 1


def test_a_canary_elsewhere_that_fails_is_taken_back_and_callers_do_not_notice(tmp_path: Path) -> None:
    with pair(tmp_path, faults=FAULTS) as (here, _):
        document = {"to": "other#digits/2", "steps": [{"weight": 50, "pause": "1h"}], "checks": []}
        put = httpx.put(f"{here.admin}/api/v1/models/digits/rollout", json=document, timeout=60)
        assert put.status_code == 200, put.text
        eventually(lambda: rollout(here)["step_number"] == 1 and rollout(here)["followed"])

        assert failed(run(here.http, keyed, count=400)) == []
        ended = eventually(lambda: rollout(here) if rollout(here)["phase"] == "aborted" else None)
        assert "fallback budget spent" in str(ended)


def test_a_shadow_elsewhere_is_compared_and_never_seen(tmp_path: Path) -> None:
    with pair(tmp_path) as (here, there):
        here.serin("rollout", "start", "digits", "--to", "other#digits/1", "--steps", "shadow 100% 100000 requests")
        eventually(lambda: rollout(here)["step_number"] == 1 and rollout(here)["followed"])

        answers = run(here.http, keyed, count=200, connections=2)

        assert failed(answers) == []
        assert {found.variant for found in answers} == {"1"}
        candidate = number("other#digits/1")
        names = ("serin_mirror_requests_total", "serin_mirror_dropped_total")
        assert eventually(lambda: sum(metric(here, name, version=candidate) for name in names) == 200)
        compared = metric(here, "serin_mirror_pairs_total", version=candidate, result="same")
        assert compared == metric(there, "serin_requests_total", version="1", outcome="ok") > 0


def test_an_upstream_that_dies_ends_the_rollout_and_its_route_works_again_when_it_is_back(tmp_path: Path) -> None:
    with pair(tmp_path) as (here, there):
        here.serin("route", "set", "digits", "other#digits/1=100")
        assert answer(here).status_code == 200
        port = there.http.rpartition(":")[2]
        there.stop(signal.SIGKILL)

        away = eventually(lambda: found if "not available" in (found := answer(here)).text else None)
        assert (away.status_code, away.json()["code"]) == (503, "UNAVAILABLE")
        with gateway(tmp_path / "there", "--workers", "1", "--http-port", port):
            back = eventually(lambda: found if (found := answer(here)).status_code == 200 else None)
            assert back.headers["serin-variant"] == "other.digits.1"


def test_a_rollout_whose_upstream_dies_is_aborted_with_the_reason(tmp_path: Path) -> None:
    with pair(tmp_path) as (here, there):
        here.serin("rollout", "start", "digits", "--to", "other#digits/1", "--steps", "10% 1h")
        eventually(lambda: rollout(here)["step_number"] == 1 and rollout(here)["followed"])
        there.stop(signal.SIGKILL)

        ended = eventually(lambda: rollout(here) if rollout(here)["phase"] == "aborted" else None)
        assert "other#digits/1 cannot be reached" in str(ended)
        assert {found.variant for found in run(here.http, keyed, count=50)} == {"1"}


def test_a_slow_upstream_costs_its_callers_no_more_than_its_time(tmp_path: Path) -> None:
    with pair(tmp_path, faults=FAULTS, more="timeout_seconds = 0.5\n") as (here, _):
        here.serin("route", "set", "digits", "1=50", "other#digits/3=50")
        answers = run(here.http, keyless, count=20, connections=10)

        assert {(found.variant, found.status) for found in answers} == {("1", 200), ("other.digits.3", 504)}
        assert max(found.done - found.sent for found in answers) < 3
