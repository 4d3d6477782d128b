"""What workers, inventory and supervisor tell the controller, and what it answers: plain values, JSON on the wire."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from router.routes import RouteTable


class VersionState(StrEnum):
    """Triton's words for the state of a version."""

    UNKNOWN = "UNKNOWN"
    LOADING = "LOADING"
    READY = "READY"
    UNAVAILABLE = "UNAVAILABLE"
    UNLOADING = "UNLOADING"


@dataclass(frozen=True, slots=True)
class WorkerVersion:
    """One version as one worker holds it. `digest`: of the content that is loaded or was tried."""

    state: VersionState
    reason: str = ""
    digest: str = ""


States = dict[str, dict[int, WorkerVersion]]
"""model -> version -> what a worker holds."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A table that a worker could not apply, and why."""

    revision: int
    reason: str


@dataclass(frozen=True, slots=True)
class FollowReport:
    """A worker's long poll. `states` None: unchanged since the last report. `serial` grows with every report of an
    instance, so that one that was overtaken is known. `revision_known` -1 asks for the table whatever it is.

    `troubles`: model -> why this worker has stopped choosing a candidate of its present route, which ends a rollout.
    `notices`: model -> what is worth knowing and ends nothing. Both speak of the routes at `applied` or later.
    """

    worker: int
    instance: str
    pid: int
    applied: int
    revision_known: int
    refused: Refusal | None = None
    states: States | None = None
    wait: float = 0.0
    serial: int = 0
    troubles: dict[str, str] = field(default_factory=dict)
    notices: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FollowAnswer:
    """`table` None: nothing newer. `resend`: the controller has no states of this worker and wants all of them."""

    controller: str
    table: RouteTable | None = None
    resend: bool = False


@dataclass(frozen=True, slots=True)
class InventoryVersion:
    """One version as the inventory judged it. `wanted`: model.toml lets it be loaded. The rest is shown, not read."""

    state: VersionState
    reason: str = ""
    digest: str = ""
    stamp: str = ""
    wanted: bool = True
    signature: dict[str, Any] | None = None
    golden: dict[str, Any] | None = None
    load_seconds: float | None = None
    run_seconds: float | None = None
    meaning: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class InventoryModel:
    """One model directory. `error`: why it cannot be used as a whole (a broken model.toml)."""

    default_version: int | None = None
    error: str | None = None
    versions: dict[int, InventoryVersion] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True, slots=True)
class InventoryReport:
    """A full snapshot. `scanned`: all directories were read through once. `sequence`: the last rescan it has done.
    `serial`: which of its instance's snapshots this is, 0 for one that has no number."""

    instance: str = ""
    models: dict[str, InventoryModel] = field(default_factory=dict)
    scanned: bool = False
    sequence: int = 0
    serial: int = 0


@dataclass(frozen=True, slots=True)
class InventoryStill:
    """The snapshot of this number still holds: said in its place when nothing is new, for thousands of models."""

    instance: str
    serial: int


@dataclass(frozen=True, slots=True)
class InventoryAnswer:
    """`resend`: the controller holds another snapshot and wants this one."""

    controller: str
    resend: bool = False


@dataclass(frozen=True, slots=True)
class InventoryCommand:
    """`sequence` goes into the next question's `after`."""

    sequence: int
    rescan: bool


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A worker as the supervisor sees it. `instance` is new for every start."""

    slot: int
    instance: str
    pid: int
    listening: bool


@dataclass(frozen=True, slots=True)
class Blame:
    """The version that was running when a worker died."""

    model: str
    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class Death:
    """A worker that ended unasked. `signal`: name such as SIGSEGV, or number; `out_of_memory`: the cgroup's oom_kill
    rose. It may be told again until it is answered: an instance dies once."""

    slot: int
    instance: str
    signal: str | int | None = None
    blamed: Blame | None = None
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class SuperviseReport:
    """The supervisor's list and what it has lost. `sequence` grows with every report, so that one that was overtaken is
    known; it is handed back."""

    workers: tuple[WorkerProcess, ...] = ()
    deaths: tuple[Death, ...] = ()
    sequence: int = 0
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class SuperviseAnswer:
    """`kill`: instances that did not confirm the table in time. `sequence`: everything up to it is recorded."""

    revision: int
    kill: tuple[str, ...] = ()
    sequence: int = 0
