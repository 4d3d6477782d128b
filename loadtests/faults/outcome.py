"""What an experiment came to: figures, each with the gate that it must hold."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. `gate` is empty where it is only reported; then it holds. `timed`: a busy machine changes it."""

    name: str
    value: float
    gate: str = ""
    held: bool = True
    timed: bool = False

    @property
    def text(self) -> str:
        """The number as it is read, with the gate."""
        value = f"{self.value:,.0f}" if float(self.value).is_integer() else f"{self.value:,.4g}"
        return f"{value} (gate: {self.gate})" if self.gate else value


def at_most(name: str, value: float, most: float) -> Figure:
    """The figure must not exceed `most`."""
    return Figure(name, value, f"at most {most:g}", value <= most)


def soon(name: str, value: float, most: float) -> Figure:
    """A time, or a ratio of times, that must not exceed `most`."""
    return Figure(name, value, f"at most {most:g}", value <= most, timed=True)


def plenty(name: str, value: float, least: float) -> Figure:
    """A rate that must reach `least`."""
    return Figure(name, value, f"at least {least:g}", value >= least, timed=True)


def at_least(name: str, value: float, least: float) -> Figure:
    """The figure must reach `least`."""
    return Figure(name, value, f"at least {least:g}", value >= least)


def exactly(name: str, value: float, wanted: float = 0) -> Figure:
    """The figure must be `wanted`."""
    return Figure(name, value, f"{wanted:g}", value == wanted)


def shown(name: str, value: float) -> Figure:
    """Reported without a gate."""
    return Figure(name, value)


@dataclass(frozen=True, slots=True)
class Outcome:
    """All figures of one run, and what a reader should know besides."""

    figures: Sequence[Figure]
    notes: Sequence[str] = field(default=())

    @property
    def held(self) -> bool:
        return all(figure.held for figure in self.figures)

    @property
    def broken(self) -> list[Figure]:
        """The figures that do not hold, but for those that a busy machine may spoil."""
        return [figure for figure in self.figures if not figure.held and not figure.timed]
