"""What the front ends of one worker share: the path of requests, their bounds, and who answers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from router.doorman import Doorman
from service.about import About
from service.dataplane import Dataplane
from service.feedback import Feedback
from service.http.v2 import V2, Bounds
from service.shelf import Shelf
from service.statistics import Statistics


@dataclass(frozen=True, slots=True)
class Front:
    """`rejected` counts requests that reach no version, by reason. `invocations_model`: who answers where the protocol
    names no model; "" for the only one. `models`: the models' directory, for examples. `doorman` None: nobody is asked.
    """

    dataplane: Dataplane
    v2: V2
    bounds: Bounds
    rejected: Callable[[str], None]
    about: About
    statistics: Statistics
    shelf: Shelf
    feedback: Feedback | None = None
    invocations_model: str = ""
    models: Path | None = None
    doorman: Doorman | None = None
