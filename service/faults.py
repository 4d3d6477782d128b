"""Faults on purpose, for tests and demos: active only with `SERIN_FAULTS`.

    digits:2 slow=0.05; digits:3 fail=0.2 nonfinite=0.1 crash=0.001; commit.before=exit:3

Entries are parted by `;`. An entry `model:version` (`*` for every version) is followed by what its runs suffer:
`slow=S` waits S seconds before a run (`slow=S@P` with probability P), `fail=P` raises, `nonfinite=P` puts NaN into
the outputs, `crash=P` ends the process with SIGSEGV, where P is a probability; `poison=V` does so for every request in
which a row of numbers begins with V. An entry `point=action:n` acts when that
point of the program is reached for the n-th time (`n` may be left out: the first): `exit` leaves the process at once,
`kill` is SIGKILL, `fail` raises.
"""

import faulthandler
import os
import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from router.errors import InvalidArgument, SerinError

ANY = "*"
EXIT_CODE = 86
VERSION = re.compile(r"^([A-Za-z0-9_][A-Za-z0-9._-]*):([1-9][0-9]*|\*)$")
POINT = re.compile(r"^([a-z][a-z0-9_.]*)=(exit|kill|fail)(?::([1-9][0-9]*))?$")
ACTIONS: Mapping[str, Callable[[], None]] = {
    "exit": lambda: os._exit(EXIT_CODE),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "fail": lambda: _fail(),
}


class FaultInjected(SerinError):
    """A failure that SERIN_FAULTS asked for."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What one run suffers."""

    delay_seconds: float = 0.0
    fails: bool = False
    nonfinite: bool = False
    crashes: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """What the runs of a version suffer: seconds and probabilities."""

    slow_seconds: float = 0.0
    slow: float = 0.0
    fail: float = 0.0
    nonfinite: float = 0.0
    crash: float = 0.0
    poison: float | None = None

    def decide(self, draw: Callable[[], float]) -> Effect:
        """The effect on one run; `draw` gives independent uniform numbers in [0, 1)."""
        return Effect(
            delay_seconds=self.slow_seconds if draw() < self.slow else 0.0,
            fails=draw() < self.fail,
            nonfinite=draw() < self.nonfinite,
            crashes=draw() < self.crash,
        )


@dataclass(frozen=True, slots=True)
class Stop:
    """An action at the n-th visit of a point."""

    action: str
    at: int


@dataclass(slots=True)
class Faults:
    """All faults of a process. Falsy when there are none, so that the hot path may hold None instead."""

    versions: dict[tuple[str, str], Fault] = field(default_factory=dict)
    points: dict[str, Stop] = field(default_factory=dict)
    visits: dict[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Faults":
        """Read the grammar above; "" is no faults. Raises InvalidArgument that quotes the entry at fault."""
        faults = cls()
        for entry in filter(None, (part.strip() for part in text.split(";"))):
            head, *words = entry.split()
            if version := VERSION.match(head):
                faults.versions[version[1], version[2]] = _fault(entry, words)
            elif (point := POINT.match(head)) and not words:
                faults.points[point[1]] = Stop(point[2], int(point[3] or 1))
            else:
                raise InvalidArgument(f"{entry!r} is neither `model:version what=amount ...` nor `point=action:n`")
        return faults

    def __bool__(self) -> bool:
        return bool(self.versions or self.points)

    def for_version(self, model: str, version: int) -> Fault | None:
        """The fault of a version, that of `model:*` if it has none of its own, or None."""
        return self.versions.get((model, str(version))) or self.versions.get((model, ANY))

    def due(self, point: str) -> str | None:
        """Count a visit of `point`; the action that is due now, or None."""
        stop = self.points.get(point)
        if stop is None:
            return None
        self.visits[point] = self.visits.get(point, 0) + 1
        return stop.action if self.visits[point] == stop.at else None

    def hit(self, point: str) -> None:
        """Visit `point` and suffer what is due: the process ends, or FaultInjected is raised, or nothing happens."""
        if action := self.due(point):
            ACTIONS[action]()


def crash() -> NoReturn:
    """End this process as a native fault would, from any thread: by SIGSEGV, without any cleaning up."""
    faulthandler.disable()
    signal.raise_signal(signal.SIGSEGV)
    os._exit(EXIT_CODE)  # not reached: nobody handles the signal any more


def _fault(entry: str, words: list[str]) -> Fault:
    amounts: dict[str, float] = {}
    for word in words:
        name, _, amount = word.partition("=")
        if name == "slow":
            seconds, _, share = amount.partition("@")
            amounts["slow_seconds"] = _number(entry, seconds, 3600.0)
            amounts["slow"] = _number(entry, share or "1", 1.0)
        elif name == "poison":
            amounts["poison"] = _number(entry, amount, 1e9)
        elif name in ("fail", "nonfinite", "crash"):
            amounts[name] = _number(entry, amount, 1.0)
        else:
            raise InvalidArgument(f"{entry!r}: unknown fault {name!r}; there are slow, fail, nonfinite, crash, poison")
    if not amounts:
        raise InvalidArgument(f"{entry!r} says no fault; there are slow, fail, nonfinite, crash, poison")
    return Fault(**amounts)


def _number(entry: str, text: str, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= most:
        raise InvalidArgument(f"{entry!r}: {text!r} is not a number between 0 and {most:g}")
    return number


def _fail() -> None:
    raise FaultInjected("failed on purpose (SERIN_FAULTS)")
