"""`python -m loadtests.figures RESULTS.jsonl`: saved results as the table of docs/performance.md and the picture of the
README. `make figures` measures first.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from xml.sax.saxutils import escape

from loadtests.processes import ROOT

DOCUMENT = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "images" / "performance.svg"
README = ROOT / "README.md"
MEASURED, PICTURED = "measured", "picture"
"""What `with_block` replaces in the document, and in the README."""

WIDTH, LEFT, RIGHT = 820, 170, 110
BAR, GAP, HEAD = 18, 5, 34
COLOURS = {"serin": "#b8860b", "fixed": "#9aa0a6"}
OTHER = "#5b7c99"
WORDS = {
    "reference": "FastAPI, def",
    "async": "FastAPI, async def",
    "fixed": "uvicorn, fixed answer",
    "mlserver": "MLServer",
    "kserve": "KServe",
    "serin": "Serin",
}
TITLES = {
    "tiny": "a model that costs nothing",
    "tabular": "200 boosted trees",
    "mlp": "a network limited by memory",
    "image": "[1, 3, 224, 224] as 1.6 MB of JSON",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One server in one scenario: medians over its rounds, and the median ratio to the reference."""

    server: str
    ratio: float
    per_second: float
    p99_ms: float
    core_micros: float


@dataclass(frozen=True, slots=True)
class Group:
    """One scenario in one regime."""

    name: str
    title: str
    regime: str
    bars: tuple[Bar, ...]


def groups_of(records: Iterable[Mapping[str, Any]]) -> list[Group]:
    """What was measured against the reference; of a scenario that was measured twice the later one."""
    found = {}
    for record in records:
        if "scenario" in record and "reference" in record["rounds"]:
            group = _group(record)
            found[group.name, group.regime] = group
    return [found[key] for key in sorted(found)]


def table(groups: Sequence[Group]) -> str:
    """All of it in Markdown."""
    lines = ["| scenario | client | server | × rate | requests/s | p99 ms | core µs |", "|---|---|---|---|---|---|---|"]
    for group in groups:
        for bar in group.bars:
            first = bar is group.bars[0]
            head = f"| {group.name if first else ''} | {group.regime if first else ''} | {_word(bar.server)}"
            numbers = f"{bar.ratio:.2f} | {bar.per_second:,.0f} | {bar.p99_ms:.1f} | {bar.core_micros:,.0f}"
            lines.append(f"{head} | {numbers} |")
    return "\n".join(lines)


def picture(groups: Sequence[Group], foot: str) -> str:
    """Bars of the rate against the reference, a scenario below the other, as SVG."""
    parts: list[str] = []
    top = 10
    for group in groups:
        parts.append(_text(10, top + 20, f"{group.title}: {group.name}", font_weight="bold"))
        top += HEAD
        most = max(bar.ratio for bar in group.bars) or 1.0
        for bar in group.bars:
            parts += _drawn(bar, top, most)
            top += BAR + GAP
        top += 14
    parts.append(_text(10, top + 12, foot, font_size="11", fill="#555"))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top + 24}" font-family="sans-serif">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>", ""])


def with_block(document: str, name: str, block: str) -> str:
    """The document with what stands between the marks of this name replaced. Raises ValueError without them."""
    first, last = marks(name)
    before, begin, rest = document.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"{first} and {last} are not in it")
    return f"{before}{first}\n{block}\n{last}{after}"


def marks(name: str) -> tuple[str, str]:
    """The comments that a block stands between."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def _group(record: Mapping[str, Any]) -> Group:
    scenario = record["scenario"]
    bars = [
        Bar(
            server,
            record["ratios"][server],
            median(one["requests"] / one["seconds"] for one in rounds),
            median(one["p99_ms"] for one in rounds),
            median(one["core_micros"] for one in rounds),
        )
        for server, rounds in record["rounds"].items()
    ]
    title = TITLES.get(scenario["model"], scenario["model"])
    return Group(scenario["name"], title, record["regime"], tuple(bars))


def _drawn(bar: Bar, top: int, most: float) -> list[str]:
    length = max(1.0, bar.ratio / most * (WIDTH - LEFT - RIGHT))
    colour = COLOURS.get(bar.server, OTHER)
    return [
        _text(LEFT - 8, top + 14, _word(bar.server), text_anchor="end"),
        f'<rect x="{LEFT}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>',
        _text(LEFT + length + 6, top + 14, f"{bar.ratio:.1f} × ({bar.per_second:,.0f}/s)", font_size="12"),
    ]


def _text(x: float, y: float, words: str, **style: str) -> str:
    told = {"font-size": "13", "fill": "#222"} | {name.replace("_", "-"): value for name, value in style.items()}
    attributes = " ".join(f'{name}="{value}"' for name, value in told.items())
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(words)}</text>'


def _word(server: str) -> str:
    return WORDS.get(server, server)


def _foot(record: Mapping[str, Any]) -> str:
    facts = record["machine"]
    versions = f"{facts['python']}, onnxruntime {facts['onnxruntime']}"
    return "; ".join((record["at"][:10], facts["processor"], versions, facts["load"]))


def main() -> int:
    """Write both files; the exit code."""
    parser = argparse.ArgumentParser(prog="loadtests.figures", description="Saved results as table and picture.")
    parser.add_argument("results", type=Path, help="a file of loadtests/results/")
    records = [json.loads(line) for line in parser.parse_args().results.read_text().splitlines()]
    groups = groups_of(records)
    if not groups:
        print("figures: it has no scenario with a reference", file=sys.stderr)
        return 2
    foot = _foot(records[-1])
    DOCUMENT.write_text(with_block(DOCUMENT.read_text(), MEASURED, f"{table(groups)}\n\nMeasured: {foot}."))
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(picture([group for group in groups if group.regime == "as is"], foot))
    shown = f"![Requests per second, side by side]({PICTURE.relative_to(ROOT)})"
    README.write_text(with_block(README.read_text(), PICTURED, shown))
    print("written:", *(path.relative_to(ROOT) for path in (DOCUMENT, PICTURE, README)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
