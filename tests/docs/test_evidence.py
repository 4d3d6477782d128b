"""The page on evidence: its example runs as it stands, and what it names is there."""

import importlib
import re

import pytest

from tests.docs.markdown import ROOT

PAGE = (ROOT / "docs/evidence.md").read_text()
NAMED = re.findall(r"^\| (`router\.[^|]+) \| (.+) \|$", PAGE, re.MULTILINE)


def test_the_example_takes_the_bad_version_back(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    exec(example, {})
    assert re.match(
        r"abort after \d+ requests to the candidate: errors, evidence of harm \d+ : 1", capsys.readouterr().out
    )


@pytest.mark.parametrize(("modules", "told"), NAMED)
def test_what_the_page_names_is_there(modules: str, told: str) -> None:
    found = [importlib.import_module(module) for module in re.findall(r"`([\w.]+)`", modules)]
    names = re.findall(r"`(\w+)", told)
    fields = {name for module in found for value in vars(module).values() for name in dir(value)}
    missing = [name for name in names if not any(hasattr(module, name) for module in found) and name not in fields]
    assert not missing
