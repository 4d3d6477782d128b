"""Requests made up from both OpenAPI documents (schemathesis) at a gateway with keys: it answers each as they say.

More by command: SERIN_EXAMPLES=300 python -m pytest tests/conformance/test_schemas.py
"""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.e2e.conftest import Running, gateway
from tests.e2e.test_access import new_key

EXAMPLES = int(os.environ.get("SERIN_EXAMPLES", "12"))
LIMIT_SECONDS = 15.0
FLAGS = ("--workers", "1", "--invocations-model", "digits", "--load-wait-seconds", "0.5")
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ENDLESS = {"GET /api/v1/events/stream"}
"""Answers that do not end by themselves."""

WAITING = {"load"}
"""Words at the end of a path that wait for workers: a few of them are enough."""

REAL = {"model": "digits", "version": "1", "label": "stable"}
"""A made-up name is hardly ever that of a model; every other request has these."""


OPEN = ("/v2/health/", "/v2/models/{model}/ready", "/v2/models/{model}/versions/{version}/ready")
OPEN += ("/health", "/ping", "/readyz", "/version")
"""What probes ask; everything else needs a key."""

DOCUMENTS = ["/openapi.json", "/api/v1/openapi.json"]


@dataclass(frozen=True, slots=True)
class Keyed:
    """A gateway that asks for keys, and one that opens all of it."""

    running: Running
    headers: dict[str, str]

    def operations(self, document: str) -> tuple[str, list[Any]]:
        """Where the document holds, and its operations; what is unloaded answers 503, so that comes last."""
        base = self.running.admin if document.startswith("/api/") else self.running.http
        read = httpx.get(base + document, headers=self.headers).raise_for_status().json()
        found = [one.ok() for one in schemathesis.openapi.from_dict(read).get_all_operations()]
        return base, sorted(found, key=lambda one: "unload" in one.path)


@pytest.fixture(scope="module")
def keyed() -> Iterator[Keyed]:
    with tempfile.TemporaryDirectory(prefix="serin-") as name:
        file = Path(name) / "keys.toml"
        key = new_key(file, "all", "--role", "admin", "--role", "predict")
        with gateway(Path(name), *FLAGS, "--keys-file", str(file), models=("digits",)) as running:
            yield Keyed(running, {"Authorization": f"Bearer {key}"})


@pytest.mark.parametrize("document", DOCUMENTS)
def test_nothing_but_probes_is_answered_without_a_key(keyed: Keyed, document: str) -> None:
    base, operations = keyed.operations(document)
    for operation in operations:
        path = operation.path.format(**REAL, identity="1", move="promote")
        answer = httpx.request(operation.method, base + path, content=b"{}", timeout=LIMIT_SECONDS)
        if operation.path != "/" and not operation.path.startswith(OPEN):
            assert answer.status_code == 401, operation.label


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_answer_is_one_of_the_documents(keyed: Keyed, document: str) -> None:
    base, operations = keyed.operations(document)
    asked = sum(_ask(one, base, keyed.headers) for one in operations if one.label not in ENDLESS)
    assert asked > 100
    assert not [line for line in keyed.running.log_lines() if line["level"] in ("error", "critical")]


def _ask(operation: Any, base: str, headers: dict[str, str]) -> int:
    few = operation.path.rpartition("/")[2] in WAITING
    count = 0

    @settings(
        max_examples=3 if few else EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy())
    def fire(case: Case) -> None:
        nonlocal count
        count += 1
        if count % 2:
            case.path_parameters.update({name: REAL[name] for name in case.path_parameters if name in REAL})
        answer = case.call(base_url=base, headers=headers, timeout=LIMIT_SECONDS)
        case.validate_response(answer, checks=CHECKS)

    fire()
    return count
