"""From files to something that can run: checked, loaded, warmed up and measured. Runs in a thread."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter_ns
from typing import Protocol

from router.errors import FailedPrecondition, SerinError
from router.routes import Wanted
from service.protocol.tensors import Signature
from service.runtime import repository
from service.runtime.allowed import Refusal, anything
from service.runtime.company import best_count, fit_rows
from service.runtime.executor import Executor, Limits, Runnable
from service.runtime.golden import GoldenError, parse_golden
from service.runtime.manifest import Execution, Manifest, parse_manifest
from service.runtime.options import options_of
from service.runtime.packed import Packed
from service.runtime.profile import Profile, warm_up
from service.runtime.repository import MANIFEST_FILE, MODEL_FILE, Refused, VersionFiles
from service.runtime.runqueue import RunQueue, undisturbed_clock
from service.runtime.seats import Feeds
from service.runtime.session import Session, SessionOptions
from service.watch import Watch, compile_watch

ALWAYS_INLINE = 1 << 62
MOST_MEASURED = 4096
ATTEMPTS = 3
"""A version that is published beside this one changes the directory that both lie in."""

log = logging.getLogger("loading")


class Moving(FailedPrecondition):
    """What was read may not be what was looked at: a version's files, or its directory, changed meanwhile."""


class Signed(Protocol):
    """A session here or elsewhere."""

    signature: Signature


@dataclass(frozen=True, slots=True)
class Parts:
    """What came of one load. `runnable` is the session, or what the loader put before it. `limits` None: the server's.
    `executor` runs it. `whole`: the model that takes whole bodies elsewhere, `whole_binary`: also binary ones."""

    session: Signed
    runnable: Runnable
    manifest: Manifest
    watch: Watch
    profile: Profile
    limits: Limits | None = None
    executor: type[Executor] = Executor
    whole: str = ""
    whole_binary: bool = False


def no_wrap(model: str, version: int, session: Session) -> Runnable:
    """The session as it is."""
    return session


