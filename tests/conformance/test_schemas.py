"""Requests made up from both OpenAPI documents (schemathesis) at a running gateway: it answers each as they say.

More by command: SERIN_EXAMPLES=300 python -m pytest tests/conformance/test_schemas.py
"""

import os
import tempfile
from collections.abc import Iterator
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


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with (
        tempfile.TemporaryDirectory(prefix="serin-") as directory,
        gateway(Path(directory), *FLAGS, models=("digits",)) as found,
    ):
        yield found


@pytest.mark.parametrize("document", ["/openapi.json", "/api/v1/openapi.json"])
def test_every_answer_is_one_of_the_documents(running: Running, document: str) -> None:
    base = running.admin if document.startswith("/api/") else running.http
    schema = schemathesis.openapi.from_dict(httpx.get(base + document).raise_for_status().json())
    asked = 0
    operations = [found.ok() for found in schema.get_all_operations()]
    for operation in sorted(operations, key=lambda one: "unload" in one.path):  # what is gone answers 503
        if operation.label not in ENDLESS:
            asked += _ask(operation, base)
    assert asked > 100
    assert not [line for line in running.log_lines() if line["level"] in ("error", "critical")]


def _ask(operation: Any, base: str) -> int:
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
        answer = case.call(base_url=base, timeout=LIMIT_SECONDS)
        case.validate_response(answer, checks=CHECKS)

    fire()
    return count
