"""The examples of rollouts, and the commands that begin one, make documents that Serin honours."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from router.spec import parse_spec, schema
from router.spec_text import read_document
from router.strategies import Strategy
from service.cli import launching
from service.cli.rollouts import start
from tests.docs.markdown import PAGES, ROOT, commands

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
STARTS = [
    words
    for page in PAGES
    for words in commands(page)
    if words[0].endswith("serin") and words[1:3] == ["rollout", "start"]
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.name)
def test_an_example_is_honoured_and_follows_the_schema(example: Path) -> None:
    document = read_document(example.read_text())
    parse_spec(document)
    Draft202012Validator(schema()).validate(document)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.name)
def test_an_example_names_the_schema_and_how_it_is_applied(example: Path) -> None:
    text = example.read_text()
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert named
    assert (example.parent / named[1]).resolve() == ROOT / "docs/reference/rollout.schema.json"
    assert f"serin apply -f examples/{example.name}" in text
    assert yaml.safe_load(text) == read_document(text), "reads alike in YAML 1.1, which most editors have"


def test_there_is_an_example_of_every_strategy() -> None:
    assert {parse_spec(read_document(file.read_text())).strategy for file in EXAMPLES} == set(Strategy)


@pytest.mark.parametrize("words", STARTS, ids=" ".join)
def test_a_rollout_that_the_documentation_begins_is_honoured(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    whole = launching.document

    def document(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        made.append(whole(base, given))
        raise SystemExit(0)

    monkeypatch.setattr(launching, "document", document)
    result = CliRunner().invoke(start, words[3:])
    assert made, result.output
    parse_spec({"model": "digits", **made[0]})


def test_the_documentation_begins_rollouts() -> None:
    assert len(STARTS) >= 8
