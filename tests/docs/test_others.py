"""The page on sources and hooks: its settings are read, its checks are valid, its receiver accepts what is sent."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from router.checks import METRICS
from router.hooks import signature
from router.spec_body import CheckBody
from service import settings
from tests.docs.markdown import ROOT

PAGE = (ROOT / "docs/how-to/ask-and-tell-others.md").read_text()


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


def test_the_settings_are_read(tmp_path: Path) -> None:
    (tmp_path / "serin.toml").write_text(block("toml"))
    found = settings.load({"config": str(tmp_path / "serin.toml")})
    assert (set(found.sources), set(found.hooks)) == ({"prom", "quality"}, {"ops"})


def test_the_checks_are_valid() -> None:
    found = [CheckBody.model_validate(check) for check in yaml.safe_load(block("yaml"))["checks"]]
    assert {check.source for check in found} == {"prom", "quality", "ops"}


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_is_explained(metric: str) -> None:
    family = re.sub(r"_p\d\d_", "_p50_", metric)
    assert f"`{family}`" in PAGE


def test_the_receiver_accepts_what_is_sent_and_nothing_else() -> None:
    names: dict[str, Any] = {}
    exec(block("python"), names)
    secret, body = b"sixteen bytes or more", b'{"id":1}'
    header = signature(secret, body, int(time.time()))
    assert names["is_genuine"](secret, header, body)
    assert not names["is_genuine"](secret, header, body + b" ")
    assert not names["is_genuine"](b"another", header, body)
    assert not names["is_genuine"](secret, signature(secret, body, int(time.time()) - 600), body)
