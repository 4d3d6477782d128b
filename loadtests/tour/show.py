"""What the tour shows of a rollout while it runs: where it is, and what the evidence says of each check."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.live import Live
from rich.padding import Padding
from rich.table import Table

from loadtests.tour.screen import INDENT, Screen

Document = Mapping[str, Any]
QUIET_SECONDS = 3.0
"""Without a terminal a line is printed when the rollout moves, and else this often."""
TOLD = {
    "errors": "failed", "latency": "latency", "outputs_valid": "not finite", "class_share": "classes",
    "reward": "wrong, by label",
}  # fmt: skip
"""Checks that the tour tells of, in its words."""


@dataclass(slots=True)
class Show:
    """One rollout on the screen. `weights`: those that the candidate has had, in turn."""

    screen: Screen
    began: float = field(default_factory=time.monotonic)
    weights: list[float] = field(default_factory=list)
    _live: Live | None = None
    _said: str = ""
    _at: float = -QUIET_SECONDS

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    @contextmanager
    def running(self) -> Iterator["Show"]:
        """A table that is drawn anew on a terminal; lines elsewhere."""
        if not self.screen.console.is_terminal:
            yield self
            return
        with Live(console=self.screen.console, refresh_per_second=4, transient=True) as self._live:
            yield self
        self._live = None

    def update(self, found: Document) -> None:
        """Show where the rollout is now."""
        weight = candidate_weight(found)
        if weight and (not self.weights or self.weights[-1] != weight):
            self.weights.append(weight)
        head = f"{found['phase']}, version {found['to'][0]['version']} at {weight:g} %"
        if self._live is not None:
            self._live.update(Padding(evidence_table(f"{self.seconds:4.0f} s  {head}", found), INDENT, expand=False))
        elif head != self._said or self.seconds - self._at >= QUIET_SECONDS:
            self._said, self._at = head, self.seconds
            self.screen.say(f"[dim]{self.seconds:4.0f} s[/]  {head}: {evidence_line(found)}")


def candidate_weight(found: Document) -> float:
    """Percent."""
    return float(next(v["recorded_ppm"] for v in found["variants"] if v["role"] == "candidate")) / 10_000


def evidence_line(found: Document) -> str:
    """The checks that have something to say, on one line."""
    parts = []
    for check in checks_of(found):
        safe = check.get("safe")
        if check["verdict"] == "fail":
            parts.append(f"{TOLD[check['name']]}: harm {check['harm']['odds']}")
        elif safe is not None and check["required"]:
            parts.append(f"{TOLD[check['name']]}: safe {safe['odds']}")
    return ", ".join(parts) or "nothing is known yet"


def evidence_table(title: str, found: Document) -> Table:
    """A row a check: what was counted, and what both bettors own."""
    shown = Table(
        title=title, title_justify="left", box=None, header_style="bold", padding=(0, 3, 0, 0), pad_edge=False
    )
    for heading in ("", "candidate", "stable", "evidence of harm", "evidence of safety"):
        shown.add_column(heading, justify="left" if not heading else "right")
    shown.add_column("", justify="left")
    for check in checks_of(found):
        safe = check.get("safe") if check["required"] else None
        mark = {"fail": "[bold red]✗[/]", "pass": "[green]✓[/]"}.get(check["verdict"], "")
        shown.add_row(TOLD[check["name"]], *_marked(check), check["harm"]["odds"], safe["odds"] if safe else "", mark)
    return shown


def checks_of(found: Document) -> list[Document]:
    """Those that the tour tells of, in its order."""
    known = {check["name"]: check for check in (found.get("evidence") or {}).get("checks", ())}
    return [known[name] for name in TOLD if name in known]


def check_of(found: Document, name: str) -> Document:
    """One check of the evidence; empty when it is not there."""
    return next((check for check in checks_of(found) if check["name"] == name), {})


def _marked(check: Document) -> tuple[str, str]:
    """`12 of 65` for rates; requests elsewhere."""
    estimates = check.get("estimates") or [{}]
    if check["name"] in ("errors", "outputs_valid", "reward") and estimates[0]:
        arms = (estimates[0][arm] for arm in ("candidate", "stable"))
        ours, theirs = (f"{arm['marked']:,} of {arm['requests']:,}" for arm in arms)
        return ours, theirs
    return f"{check['requests']['candidate']:,}", f"{check['requests']['stable']:,}"


def until(look: Callable[[], Document], holds: Callable[[Document], bool], show: Show, seconds: float) -> Document:
    """Look until it holds, and show it meanwhile. Raises TimeoutError with where it stood."""
    with show.running():
        while True:
            found = look()
            show.update(found)
            if holds(found):
                return found
            if show.seconds > seconds:
                raise TimeoutError(f"after {seconds:.0f} s the rollout is {found['phase']}: {found.get('reason', '')}")
            time.sleep(0.25)
