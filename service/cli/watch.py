"""`serin rollout watch`: a live view on a terminal, and a line for each change where there is none."""

from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from router.client import AdminClient
from service.cli import evidence_text, output, rollout_text, waiting
from service.logs import printable

Document = dict[str, Any]

BAR_WIDTH = 24
EVENTS = 6
STYLES = {
    "pass": "green",
    "fail": "bold red",
    "inconclusive": "yellow",
    "no_data": "yellow",
    "error": "red",
    "window": "bold green",
    "promoted": "bold green",
    "aborting": "bold red",
    "aborted": "bold red",
    "rolling_back": "bold red",
    "rolled_back": "bold red",
    "holding": "yellow",
    "paused": "yellow",
    "waiting_approval": "yellow",
}
MARKS = {"done": "[x]", "current": "[>]", "next": "[ ]"}


def watch(client: AdminClient, model: str, every_seconds: float, as_json: bool) -> int:
    """Shows one rollout until it is promoted or has ended; the exit code of `wait`."""
    console = Console()
    if as_json or not console.is_terminal:
        return _plain(client, model, every_seconds, as_json)
    with Live(console=console, auto_refresh=False, transient=False) as live:
        for found in waiting.follow(client, model, every_seconds):
            if found is None:
                continue
            live.update(view(found), refresh=True)
            code = waiting.exit_code(found)
            if code is not None:
                return code
    return waiting.PROMOTED


def _plain(client: AdminClient, model: str, every_seconds: float, as_json: bool) -> int:
    last: tuple[Any, ...] | None = None
    for found in waiting.follow(client, model, every_seconds):
        if found is None:
            continue
        if changed(found) != last:
            last = changed(found)
            output.emit_line(found) if as_json else output.say(rollout_text.line(found))
        code = waiting.exit_code(found)
        if code is not None:
            if not as_json:
                output.say(f"{found['id']} is {found['phase']}: {found['reason']}")
            return code
    return waiting.PROMOTED


def changed(found: Document) -> tuple[Any, ...]:
    """What must differ for another line: not every number, or each second would have one."""
    weights = tuple(one["desired_ppm"] for one in found["variants"])
    verdicts = tuple(one["verdict"] for one in found["checks"])
    return found["phase"], found["step_number"], weights, verdicts, found["obstacle"]


def view(found: Document) -> RenderableType:
    """The picture."""
    parts: list[RenderableType] = [_title(found), _steps(found), _weights(found)]
    if found["step"]:
        parts.append(_times(found))
    if found["checks"]:
        parts.append(_checks(found))
    if rows := evidence_text.evidence_rows(found):
        parts += [_evidence(rows), *(_text(note, "yellow") for note in evidence_text.evidence_lines(found))]
    if found["obstacle"]:
        parts.append(_text(f"held up: {found['obstacle']}", "bold yellow"))
    if found["next"]:
        parts.append(_text(f"next: {found['next']}"))
    return Group(*parts, _events(found), _text("Ctrl-C leaves; the rollout goes on.", "dim"))


def _title(found: Document) -> Text:
    title = _text(rollout_text.headline(found), STYLES.get(found["phase"], "bold"))
    why = f": {found['reason']}" if found["reason"] else ""
    title.append("\n").append(printable(f"last moved by {found['actor']}{why}"), "dim")
    return title


def _steps(found: Document) -> Text:
    steps = Text()
    for one in found["steps"]:
        steps.append(f"{MARKS[one['state']]} {printable(one['label'])}  ", "bold" if one["state"] == "current" else "")
    return steps


def _weights(found: Document) -> Table:
    table = _grid("VARIANT", "", "WANTED", "", "MEASURED", "REQUESTS")
    for one in found["variants"]:
        measured = one["measured"]
        table.add_row(
            _text(f"{one['name']} ({one['role']}, version {one['version']})"),
            _bar(one["desired"], 100.0, "blue"),
            _text(f"{output.number(one['desired'])} %"),
            _bar(measured or 0.0, 100.0, "cyan"),
            _text("-" if measured is None else f"{measured:.2f} %"),
            _text(str(one["requests"])),
        )
    return table


def _times(found: Document) -> RenderableType:
    step = found["step"]
    words = _text("; ".join(rollout_text.time_words(found)), "dim")
    rows = Table.grid(padding=(0, 1))
    if step["pause_seconds"] > 0:
        rows.add_row(_text("time"), _bar(step["spent_seconds"], step["pause_seconds"], "green"))
    if step["requests"] > 0:
        told = _text(f"{step['requests_seen']} of {step['requests']}")
        rows.add_row(_text("requests"), _bar(step["requests_seen"], step["requests"], "green"), told)
    return Group(rows, words) if rows.row_count else words


def _checks(found: Document) -> Table:
    table = _grid("CHECK", "VERDICT", "NUMBERS")
    for one in found["checks"]:
        verdict = _text(one["verdict"], STYLES.get(one["verdict"], ""))
        table.add_row(_text(one["name"]), verdict, _text(one["reason"]))
    return table


def _evidence(rows: list[evidence_text.Row]) -> Table:
    table = _grid(*(heading.removeprefix(">") for heading in evidence_text.EVIDENCE))
    for name, verdict, *rest in rows:
        table.add_row(
            _text(str(name)), _text(str(verdict), STYLES.get(str(verdict), "")), *(_text(str(x)) for x in rest)
        )
    return table


def _events(found: Document) -> Table:
    table = _grid("LAST EVENTS", "", "", "")
    for row in rollout_text.event_rows(found["events"][-EVENTS:]):
        _, at, who, what, step, weights, why = row
        told = " ".join(str(word) for word in (step, weights) if word)
        table.add_row(*(_text(str(cell), "dim") for cell in (at, f"{who}: {what}", told, why)))
    return table


def _grid(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _bar(value: float, total: float, style: str) -> ProgressBar:
    return ProgressBar(total=total, completed=min(value, total), width=BAR_WIDTH, complete_style=style)


def _text(text: str, style: str = "") -> Text:
    """Text, not markup: a name like "[red]" is a name."""
    return Text(printable(text), style)
