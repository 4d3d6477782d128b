"""Who answers: the split, as clients of a running gateway see it, against what anyone can recompute offline."""

import json
from collections import Counter
from collections.abc import Iterable
from functools import cache
from math import sqrt
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from router.routes import PPM, Route, Variant
from router.split import choose
from service.cli import cli
from tests.e2e.conftest import Running
from tests.e2e.traffic import Answer, Ask, body_of, by_version, failed, keyed, keyless, post, run

INFER = "/v2/models/digits/infer"

#: Allowed distance from the expected count, in standard deviations of the binomial: a right split is off by more once
#: in 2 million runs (two-sided). Keyed counts are the same in every run; keyless ones are drawn.
SIGMAS = 5.0


def set_route(running: Running, *variants: tuple[str, int, float], **more: Any) -> dict[str, Any]:
    """Set the route of digits to (name, version, percent) each; the answer. Rules and aliases are emptied."""
    document = [{"name": name, "version": version, "weight": weight} for name, version, weight in variants]
    body = {"variants": document, "rules": [], "aliases": {}, "key": {}, **more}
    answer = httpx.put(f"{running.admin}/api/v1/routes/digits", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def canary(running: Running, percent: float) -> Route:
    """Version 2 as "canary" at so many percent; the route, for recomputing."""
    set_route(running, ("stable", 1, 100 - percent), ("canary", 2, percent))
    ppm = round(percent * 10_000)
    return Route("digits", (Variant("stable", 1, PPM - ppm), Variant("canary", 2, ppm)))


def recomputed(route: Route, answers: Iterable[Answer]) -> None:
    """The header of every answer names the variant that `router.split` gives its key."""
    for answer in answers:
        expected = choose(route, str(answer.key).encode(), 0.0)
        assert (answer.variant, answer.version) == (expected.name, str(expected.version)), answer


def within_bounds(hits: int, count: int, share: float) -> bool:
    return abs(hits - count * share) <= SIGMAS * sqrt(count * share * (1 - share))


def infer(running: Running, path: str = INFER, body: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = json.loads(body_of()) | (body or {})
    return client().post(running.http + path, json=content, headers=named, timeout=20)


@cache
def client() -> httpx.Client:
    return httpx.Client(trust_env=False)  # making one costs more than a request


def test_20000_keyed_requests_at_10_percent_lie_within_binomial_bounds_and_agree_with_the_recomputation(
    running: Running,
) -> None:
    route = canary(running, 10)
    answers = run(running.http, keyed, count=20_000)
    assert failed(answers) == []
    counts = by_version(answers)
    assert within_bounds(counts["2"], 20_000, 0.10), counts  # 2000 +- 212
    recomputed(route, answers)
    for answer in answers[:200]:
        words = ["assign", "digits", "--key", str(answer.key), "stable:1=90", "canary:2=10", "--json"]
        told = json.loads(CliRunner().invoke(cli, words, catch_exceptions=False).output)
        assert told["variant"] == answer.variant


def test_the_running_gateway_s_route_is_what_assign_recomputes(running: Running) -> None:
    canary(running, 50)
    for key in ("user-1", "user-2", "Grüße, Jürgen"):
        told = json.loads(running.serin("assign", "digits", "--key", key, "--json"))
        answer = infer(running, body={"parameters": {"routing_key": key}})
        assert (told["variant"], told["version"]) == (
            answer.headers["Serin-Variant"],
            int(answer.headers["Serin-Version"]),
        )


def test_growing_5_25_50_percent_moves_no_key_out_of_the_canary(running: Running) -> None:
    inside: set[str | None] = set()
    for percent in (5, 25, 50):
        route = canary(running, percent)
        answers = run(running.http, keyed, count=4_000)
        assert failed(answers) == []
        recomputed(route, answers)
        now = {answer.key for answer in answers if answer.version == "2"}
        assert inside <= now
        assert within_bounds(len(now), 4_000, percent / 100)
        inside = now


@pytest.mark.parametrize("make", [keyed, keyless], ids=["keyed", "keyless"])
def test_weight_0_gets_exactly_nothing(running: Running, make: Any) -> None:
    canary(running, 0)
    counts = by_version(run(running.http, make, count=4_000))
    assert counts == Counter({"1": 4_000})


def test_keyless_requests_are_drawn_in_the_same_shares(running: Running) -> None:
    set_route(running, ("a", 1, 70), ("b", 2, 25), ("c", 3, 5))
    counts = by_version(run(running.http, keyless, count=6_000))
    assert sum(counts.values()) == 6_000
    assert all(
        within_bounds(counts[version], 6_000, share) for version, share in (("1", 0.7), ("2", 0.25), ("3", 0.05))
    )


def test_a_key_sticks_alike_in_header_cookie_and_parameter(running: Running) -> None:
    set_route(running, ("stable", 1, 50), ("canary", 2, 50), key={"cookie": "session"})
    seen: dict[str, set[str]] = {}
    for number in range(40):
        key = f"sticky-{number}"
        answers = [
            infer(running, serin_routing_key=key),
            infer(running, cookie=f"other=1; session={key}; more=2"),
            infer(running, body={"parameters": {"routing_key": key}}),
            infer(running, serin_routing_key=key, cookie="session=else", body={"parameters": {"routing_key": "x"}}),
        ]
        seen[key] = {answer.headers["Serin-Variant"] for answer in answers}
    route = Route("digits", (Variant("stable", 1, PPM // 2), Variant("canary", 2, PPM // 2)))
    assert seen == {key: {choose(route, key.encode(), 0.0).name} for key in seen}
    assert {"stable"} in seen.values()
    assert {"canary"} in seen.values()


def test_a_key_may_come_from_another_header(running: Running) -> None:
    set_route(running, ("stable", 1, 50), ("canary", 2, 50), key={"header": "X-User"})
    by_key = {infer(running, x_user="anna", serin_routing_key=str(n)).headers["Serin-Variant"] for n in range(12)}
    ignored = {infer(running, serin_routing_key="anna").headers["Serin-Variant"] for _ in range(40)}
    assert len(by_key) == 1
    assert len(ignored) == 2


def test_rules_send_matching_headers_to_their_variant_and_nobody_else(running: Running) -> None:
    rules = [
        {"header": "X-Beta", "value": "yes", "variant": "canary"},
        {"header": "X-Debug", "value": None, "variant": "broken"},
    ]
    set_route(running, ("stable", 1, 100), ("canary", 2, 0), ("broken", 3, 0), rules=rules)

    def beta(number: int) -> Ask:
        return post(INFER, body_of(), f"user-{number}", **({"X-Beta": "yes"} if number % 2 else {"x_beta": "no"}))

    answers = run(running.http, beta, count=1_000)
    assert {(answer.number % 2, answer.variant, answer.version) for answer in answers} == {
        (1, "canary", "2"),
        (0, "stable", "1"),
    }
    assert infer(running, x_debug="anything").headers["Serin-Variant"] == "broken"
    assert infer(running, x_beta="yes", x_debug="1").headers["Serin-Variant"] == "canary"  # the first rule that matches


def test_aliases_stand_for_versions_in_the_url_and_in_a_route(running: Running) -> None:
    set_route(running, ("1", 1, 100), aliases={"champion": 1, "canary": 2})
    assert infer(running, "/v2/models/digits/versions/champion/infer").headers["Serin-Version"] == "1"
    answer = infer(running, "/v2/models/digits/versions/canary/infer")
    assert (answer.headers["Serin-Version"], answer.json()["model_version"]) == ("2", "2")
    running.serin("route", "set", "digits", "champion=50", "canary=50")
    assert {infer(running).headers["Serin-Variant"] for _ in range(60)} == {"champion", "canary"}
    running.serin("route", "alias", "digits", "canary=3")
    assert infer(running, "/v2/models/digits/versions/canary/infer").headers["Serin-Version"] == "3"
    assert infer(running, "/v2/models/digits/versions/nobody/infer").status_code == 404


def test_a_version_in_the_path_is_honoured_whatever_the_route_says(running: Running) -> None:
    rules = [{"header": "x-beta", "value": None, "variant": "stable"}]
    set_route(running, ("stable", 1, 100), rules=rules)
    for version in ("1", "2", "3"):
        path = f"/v2/models/digits/versions/{version}/infer"

        def named(number: int, path: str = path) -> Ask:
            return post(path, body_of(), f"user-{number}", x_beta="1")

        assert by_version(run(running.http, named, count=200)) == {version: 200}


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/digits/versions/9/infer",
        "/v2/models/digits/versions/01/infer",
        "/v2/models/digits/versions/-1/infer",
        "/v2/models/digits/versions/1.0/infer",
        "/v2/models/digits/versions/99999999999999999999/infer",
        "/v2/models/digits/versions/latest/infer",
        "/v2/models/nobody/infer",
        "/v2/models/nobody/versions/1/infer",
        "/v2/models/digits/versions/1/2/infer",
        "/v2/models//infer",
        "/v2/models/digits/versions//infer",
    ],
)
def test_what_is_unknown_is_refused_with_404_and_answered_by_nobody(running: Running, path: str) -> None:
    answer = infer(running, path)
    assert answer.status_code == 404, answer.text
    assert "Serin-Version" not in answer.headers
    assert set(answer.json()) == {"error", "code", "request_id"}


def test_a_version_that_was_unloaded_is_refused_and_not_re_routed(running: Running) -> None:
    set_route(running, ("stable", 1, 100))
    path = "/v2/models/digits/versions/3/infer"
    running.serin("models", "unload", "digits:3")
    try:
        assert infer(running, path).status_code == 404
        assert infer(running).headers["Serin-Version"] == "1"
    finally:
        running.serin("models", "load", "digits:3")
    assert infer(running, path).headers["Serin-Version"] == "3"


def test_every_answer_names_the_revision_that_the_controller_recorded(running: Running) -> None:
    applied = set_route(running, ("stable", 1, 60), ("canary", 2, 40))
    answers = run(running.http, keyed, count=500)
    assert {answer.revision for answer in answers} == {applied["revision"]}
    assert applied["applied"] == applied["workers"] == 2
