"""The experiments that there are: every module of this package that has a `ROW`."""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from loadtests.faults import __path__ as places
from loadtests.faults.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Experiment:
    """`row`: of the table in docs/reliability.md. `run` takes whether it is to be the long form."""

    name: str
    row: str
    caption: str
    run: Callable[[bool], Outcome]


def experiments() -> dict[str, Experiment]:
    """By name, in the order of the rows."""
    found = []
    for place in pkgutil.iter_modules(places):
        if place.name.startswith("__"):
            continue
        module = import_module(f"loadtests.faults.{place.name}")
        if hasattr(module, "ROW"):
            caption = (module.__doc__ or "").splitlines()[0]
            found.append(Experiment(place.name, module.ROW, caption, module.run))
    ordered = sorted(found, key=lambda one: (int(one.row.lstrip("C").split()[0]), one.name))
    return {one.name: one for one in ordered}
