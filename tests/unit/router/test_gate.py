"""Requests are led to the rows of the table as Starlette leads them to routes."""

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI

from router.access import Key, Need, Role, digest_of
from router.doorman import Doorman, Rules
from router.errors import Internal, PermissionDenied, ResourceExhausted, Unauthenticated
from router.gate import Gate, require_rows, telling, with_schemes

TABLE = {
    "/open": {"GET": Need.OPEN},
    "/models/stats": {"GET": Need.LIST},
    "/models/{model}": {"GET": Need.LOOK, "PUT": Need.OPERATOR},
    "/models/{model}/infer": {"POST": Need.PREDICT},
    "/models/{model}:predict": {"POST": Need.PREDICT},
    "/rest/{rest:path}": {"GET": Need.VIEWER},
}
SECRET = b"serin_abcdefgh_" + b"s" * 43
KEY = Key("abcdefgh", "app", digest_of(SECRET), frozenset({Role.PREDICT}), frozenset({"digits"}), None, 1.0, 1.0)


def gate(rules: Rules | None = None) -> Gate:
    doorman = Doorman(rules or Rules(), lambda: 0.0, lambda: 0.0)
    doorman.replace({KEY.id: KEY})
    return Gate(TABLE, doorman)


def scope(method: str, path: str, *fields: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "headers": [(b"host", b"x"), *fields]}


SENT = (b"authorization", b"Bearer " + SECRET)


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("GET", "/open", [(Need.OPEN, None)]),
        ("GET", "/open\n", [(Need.OPEN, None)]),  # as Starlette has it
        ("get", "/open", []),
        ("GET", "/open/", []),
        ("GET", "/Open", []),
        ("POST", "/open", []),
        ("GET", "/models/stats", [(Need.LIST, None), (Need.LOOK, "stats")]),
        ("PUT", "/models/digits", [(Need.OPERATOR, "digits")]),
        ("POST", "/models/a/b/infer", []),
        ("GET", "/rest/a/b", [(Need.VIEWER, None)]),
        ("GET", "/models/digits:predict", [(Need.LOOK, "digits:predict")]),
    ],
)
def test_each_row_that_fits_must_be_satisfied(method: str, path: str, needed: list[tuple[Need, str | None]]) -> None:
    assert gate().needed(method, path) == needed


def test_what_is_nowhere_needs_a_key() -> None:
    with pytest.raises(Unauthenticated):
        gate().admit(scope("GET", "/nowhere"))
    assert gate().admit(scope("GET", "/nowhere", SENT)) is not None


def test_the_model_in_the_path_is_the_one_that_a_key_must_be_for() -> None:
    assert gate().admit(scope("GET", "/models/digits", SENT)) is not None
    for path in ("/models/churn", "/models/stats", "/models/Digits"):
        with pytest.raises(PermissionDenied):
            gate().admit(scope("GET", path, SENT))


def test_inference_uses_its_rate_once_elsewhere_and_all_else_here() -> None:
    door = gate()
    for _ in range(3):
        door.admit(scope("POST", "/models/digits/infer", SENT))
    door.admit(scope("GET", "/models/digits", SENT))
    with pytest.raises(ResourceExhausted):
        door.admit(scope("GET", "/models/digits", SENT))


def test_a_field_that_came_twice_is_no_key() -> None:
    assert telling([SENT, (b"x", b"y"), SENT])[b"authorization"] == SENT[1] + b", " + SENT[1]
    with pytest.raises(Unauthenticated):
        gate().admit(scope("GET", "/models/digits", SENT, SENT))


def test_where_nobody_is_asked_only_what_an_operator_does_is_looked_at() -> None:
    door = gate(Rules(frozenset(Need)))
    assert door.admit(scope("GET", "/anything")) is None
    assert door.admit(scope("GET", "/models/x")) is None
    with pytest.raises(PermissionDenied):
        door.admit(scope("PUT", "/models/x", (b"origin", b"http://evil.example")))


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_a_route_without_a_row_is_found_also_in_a_router_that_was_included(prefix: str) -> None:
    app, part = FastAPI(openapi_url=None), APIRouter()
    part.get("/new")(lambda: None)
    app.include_router(part, prefix=prefix)

    with pytest.raises(Internal, match=f"GET {prefix}/new"):
        require_rows(app.routes, {f"{prefix}/new": {"POST": Need.OPEN}})
    require_rows(app.routes, {f"{prefix}/new": {"GET": Need.OPEN}})


def test_a_document_says_how_a_key_is_sent_and_is_else_the_same() -> None:
    told = with_schemes({"paths": {"/x": {}}, "components": {"schemas": {"A": {}}}})

    assert told["paths"] == {"/x": {}}
    assert told["components"]["schemas"] == {"A": {}}
    assert {} in told["security"]
    assert {name for one in told["security"] for name in one} == set(told["components"]["securitySchemes"])
