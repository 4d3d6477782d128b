"""Which workers there are, what each applied and holds. Bookkeeping only: time is an argument, nothing waits."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from router.reports import FollowReport, Refusal, States, WorkerProcess

SILENT_AFTER_SECONDS = 60.0
"""Without a supervisor's list, a worker that has not followed for so long is no longer live."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker process. `applied` -1: it has not followed this controller yet. `states` None: it has not said."""

    slot: int
    instance: str
    pid: int
    listed: bool = False
    listening: bool = False
    applied: int = -1
    refused: Refusal | None = None
    states: States | None = None
    serial: int = -1
    states_serial: int = -1
    seen: float | None = None
    troubles: Mapping[str, str] = field(default_factory=dict)
    notices: Mapping[str, str] = field(default_factory=dict)

    @property
    def followed(self) -> bool:
        """Whether this controller has heard from it."""
        return self.seen is not None


class Fleet:
    """The workers by instance. `now` is monotonic seconds throughout."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}
        self._condemned: dict[str, None] = {}
        # An answer to a worker that died meanwhile must not bring it back.
        self._gone: deque[str] = deque(maxlen=1024)
        self.supervised = False

    def follow(self, report: FollowReport, now: float) -> bool:
        """Notes a worker's report; False when its full states are still missing here."""
        if report.instance in self._gone:
            return True
        known = self._workers.get(report.instance) or Worker(report.worker, report.instance, report.pid)
        # Two reports may overtake each other on the way: each part is taken from the latest that holds it.
        if report.states is not None and report.serial >= known.states_serial:
            known = replace(known, states=report.states, states_serial=report.serial)
        if report.serial >= known.serial:
            known = replace(known, applied=report.applied, refused=report.refused, serial=report.serial)
            known = replace(known, troubles=report.troubles, notices=report.notices)
        self._workers[report.instance] = replace(known, seen=now)
        return known.states is not None

    def knows(self, instance: str) -> bool:
        """Whether this controller has heard from the instance before."""
        worker = self._workers.get(instance)
        return worker is not None and worker.followed

    def take_list(self, processes: Iterable[WorkerProcess]) -> None:
        """Takes over the supervisor's list: what it no longer names is dead."""
        self.supervised = True
        named = {process.instance: process for process in processes}
        for instance, worker in list(self._workers.items()):
            if worker.listed and instance not in named:
                self._forget(instance)
        for instance, process in named.items():
            known = self._workers.get(instance) or Worker(process.slot, instance, process.pid)
            self._workers[instance] = replace(
                known, slot=process.slot, pid=process.pid, listed=True, listening=process.listening
            )

    def all(self) -> tuple[Worker, ...]:
        """Every known worker, by slot."""
        return tuple(sorted(self._workers.values(), key=lambda worker: (worker.slot, worker.instance)))

    def live(self, now: float) -> tuple[Worker, ...]:
        """Those that may answer requests: listed and listening, or following (it may start to listen any moment)."""
        return tuple(worker for worker in self.all() if self._is_live(worker, now))

    def lagging(self, revision: int, now: float) -> tuple[Worker, ...]:
        """Live workers that have not confirmed the revision."""
        return tuple(worker for worker in self.live(now) if worker.applied < revision)

    def refusal(self, revision: int, now: float) -> tuple[Worker, Refusal] | None:
        """A live worker that refused the revision or a later one, and what it said."""
        for worker in self.live(now):
            if worker.refused is not None and worker.refused.revision >= revision:
                return worker, worker.refused
        return None

    def condemn(self, workers: Iterable[Worker]) -> None:
        """Marks workers for the supervisor to kill."""
        self._condemned.update(dict.fromkeys(worker.instance for worker in workers))

    @property
    def condemned(self) -> tuple[str, ...]:
        """Instances that the supervisor is asked to kill, until its list no longer names them."""
        return tuple(self._condemned)

    def died(self, instance: str) -> None:
        """Notes a death before the next list comes."""
        self._forget(instance)

    def _forget(self, instance: str) -> None:
        self._workers.pop(instance, None)
        self._condemned.pop(instance, None)
        self._gone.append(instance)

    def _is_live(self, worker: Worker, now: float) -> bool:
        if worker.listed:
            return worker.listening or worker.followed
        return worker.seen is not None and now - worker.seen < SILENT_AFTER_SECONDS
