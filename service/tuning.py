"""What `serin tune` tries, which of it is best, and how that is written into a model.toml."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from router.errors import FailedPrecondition

BATCHES = (1, 8, 32, 128)
ALIKE = 0.95
"""Setups of at least this share of the best throughput count as equally quick; then the shorter wait decides."""

Value = str | int | float
Tables = Mapping[str, Mapping[str, Value]]
"""Keys and values by the table of model.toml that they stand in."""


@dataclass(frozen=True, slots=True)
class Setup:
    """One way to run a version: worker processes, threads of each run, rows of a run at most, and `mode` as in
    model.toml."""

    workers: int
    threads: int
    batch: int
    mode: str = "auto"

    @property
    def execution(self) -> dict[str, Value]:
        """How requests share a run: the table of that name in model.toml."""
        return {"mode": self.mode, "max_batch_rows": self.batch}

    @property
    def tables(self) -> Tables:
        """What of it belongs into model.toml; workers are a setting of the server."""
        return {"execution": self.execution, "runtime": {"threads": self.threads}}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a setup came to: of all workers together. `failed`: requests that were not answered."""

    setup: Setup
    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int = 0


def grid(cores: int, *, batches: Sequence[int] = BATCHES, modes: Sequence[str] = ("auto", "thread")) -> list[Setup]:
    """Every setup that is worth a try on so many cores: workers × threads is at most that."""
    return [
        Setup(workers, threads, batch, mode)
        for workers in _doubling(cores)
        for threads in _doubling(cores // workers)
        for batch in batches
        for mode in modes
    ]


def better(one: Outcome | None, other: Outcome) -> Outcome:
    """Of two tries of a setup the quicker one: what disturbs a try only makes it slower."""
    return other if one is None or other.per_second > one.per_second else one


def best(outcomes: Sequence[Outcome], p99_ms: float | None = None) -> Outcome | None:
    """The one to take: of those that kept the limit the quickest, and of equally quick ones the one with the shorter
    p99, then with fewer processes and threads. None when none kept it."""
    fit = [one for one in outcomes if not one.failed and (p99_ms is None or one.p99_ms <= p99_ms)]
    if not fit:
        return None
    most = max(one.per_second for one in fit)
    quick = [one for one in fit if one.per_second >= ALIKE * most]
    return min(quick, key=lambda one: (round(one.p99_ms, 1), one.setup.workers * one.setup.threads, one.setup.batch))


def with_tables(text: str, tables: Tables) -> str:
    """A model.toml with these keys in these tables, and all else as it was, comments too.

    Raises FailedPrecondition where one is written in a way that cannot be changed line by line.
    """
    for section, values in tables.items():
        text = _with_table(text, section, values)
    return text


def _with_table(text: str, section: str, values: Mapping[str, Value]) -> str:
    before = tomllib.loads(text)
    wanted = {**before, section: {**before.get(section, {}), **values}}
    changed = "".join(_lines(text, section, values))
    try:
        done = tomllib.loads(changed) == wanted
    except tomllib.TOMLDecodeError:
        done = False
    if not done:
        lines = ", ".join(_line(key, value) for key, value in values.items())
        raise FailedPrecondition(f"model.toml has no plain [{section}] table to change; write there yourself: {lines}")
    return changed


def _lines(text: str, section: str, values: Mapping[str, Value]) -> Iterator[str]:
    lines, left = text.splitlines(keepends=True), dict(values)
    start = next((number for number, line in enumerate(lines) if _is_section(line, section)), None)
    if start is None:
        yield from lines
        yield ("" if not text or text.endswith("\n") else "\n") + ("\n" if text else "") + f"[{section}]\n"
        yield from (_line(key, value) + "\n" for key, value in left.items())
        return
    after = range(start + 1, len(lines))
    end = next((number for number in after if lines[number].lstrip().startswith("[")), len(lines))
    last = max(number for number in range(start, end) if number == start or lines[number].strip())
    for number, line in enumerate(lines):
        key = line.partition("=")[0].strip() if start < number < end else ""
        yield _replaced(line, key, left.pop(key)) if key in left else line
        if number == last:
            yield from (("" if line.endswith("\n") else "\n") + _line(new, left[new]) + "\n" for new in left)


def _is_section(line: str, section: str) -> bool:
    return re.fullmatch(rf"\s*\[\s*{section}\s*\]\s*(#.*)?\n?", line) is not None


def _replaced(line: str, key: str, value: Value) -> str:
    """The same line with another value; the comment stays in its column where there is room."""
    comment = line.find("#", line.index("="))
    end = "\n" if line.endswith("\n") else ""
    indent = line[: len(line) - len(line.lstrip())]
    new = indent + _line(key, value)
    return new + end if comment < 0 else new.ljust(comment - 1) + " " + line[comment:]


def _line(key: str, value: Value) -> str:
    return f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}"


def _doubling(most: int) -> Iterator[int]:
    number = 1
    while number <= most:
        yield number
        number *= 2
