"""Scenarios: small files in `scenarios/`, each one load on one model."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

FOLDER = Path(__file__).resolve().parent / "scenarios"
Positive = Annotated[int, Meta(ge=1)]


class BadScenario(Exception):
    """A file that cannot be used; the message names it."""


class Scenario(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One load. `model` is one of `models/`, or `tiny` or `image`, which are made for the run.

    `version`: named in the path; else the route decides. `route`: words for `serin route set`; else the model's own.
    `keys`: so many routing keys in turn; 0 sends none. `sets`: the names it is run by.
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
