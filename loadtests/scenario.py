"""Scenarios: small files in `scenarios/`, each one load on one model."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

FOLDER = Path(__file__).resolve().parent / "scenarios"
Positive = Annotated[int, Meta(ge=1)]
Versus = Literal["reference", "plain", "one-worker", "alone", "unbatched"]
Beside = Literal["async", "fixed", "mlserver", "kserve"]
Regime = Literal["as is", "awake"]


class BadScenario(Exception):
    """A file that cannot be used; the message names it."""


class Neighbour(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Closed-loop load on another model of the same gateway, meanwhile."""

    model: str
    concurrency: Annotated[int, Meta(ge=1, le=256)]


class Scenario(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One load. `model` is one of `models/` or of `loadtests/made.py`. `sets`: the names it is run by.

    `version`: named in the path; else the route decides. `route`: words for `serin route set`; else the model's own.
    `keys`: so many routing keys in turn; 0 sends none.

    `versus`: the yardstick. "reference" is the plain app, with `beside` others; the rest are the same gateway, but:
    "plain" without the rollout that `rollout` (words for `serin rollout start`) begins, "one-worker" with one worker,
    "alone" without the load on `neighbour`, "unbatched" with every request run by itself.

    `arrivals`: an open loop at this share of what the yardstick managed in a closed loop just before, the same for all.
    `regimes`: the client's core as it is, or kept awake by a spinner.
    """

    name: str = ""
    sets: tuple[str, ...]
    model: str
    version: str | None = None
    concurrency: Annotated[int, Meta(ge=1, le=1024)]
    encoding: Literal["json", "binary"] = "json"
    workers: Positive = 1
    route: tuple[str, ...] = ()
    keys: Annotated[int, Meta(ge=0, le=10_000)] = 0
    versus: Versus = "reference"
    beside: tuple[Beside, ...] = ()
    rollout: tuple[str, ...] = ()
    neighbour: Neighbour | None = None
    arrivals: Annotated[float, Meta(gt=0, le=5)] | None = None
    regimes: tuple[Regime, ...] = ("as is",)

    def __post_init__(self) -> None:
        if (self.versus == "alone") != (self.neighbour is not None):
            raise ValueError('a neighbour goes with versus = "alone", and the other way round')
        if (self.versus == "plain") != bool(self.rollout):
            raise ValueError('a rollout goes with versus = "plain", and the other way round')
        if self.beside and self.versus != "reference":
            raise ValueError("other servers are measured beside the reference only")


def read(path: Path) -> Scenario:
    """Raises BadScenario."""
    try:
        found = msgspec.convert(tomllib.loads(path.read_text()), Scenario)
    except (OSError, ValueError) as error:
        raise BadScenario(f"{path}: {error}") from error
    return msgspec.structs.replace(found, name=path.stem)


def of_set(name: str, folder: Path = FOLDER) -> list[Scenario]:
    """The scenarios of a set, or the one of that name; by workers, then by file name. Raises BadScenario."""
    known = [read(path) for path in sorted(folder.glob("*.toml"))]
    found = [scenario for scenario in known if name in scenario.sets or name == scenario.name]
    if not found:
        sets = sorted({word for scenario in known for word in scenario.sets})
        raise BadScenario(f"no set or scenario {name!r}; sets: {', '.join(sets)}")
    return sorted(found, key=lambda scenario: scenario.workers)