@dataclass(frozen=True, slots=True)
class Loader:
    """How versions are loaded. `wrap` may put something before the session (faults); it is warmed up without that.

    `packed`: where weights may lie that all workers share. `execution`, `threads`: in place of what
    model.toml says of them.
    `measured`: what content was measured to cost, so that versions of equal content run alike in a process.
    `refusal`: why content may not be loaded.
    """

    models_dir: Path
    options: SessionOptions = field(default_factory=SessionOptions)
    limits: Limits = field(default_factory=Limits)
    wrap: Callable[[str, int, Session], Runnable] = no_wrap
    packed: Packed | None = None
    execution: Execution | None = None
    threads: int | None = None
    measured: dict[tuple[str, str], Profile] = field(default_factory=dict)
    refusal: Refusal = anything

    def load(self, model: str, version: int, wanted: Wanted) -> Parts:
        """Load what is wanted and nothing else. Raises FailedPrecondition with a reason fit to be shown, Moving where
        that may pass.

        That the content is the wanted one is seen from the stamp, before and after; where that differs, by its digest.
        An empty digest takes what is there.
        """
        if (refused := self.refusal(wanted.digest)) is not None:
            raise FailedPrecondition(refused)
        for _ in range(ATTEMPTS):
            parts = self._load(model, version, wanted)
            if parts is not None:
                return parts
        raise Moving("its files changed while they were read")

    def _load(self, model: str, version: int, wanted: Wanted) -> Parts | None:
        """None when what was read may not be what was looked at."""
        try:
            files = self._files(model, version)
            trail = repository.trail(files.path, self.models_dir)
            self._require_content(files, wanted)
            manifest = self._manifest(model)
            session = self._session(files, wanted.digest, options_of(self.options, manifest.runtime))
            profile = self._profile(model, version, session, (wanted.digest, manifest))
            parts = self._parts(model, version, session, (manifest, profile))
            moved = repository.trail(files.path, self.models_dir) != trail
            if moved or self._files(model, version).stamp != files.stamp:
                return None
        except Refused as refused:
            raise FailedPrecondition(str(refused)) from refused
        except OSError as error:
            raise FailedPrecondition(f"its files cannot be read: {error.strerror}") from error
        except MemoryError as error:
            raise FailedPrecondition("it needs more memory than there is") from error
        return parts

    def limits_of(self, execution: Execution) -> Limits:
        """The limits of a version: what `model.toml` says, else those of the server."""
        concurrency, queue, seconds = execution.max_concurrency, execution.max_queue, execution.max_queue_seconds
        adaptive = execution.adaptive_concurrency
        own = self.limits
        return replace(
            own,
            max_concurrency=own.max_concurrency if concurrency is None else concurrency,
            max_queue=own.max_queue if queue is None else queue,
            batches=own.batches if concurrency is None else concurrency,
            longest_wait_seconds=own.longest_wait_seconds if seconds is None else seconds,
            adaptive=own.adaptive if adaptive is None else adaptive,
            overlap=own.overlap and concurrency is None,
        )

    def _files(self, model: str, version: int) -> VersionFiles:
        files = repository.look(self.models_dir, model, version)
        if files is None:
            raise FailedPrecondition("its files are gone")
        if files.refusal:
            raise FailedPrecondition(files.refusal)
        return files

    def _require_content(self, files: VersionFiles, wanted: Wanted) -> None:
        if not wanted.digest or files.stamp == wanted.stamp:
            return
        if repository.digest(files.path, os.path.realpath(self.models_dir)) != wanted.digest:
            raise FailedPrecondition("its files are not those that were examined")

    def _manifest(self, model: str) -> Manifest:
        manifest = parse_manifest(repository.read_beside(self.models_dir, model, MANIFEST_FILE))
        if self.execution is not None:
            manifest = manifest.model_copy(update={"execution": self.execution})
        if self.threads is not None:
            runtime = manifest.runtime.model_copy(update={"threads": self.threads})
            manifest = manifest.model_copy(update={"runtime": runtime})
        return manifest

    def _session(self, files: VersionFiles, digest: str, options: SessionOptions) -> Session:
        packed = self.packed.path(digest) if self.packed else None
        if packed is not None:
            try:
                return Session(packed, replace(options, optimize=False))
            except FailedPrecondition as error:
                log.warning("%s: its packed weights cannot be used: %s", files.path, error.message)
        return Session(os.path.join(files.path, MODEL_FILE), options)

    def _parts(self, model: str, version: int, session: Session, known: tuple[Manifest, Profile]) -> Parts:
        runnable, (manifest, profile) = self.wrap(model, version, session), known
        if runnable is not session and manifest.execution.mode != "inline":
            # What stands before the session was not measured and may well block.
            profile = Profile(-1, profile.run_ns, manifest.execution.max_batch_rows or 1)
        watch = compile_watch(manifest.meanings(), session.signature)
        return Parts(session=session, runnable=runnable, manifest=manifest, watch=watch, profile=profile)

    def _profile(self, model: str, version: int, session: Session, content: tuple[str, Manifest]) -> Profile:
        """What it costs, measured by runs that warm it up; of content that was measured before, what was found then."""
        digest, manifest = content
        found = self._measure(model, version, session, manifest)
        if not digest:
            return found
        if len(self.measured) >= MOST_MEASURED:
            self.measured.clear()
        return self.measured.setdefault((digest, manifest.model_dump_json(include={"execution", "runtime"})), found)

    def _measure(self, model: str, version: int, session: Session, manifest: Manifest) -> Profile:
        known = self._golden_feeds(model, version, manifest)
        measured = warm_up(session.run, session.signature, known, perf_counter_ns)
        rows = self._batch_rows(session, known, manifest.execution)
        mode = manifest.execution.mode
        if mode == "auto":
            return replace(measured, batch_rows=rows)
        return Profile(ALWAYS_INLINE if mode == "inline" else -1, measured.run_ns, rows)

    def _batch_rows(self, session: Session, known: list[Feeds], execution: Execution) -> int:
        """As many as pay, or as `model.toml` says; 1 where rows do not go together, whatever it says."""
        wanted = execution.max_batch_rows
        if wanted == 1 or not (rows := fit_rows(session.run, session.signature, known)):
            return 1
        return wanted or best_count(session.run, rows[0], undisturbed_clock(RunQueue()))

    def _golden_feeds(self, model: str, version: int, manifest: Manifest) -> list[Feeds]:
        if manifest.golden is None:
            return []
        try:
            content = repository.read_beside(self.models_dir, model, manifest.golden.file)
            return [case.feeds for case in parse_golden(content, version)] if content is not None else []
        except (GoldenError, Refused):
            return []  # the inventory says so; the version itself is not worse for it


def reason_of(error: BaseException) -> str:
    """Why a load failed, fit to be shown."""
    if isinstance(error, SerinError):
        return error.message
    return f"loading failed unexpectedly ({type(error).__name__}); the log says more"
