"""What a person sees of the tour: colours and boxes on a terminal, plain text elsewhere."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

PIPE_WIDTH = 125
INDENT = (0, 0, 0, 3)
SHADES = " .:-=+*#%@"


@dataclass(frozen=True, slots=True)
class Claim:
    """Something the tour says, and whether it was so in this run."""

    text: str
    holds: bool
    seen: str


@dataclass(slots=True)
class Screen:
    """Prints the tour and keeps its claims."""

    console: Console
    claims: list[Claim] = field(default_factory=list)
    _steps: int = 0

    @classmethod
    def standard(cls) -> "Screen":
        found = Console(highlight=False)
        return cls(found if found.is_terminal else Console(width=PIPE_WIDTH, highlight=False))

    def step(self, title: str) -> None:
        """A new part of the tour begins."""
        self._steps += 1
        self.console.print(f"\n[bold cyan]{self._steps}. {escape(title)}[/]")

    def say(self, text: str) -> None:
        """A sentence; it may hold markup."""
        self.console.print(Padding(text, INDENT, expand=False))

    def typed(self, command: str, answer: str) -> None:
        """A command and what it printed."""
        self.console.print(f"   [bold]$ {escape(command)}[/]", soft_wrap=True)
        for line in answer.rstrip().splitlines():
            self.console.print(f"   [dim]{escape(line.rstrip())}[/]", soft_wrap=True)
        self.console.print()

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Rows under headings. All but the first column are numbers, unless the heading begins with `<`."""
        shown = Table(box=None, header_style="bold", padding=(0, 3, 0, 0), pad_edge=False)
        for number, heading in enumerate(headings):
            left = not number or heading.startswith("<")
            shown.add_column(heading.removeprefix("<"), justify="left" if left else "right")
        for row in rows:
            shown.add_row(*row)
        self.console.print(Padding(shown, INDENT, expand=False))

    def show(self, shown: Table) -> None:
        """A table that is made already."""
        self.console.print(Padding(shown, INDENT, expand=False))

    def claim(self, text: str, holds: bool, seen: str) -> None:
        """Say something that can be wrong; it decides the exit code."""
        self.claims.append(Claim(text, holds, seen))
        line = Table.grid(padding=(0, 1, 0, 0))
        line.add_row(_mark(holds), f"{text} [dim]({escape(seen)})[/]")
        self.console.print(Padding(line, INDENT, expand=False))

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A spinner while something takes a moment; on a terminal only."""
        with self.console.status(text):
            yield

    def summary(self) -> None:
        """All claims again, below each other."""
        shown = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
        for claim in self.claims:
            shown.add_row(_mark(claim.holds), claim.text, f"[dim]{escape(claim.seen)}[/]")
        self.console.print(Padding(shown, INDENT, expand=False))

    @property
    def held(self) -> bool:
        """Whether everything that was claimed was so; nothing claimed is nothing shown."""
        return bool(self.claims) and all(claim.holds for claim in self.claims)


def picture(pixels: NDArray[np.float32]) -> list[str]:
    """An 8 x 8 digit as eight lines; two letters a pixel, since letters are tall."""
    levels = np.clip(pixels.reshape(8, 8) / 16 * (len(SHADES) - 1), 0, len(SHADES) - 1).round().astype(int)
    return ["".join(SHADES[level] * 2 for level in row) for row in levels]


def percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")


def _mark(holds: bool) -> str:
    return "[green]✓[/]" if holds else "[bold red]✗[/]"
