"""Every route and method of every port has its row in the tables, and no row is left over."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from router.access import DATA_PLANE, Need
from router.gate import require_rows
from router.needs import ADMIN_PORT
from service.grpc.health import HEALTH, REFLECTION
from service.grpc.models import Models
from service.grpc.port import SHARED_MEMORY
from service.grpc.triton import Triton
from service.needs import GRPC_PORT, PUBLIC_PORT
from service.pb.messages import POOL, SERVICE
from tests.docs import routes

OPEN = {"/", "/ping", "/health", "/docs", "/redoc", "/v2/health/live", "/v2/health/ready", "/healthz", "/readyz"}
"""What answers without a key: a longer list is a decision."""


@pytest.fixture(scope="module")
def applications() -> list[FastAPI]:
    """Those of the public and of the admin port."""
    made: list[FastAPI] = []
    begin = FastAPI.__init__

    def noting(self: FastAPI, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FastAPI, "__init__", noting)
        routes.public()
        routes.admin()
    return made


@pytest.mark.parametrize(("place", "table"), [(0, PUBLIC_PORT), (1, ADMIN_PORT)], ids=["public", "admin"])
def test_every_route_has_a_row_and_every_row_a_route(applications: list[FastAPI], place: int, table: Any) -> None:
    found = {
        (route.path, method)
        for route in iter_route_contexts(applications[place].routes)
        for method in cast(set[str], route.methods)
    }
    assert found == {(path, method) for path, methods in table.items() for method in methods}
    require_rows(applications[place].routes, table)


def test_every_operation_of_both_documents_has_a_row() -> None:
    for operations, table in ((routes.public(), PUBLIC_PORT), (routes.admin(), ADMIN_PORT)):
        assert operations
        for method, path, _ in operations:
            assert method in table[path]


def test_every_method_of_grpc_has_a_row_and_every_row_a_method() -> None:
    unused: Any = SimpleNamespace()
    calls = {*Models(unused, unused).calls(), *Triton(unused).calls(), *SHARED_MEMORY, "ModelInfer", "ModelStreamInfer"}
    described = {method.name for method in POOL.FindServiceByName(SERVICE).methods}
    own = {f"/{SERVICE}/{name}" for name in calls}
    others = {f"/{HEALTH}/Check", f"/{HEALTH}/Watch", f"/{REFLECTION}/ServerReflectionInfo"}

    assert described <= calls
    assert set(GRPC_PORT) == own | others


def test_nothing_is_open_but_probes_and_pages_that_tell_nothing() -> None:
    for table in (PUBLIC_PORT, ADMIN_PORT):
        assert {path for path, needs in table.items() if Need.OPEN in needs.values()} <= OPEN
    assert {name for name, need in GRPC_PORT.items() if need is Need.OPEN} == {
        f"/{HEALTH}/Check",
        f"/{HEALTH}/Watch",
        f"/{SERVICE}/ServerLive",
        f"/{SERVICE}/ServerReady",
    }


def test_the_admin_port_has_nothing_for_callers_of_models_and_changes_take_an_operator() -> None:
    for path, needs in ADMIN_PORT.items():
        assert not set(needs.values()) & DATA_PLANE, path
        if not path.startswith("/internal/"):
            changes = {need for method, need in needs.items() if method not in ("GET", "HEAD")}
            assert changes <= {Need.OPERATOR, Need.ADMIN}, path
