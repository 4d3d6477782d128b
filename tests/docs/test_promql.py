"""The queries that the documentation shows use metrics and labels that exist."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from router.metrics import METRICS
from tests.docs.markdown import PAGES

BLOCKS = [
    block
    for page in PAGES
    if page.exists()
    for block in re.findall(r"^```promql\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
]
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}


def known() -> dict[str, set[str]]:
    """Name of a series -> its labels."""
    found = {}
    for metric in METRICS:
        for suffix in SUFFIXES.get(metric.kind, ("",)):
            found[metric.name + suffix] = {*metric.labels, *(("le",) if suffix == "_bucket" else ())}
    return found


def test_there_are_queries() -> None:
    assert len(BLOCKS) > 5


@pytest.mark.parametrize("block", BLOCKS)
def test_a_query_names_series_and_labels_that_exist(block: str) -> None:
    names = set(re.findall(r"\bserin_\w+", block))
    assert names
    assert names <= set(known())
    asked = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)\s*\"", block))
    asked |= {label.strip() for group in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", block) for label in group.split(",")}
    assert asked <= set().union(*(known()[name] for name in names))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_is_shown_in_use(metric: object) -> None:
    name = getattr(metric, "name", "")
    assert any(name in block for block in BLOCKS)


@pytest.mark.slow
def test_prometheus_can_read_every_query(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is not installed: the queries of the documentation were not parsed")
    queries = [query for block in BLOCKS for query in split(block)]
    rules = [f"  - record: check:q{number}\n    expr: |\n{indent(query)}" for number, query in enumerate(queries)]
    file = tmp_path / "rules.yml"
    file.write_text("groups:\n- name: docs\n  rules:\n" + "\n".join(rules) + "\n")
    done = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def split(block: str) -> list[str]:
    """Lines are queries of their own where each is whole: no line goes on with an operator or inside a bracket."""
    lines = block.strip().splitlines()
    whole = all(line.count("(") == line.count(")") and not re.match(r"\s*[-/+*]|\s", line) for line in lines)
    return lines if whole else [block.strip()]


def indent(query: str) -> str:
    return "\n".join(f"      {line}" for line in query.splitlines())
