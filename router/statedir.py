"""The state directory: one controller at a time, a database that may be broken, and a thread that owns it."""

import asyncio
import fcntl
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from sqlalchemy.exc import DatabaseError, OperationalError

from router.errors import FailedPrecondition, Internal, InvalidArgument, SerinError, Unavailable
from router.routes import RouteTable, decode_table
from router.state import Change, Event, Who
from router.store import Fault, Store, connect, no_fault

DATABASE = "serin.db"
LOCK = "controller.lock"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Opened:
    """An open store, and what a person should know about how it was opened (empty: nothing unusual)."""

    store: Store
    notices: tuple[str, ...] = ()


def open_store(directory: Path, cached: Sequence[Path], at: str, fault: Fault = no_fault) -> Opened:
    """Opens the database. A broken one is moved aside; without any recorded table the newest cached one is restored.

    So lost state falls back to what workers last served, never to "the newest version". `cached`: table files that
    workers wrote. Raises FailedPrecondition when a newer Serin wrote the database, Unavailable when it cannot be used.
    """
    path = directory / DATABASE
    notices = []
    try:
        store = connect(path, fault)
        state = store.load()
    except OperationalError as error:
        raise Unavailable(f"the state in {directory} cannot be opened: {error.orig}") from error
    except (DatabaseError, InvalidArgument, Internal) as error:
        kept = _move_aside(path, at)
        notices.append(f"the state database is broken and was moved to {kept}: {error}")
        store = connect(path, fault)
        state = store.load()
    table = newest_cached(cached) if state.table.revision == 0 else None
    if table is not None:
        restored = replace(state, table=replace(table, revision=table.revision + 1))
        notices.append(f"no recorded state: routes restored from the table that workers last served ({table.revision})")
        event = Event("state.restored", None, Who("serin", notices[-1]), None, sorted(table.routes))
        store.commit(state, Change(restored, (event,)), at)
    elif notices:
        notices.append("no cached table was found: every model starts as if it were new")
    return Opened(store, tuple(notices))


def newest_cached(paths: Sequence[Path]) -> RouteTable | None:
    """The readable table with the highest revision, or None."""
    best = None
    for path in paths:
        try:
            table = decode_table(path.read_bytes())
        except (OSError, SerinError):
            continue
        if table.revision > 0 and (best is None or table.revision > best.revision):
            best = table
    return best


def lock(directory: Path) -> int:
    """Takes the directory for this controller until the returned descriptor is closed or the process ends.

    Raises FailedPrecondition, naming the other controller.
    """
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise FailedPrecondition(
            f"another controller (process {holder}) uses the state directory {directory}"
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


class StoreThread:
    """A store in the one thread that may touch it."""

    def __init__(self, executor: ThreadPoolExecutor, descriptor: int, opened: Opened) -> None:
        self._executor = executor
        self._descriptor = descriptor
        self._store = opened.store
        self.notices = opened.notices

    @classmethod
    async def open(
        cls, directory: Path, at: str, cached: Sequence[Path] = (), fault: Fault = no_fault
    ) -> "StoreThread":
        """Locks and opens a state directory. Raises FailedPrecondition (another controller; a newer schema)."""
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        loop = asyncio.get_running_loop()
        descriptor = -1
        try:
            descriptor = await loop.run_in_executor(executor, lock, directory)
            opened = await loop.run_in_executor(executor, open_store, directory, cached, at, fault)
        except BaseException:
            executor.shutdown(wait=False)
            if descriptor >= 0:
                os.close(descriptor)
            raise
        return cls(executor, descriptor, opened)

    async def run(self, work: Callable[[Store], T]) -> T:
        """The result of `work(store)`, done in the store's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, self._store)

    async def close(self) -> None:
        """Closes the database, then gives up the lock."""
        await self.run(Store.close)
        self._executor.shutdown(wait=True)
        os.close(self._descriptor)


def _move_aside(path: Path, at: str) -> str:
    """Renames the database and its companions; their content may still be of use to a person."""
    suffix = "broken-" + "".join(sign for sign in at if sign.isalnum())
    for part in ("", "-wal", "-shm"):
        source = Path(f"{path}{part}")
        if source.exists():
            source.rename(Path(f"{path}.{suffix}{part}"))
    return f"{path.name}.{suffix}"
