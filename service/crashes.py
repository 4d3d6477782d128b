"""What a death means: who is blamed, who is suspected, and how long the replacement waits. Pure but for two readers."""

import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

#: Signals that the process raises itself while it runs a model (rulings 4).
BLAMING = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})

SETTLED_SECONDS = 60.0
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0


class OpenSlot(Protocol):
    """A run that had begun and not ended when the worker died; `router.counters` reads them."""

    @property
    def model(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def digest(self) -> str: ...
    @property
    def body_hash(self) -> int: ...
    @property
    def alone(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Suspect:
    """A request that may have killed a worker: its version and the xxh3 of its body."""

    model: str
    version: int
    digest: str
    body_hash: int


@dataclass(frozen=True, slots=True)
class Blame:
    """`culprit` is known when exactly one version was running, or on trial; else the suspects run singly after the
    respawn."""

    culprit: Suspect | None = None
    suspects: tuple[Suspect, ...] = ()


@dataclass(frozen=True, slots=True)
class Death:
    """How a child ended. `signal` is None for an exit; `lived_seconds` since its start; `served`: it had listened."""

    code: int
    lived_seconds: float
    served: bool
    out_of_memory: bool = False

    @property
    def signal(self) -> int | None:
        return -self.code if self.code < 0 else None

    @property
    def signal_name(self) -> str | None:
        """E.g. "SIGSEGV"; a real-time signal is its number."""
        names = {int(known): known.name for known in signal.Signals}
        return None if self.signal is None else names.get(self.signal, str(self.signal))

    @property
    def is_native(self) -> bool:
        """Whether a run of a model may have caused it. SIGKILL counts only when the kernel was out of memory."""
        return self.signal in BLAMING or (self.signal == signal.SIGKILL and self.out_of_memory)


def blame(death: Death, slots: Iterable[OpenSlot]) -> Blame:
    """Who caused a death, given the runs that were open (rulings 4). Where several versions ran, it is the one that was
    on trial for an earlier death, if one was."""
    if not death.is_native:
        return Blame()
    seen = list(slots)
    on_trial = _requests(slot for slot in seen if slot.alone)
    for suspects in (_requests(seen), on_trial):
        if len({(suspect.model, suspect.version, suspect.digest) for suspect in suspects}) == 1:
            return Blame(culprit=suspects[0])
    return Blame(suspects=_requests(seen))


def _requests(slots: Iterable[OpenSlot]) -> tuple[Suspect, ...]:
    return tuple(dict.fromkeys(Suspect(s.model, s.version, s.digest, s.body_hash) for s in slots))


def streak_after(streak: int, death: Death) -> int:
    """Deaths in a row that call for patience. One that lived long starts anew; one killed from outside while it
    served does not count, since its replacement is as good as it was."""
    if death.served and not death.is_native and death.signal == signal.SIGKILL:
        return 0
    return 1 if death.lived_seconds >= SETTLED_SECONDS else streak + 1


def wait_seconds(streak: int, longest: float = LONGEST_WAIT_SECONDS) -> float:
    """Pause before the next start: none, then 0.5, 1, 2, ... up to `longest`."""
    if streak <= 1:
        return 0.0
    # The exponent is bounded so that a streak of thousands stays a float.
    return min(longest, FIRST_WAIT_SECONDS * 2.0 ** min(streak - 2, 16))


@dataclass(slots=True)
class Rests:
    """Versions that kill again and again, and may be the only ones of their models, rest before they are run again."""

    deaths: dict[tuple[str, int, str], list[float]] = field(default_factory=dict)

    def died(self, culprit: Suspect, now: float) -> float:
        """A worker died of this version: for how many seconds nobody is to run it. None at the first time."""
        key = culprit.model, culprit.version, culprit.digest
        recent = [at for at in self.deaths.get(key, ()) if now - at < SETTLED_SECONDS]
        self.deaths = {**self.deaths, key: [*recent, now]}
        return wait_seconds(len(recent) + 1)


def oom_kills(memory_events: str) -> int:
    """`oom_kill` of a cgroup's `memory.events`; 0 where there is none."""
    for line in memory_events.splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill" and count.strip().isdigit():
            return int(count)
    return 0


def read_oom_kills(membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """`oom_kills` of the cgroup that this process is in; 0 where it cannot be read."""
    try:
        own = next(line[3:] for line in membership.read_text().splitlines() if line.startswith("0::"))
        return oom_kills((root / own.lstrip("/") / "memory.events").read_text())
    except (OSError, StopIteration):
        return 0
