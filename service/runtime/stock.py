"""The inventory's work without its process: look through the repository, examine what stood still, report."""

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from router.reports import InventoryModel, InventoryReport, InventoryVersion, VersionState
from service.runtime import repository
from service.runtime.allowed import Allowed
from service.runtime.golden import expectation
from service.runtime.ledger import Ledger
from service.runtime.repository import ModelFiles, Refused, VersionFiles
from service.runtime.sights import Sights
from service.runtime.verdict import Examine, Rules, Verdict, read_rules

PUBLISH_SECONDS, MANY = 0.5, 1000
"""Between two snapshots while new versions are examined; as many times that as there are so many versions."""

Key = tuple[str, int]
Passed = Callable[[VersionFiles, str], None]
"""(files, digest)"""

log = logging.getLogger("inventory")

MOVING = InventoryVersion(VersionState.LOADING, "its files are still being written")
WAITING = InventoryVersion(VersionState.LOADING, "is being examined")


@dataclass(frozen=True, slots=True)
class _Examined:
    """A version as it was last examined, and what must be the same for that to hold."""

    stamp: str
    rules_key: str
    version: InventoryVersion


class Stock:
    """One look after the other at one repository: `look`, then `take`. Not to be used from two threads.

    `report` is the last snapshot, whole at any time and from any thread; `on_change` is called when it was replaced.
    `on_passed` may do more with a version that can be served, before anybody else hears of it. `allowed`: what may be
    loaded at all; None: anything. `libraries`: stands for those that verdicts depend on.
    """

    def __init__(
        self, models_dir: Path, ledger: Ledger, examine: Examine, on_change: Callable[[], None], *, instance: str = ""
    ) -> None:
        self.report = InventoryReport(instance)
        self.on_passed: Passed | None = None
        self.allowed: Allowed | None = None
        self.libraries = ""
        self._models_dir = models_dir
        self._ledger = ledger
        self._examine = examine
        self._on_change = on_change
        self._before: dict[str, ModelFiles] = {}
        self._now: dict[str, ModelFiles] = {}
        self._settled: set[Key] = set()
        self._rules: dict[str, tuple[str, Rules]] = {}
        self._examined: dict[Key, _Examined] = {}
        self._published = 0.0
        self._sights = Sights()
        self._taken: tuple[dict[str, ModelFiles], set[Key]] | None = None

    def look(self) -> bool:
        """Scan once. False when the repository cannot be read, and all stays as it was."""
        if self.allowed is not None and self.allowed.renew():
            self._taken = None
        try:
            found = self._sights.scan(self._models_dir)
        except OSError as error:
            log.error("the model repository cannot be read: %s", error.strerror)
            return False
        self._before, self._now = self._now, found
        self._settled = repository.settled(self._before, found)
        return True

    def forget_failures(self) -> None:
        """Examine again what did not pass, at the next `take`: somebody asked for it."""
        self._taken = None
        self._examined = {key: known for key, known in self._examined.items() if known.version.state == "READY"}

    def take(self, sequence: int = 0) -> None:
        """Examine all that stood still since the look before and is not known; report on the way and at the end.

        `sequence`: the last wish for a rescan that this answers.
        """
        if self._taken == (self._now, self._settled) and sequence == self.report.sequence:
            return  # nothing would come of it
        self._refresh_rules()
        versions = dict(self._sighted())
        pending = [key for key, version in versions.items() if version is WAITING]
        for key in pending:
            self._publish_now_and_then(versions)
            versions[key] = self._judge(key)
        self._examined = {key: known for key, known in self._examined.items() if key in versions}
        self._publish(versions, replace(self.report, scanned=True, sequence=sequence))
        is_at_rest = not pending and self._before == self._now
        self._taken = (self._now, self._settled) if is_at_rest else None

    def _refresh_rules(self) -> None:
        rules = {}
        for name, model in self._now.items():
            known, before = self._rules.get(name), self._before.get(name)
            moved = before is None or before.stamp != model.stamp
            if known is None or (known[0] != model.stamp and not moved):
                known = (model.stamp, read_rules(self._models_dir, name))
            rules[name] = known
        self._rules = rules

    def _sighted(self) -> Iterator[tuple[Key, InventoryVersion]]:
        for name, model in self._now.items():
            for number, files in sorted(model.versions.items()):
                yield (name, number), self._at_sight((name, number), files)

    def _at_sight(self, key: Key, files: VersionFiles) -> InventoryVersion:
        """What can be said without reading the files; WAITING when they must be examined."""
        rules = self._rules[key[0]][1]
        if problem := files.refusal or rules.error:
            return _unavailable(problem)
        if not rules.manifest.loads(key[1]):
            return replace(_unavailable("left out by `versions` in model.toml"), wanted=False)
        if key not in self._settled:
            return MOVING
        known = self._examined.get(key)
        if known is not None and (known.stamp, known.rules_key) == (files.stamp, rules.key):
            return self._permitted(known.version)
        digest = self._ledger.digest(f"{key[0]}/{key[1]}", files.stamp)
        return (self._refused(digest, files) if digest else None) or WAITING

    def _permitted(self, version: InventoryVersion) -> InventoryVersion:
        """A version that was examined, unless its content may not be loaded any more."""
        refusal = self.allowed(version.digest) if self.allowed is not None else None
        return version if refusal is None else replace(version, state=VersionState.UNAVAILABLE, reason=refusal)

    def _refused(self, digest: str, files: VersionFiles) -> InventoryVersion | None:
        """What is said of content that may not be loaded; None when it may."""
        refusal = self.allowed(digest) if self.allowed is not None else None
        return None if refusal is None else replace(_unavailable(refusal), digest=digest, stamp=files.stamp)

    def _judge(self, key: Key) -> InventoryVersion:
        files, rules = self._now[key[0]].versions[key[1]], self._rules[key[0]][1]
        place = f"{key[0]}/{key[1]}"
        try:
            trail = repository.trail(files.path, self._models_dir)
            digest = self._digest(place, files)
        except Refused as refused:
            return _unavailable(str(refused))
        except OSError as error:
            return _unavailable(f"its files cannot be read: {error.strerror}")
        if (unlisted := self._refused(digest, files)) is not None:
            self._ledger.remember_digest(place, files.stamp, digest)
            return unlisted
        # One content under two numbers is examined once, unless golden rows expect something else of each.
        expected = expectation(rules.golden, key[1])
        content = f"{digest} {rules.key}{self.libraries}{expected and f' expecting {expected}'}"
        verdict = self._verdict(key, content)
        if verdict.passed and self.on_passed is not None:
            self.on_passed(files, digest)
        if not self._still_there(key, trail):
            return MOVING
        self._ledger.remember_digest(place, files.stamp, digest)
        self._ledger.remember(content, verdict)
        version = _version(verdict, digest, files.stamp)
        self._examined[key] = _Examined(files.stamp, rules.key, version)
        return version

    def _still_there(self, key: Key, trail: str) -> bool:
        """Whether what was read is what was looked at."""
        files = self._now[key[0]].versions[key[1]]
        after = repository.look(self._models_dir, *key)
        try:
            return (
                after is not None
                and after.stamp == files.stamp
                and repository.trail(after.path, self._models_dir) == trail
            )
        except OSError:
            return False

    def _digest(self, place: str, files: VersionFiles) -> str:
        known = self._ledger.digest(place, files.stamp)
        return known or repository.digest(files.path, os.path.realpath(self._models_dir))

    def _verdict(self, key: Key, content: str) -> Verdict:
        if (known := self._ledger.verdict(content)) is not None:
            return known
        with self._ledger.attempt(content, f"{key[0]}:{key[1]}"):
            verdict = self._examined_now(key)
        if verdict.passed:
            log.info("%s:%d can be served%s", *key, f" ({verdict.reason})" if verdict.reason else "")
        else:
            log.warning("%s:%d cannot be served: %s", *key, verdict.reason)
        return verdict

    def _examined_now(self, key: Key) -> Verdict:
        try:
            return self._examine(self._now[key[0]].versions[key[1]].path, key[1], self._rules[key[0]][1])
        except Exception as error:  # a bug of ours on one file must not keep the others from being served
            log.exception("examining %s:%d failed", *key)
            return Verdict(False, f"examining it failed unexpectedly ({type(error).__name__}); the log says more")

    def _publish_now_and_then(self, versions: dict[Key, InventoryVersion]) -> None:
        # Thousands of first loads must not mean thousands of snapshots of thousands of versions: each costs the
        # controller and every worker a look at all of them.
        if monotonic() - self._published >= PUBLISH_SECONDS * max(1.0, len(versions) / MANY):
            self._publish(versions, self.report)

    def _publish(self, versions: dict[Key, InventoryVersion], onto: InventoryReport) -> None:
        self._save()
        models = {name: self._model(name, model, versions) for name, model in self._now.items()}
        # In one step: somebody who hears "looked through" believes that what is not there does not exist.
        report = replace(onto, models=models)
        self._published = monotonic()
        if report != self.report:  # at rest nobody needs to hear of thousands of models every few seconds
            self.report = report
            self._on_change()

    def _model(self, name: str, model: ModelFiles, versions: dict[Key, InventoryVersion]) -> InventoryModel:
        rules = self._rules[name][1]
        return InventoryModel(
            default_version=rules.manifest.default_version,
            error=model.refusal or rules.error,
            versions={number: versions[name, number] for number in sorted(model.versions)},
            description=rules.manifest.description,
        )

    def _save(self) -> None:
        try:
            self._ledger.save()
        except OSError as error:
            log.warning("verdicts cannot be kept for the next start: %s", error.strerror)


def _unavailable(reason: str) -> InventoryVersion:
    return InventoryVersion(VersionState.UNAVAILABLE, reason)


def _version(verdict: Verdict, digest: str, stamp: str) -> InventoryVersion:
    return InventoryVersion(
        state=VersionState.READY if verdict.passed else VersionState.UNAVAILABLE,
        reason=verdict.reason,
        digest=digest,
        stamp=stamp,
        signature=verdict.signature,
        golden=verdict.golden,
        load_seconds=verdict.load_seconds,
        run_seconds=verdict.run_seconds,
        meaning=verdict.meaning,
    )
