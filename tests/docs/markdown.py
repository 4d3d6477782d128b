"""Pages of the documentation as text: tables, links, headings, and the shell blocks that a reader may paste."""

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "models/README.md", *(ROOT / "docs").rglob("*.md")])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; `|` in a cell is escaped."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def without_code(text: str) -> str:
    """The text without fenced blocks and code spans, where a `[` is no link and a `#` no heading."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def links(page: Path) -> list[str]:
    """The targets of all links of a page."""
    return re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text()))


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page get, in the way of GitHub."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.+?) *$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command in the ```sh blocks of a page; a pipe is several commands."""
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        for line in _whole_lines(block.replace("\\\n", " ")):
            words = shlex.split(line, comments=True)
            while "|" in words:
                at = words.index("|")
                yield words[:at]
                words = words[at + 1 :]
            if words:
                yield words


def _whole_lines(block: str) -> Iterator[str]:
    """Lines, joined where a quotation goes on over their end."""
    line = ""
    for part in block.splitlines():
        line = f"{line}\n{part}" if line else part
        if line.count("'") % 2 == 0:
            yield line
            line = ""
