"""What the commands print: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.logs import printable

#: Width of a table that goes into a pipe or a file; 80 would cut names that a person wants to grep for.
PIPE_WIDTH = 160


def emit(value: Any) -> None:
    """Print a value as indented JSON."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def emit_line(value: Any) -> None:
    """Print a value as one line of JSON, for streams."""
    sys.stdout.write(json.dumps(value, default=str) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print plain text; what it quotes cannot move the cursor."""
    sys.stdout.write("\n".join(printable(line) for line in text.split("\n")) + "\n")
    sys.stdout.flush()


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows under headings; a heading that begins with `>` is aligned to the right. `empty`: text without rows."""
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        shown.add_column(
            heading.removeprefix(">"), justify="right" if heading.startswith(">") else "left", overflow="fold"
        )
    for row in rows:
        # Text, not markup: a name like "[red]" is a name.
        shown.add_row(*(Text(printable("" if cell is None else str(cell))) for cell in row))
    if not shown.row_count:
        say(empty)
        return
    console = Console()
    if console.is_terminal:
        console.print(shown)
        return
    plain = Console(width=PIPE_WIDTH, color_system=None)
    with plain.capture() as captured:
        plain.print(shown)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    sys.stdout.flush()


def number(value: float) -> str:
    """A percentage as people write it: 90 and 12.5, whichever JSON type carried it."""
    return f"{value:.10g}"


def complain(text: str) -> None:
    """One line on standard error, in the program's name."""
    sys.stderr.write(f"serin: {printable(text)}\n")
