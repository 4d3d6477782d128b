"""The examples of files in the documentation are files that Serin reads."""

import json
import re
import tomllib
from typing import Any

import pytest
from pydantic import BaseModel

from service.runtime import manifest
from service.runtime.golden import parse_golden
from tests.docs.markdown import ROOT, commands

PAGE = ROOT / "docs/how-to/write-a-model-toml.md"


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return str(found)


def test_the_model_toml_is_valid() -> None:
    assert manifest.parse_manifest(block("toml").encode()).default_version == 1


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ((), manifest.Manifest),
        (("inputs", "pixels"), manifest.InputFacts),
        (("drift",), manifest.DriftFacts),
        (("execution",), manifest.Execution),
        (("golden",), manifest.Golden),
    ],
)
def test_the_model_toml_shows_every_key(path: tuple[str, ...], part: type[BaseModel]) -> None:
    document: Any = tomllib.loads(re.sub(r"^# (?=\w+ = )", "", block("toml"), flags=re.MULTILINE))
    for key in path:
        document = document[key]
    assert set(document) == set(part.model_fields)


def test_the_golden_cases_are_valid() -> None:
    assert parse_golden(block("json").encode(), 1)[0].expected.keys() == {"label"}
    assert parse_golden(block("json").encode(), 2)[0].expected.keys() == {"probabilities"}


def test_the_curl_of_the_readme_sends_a_row_of_the_sample_model() -> None:
    (body,) = (word for words in commands(ROOT / "README.md") for word in words if word.startswith("{"))
    (tensor,) = json.loads(body)["inputs"]
    rows = json.loads((ROOT / "models/digits/heldout.json").read_text())
    assert tensor["data"] == rows["inputs"]["pixels"][0]
    assert rows["truth"]["label"][0] == 2
