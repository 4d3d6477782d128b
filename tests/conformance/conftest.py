"""Gateways for the conformance tests: each is started once and shared by all tests that send to its models."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance import zoo
from tests.e2e.conftest import ROOT, Running, gateway

LIMIT_BYTES = 4 * 1024 * 1024


@pytest.fixture(scope="session")
def serin() -> Iterator[Running]:
    """One worker with the zoo and with `digits`; bodies of at most LIMIT_BYTES."""
    with tempfile.TemporaryDirectory(prefix="serin-") as name:
        directory = Path(name)
        zoo.build(directory / "models")
        shutil.copytree(ROOT / "models" / "digits", directory / "models" / "digits")
        with gateway(directory, "--workers", "1", "--max-body-bytes", str(LIMIT_BYTES)) as running:
            yield running


@pytest.fixture
def http(serin: Running) -> Iterator[httpx.Client]:
    """Raw HTTP to that gateway; says nothing of codings by itself."""
    with raw_client(serin) as client:
        yield client


def raw_client(serin: Running, **how: Any) -> httpx.Client:
    return httpx.Client(base_url=serin.http, timeout=30, headers={"Accept-Encoding": "identity"}, **how)
