"""The inventory's process: looks at the disk and is the first to load what lies there. `python -m service.inventory`.

A file that kills it marks itself that way: the attempt is on record, and so are the process's last words.
"""

import asyncio
import faulthandler
import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, sleep, thread_time
from typing import TextIO

from router.client import InventoryLink
from router.loopback import Loopback
from router.reports import InventoryReport
from service import logs
from service.lifeline import Lifeline, open_lifeline
from service.memory import available_memory
from service.priority import give_way
from service.runtime.allowed import allowed_by
from service.runtime.ledger import Ledger, alarm
from service.runtime.packed import Packed
from service.runtime.repository import VersionFiles
from service.runtime.session import SessionOptions
from service.runtime.stock import Stock
from service.runtime.verdict import RUN_SECONDS, Rules, Verdict, examine
from service.settings import Settings
from service.supply import content_of

QUICK_SECONDS = 0.25
"""Between the two looks at the start and after a wish for a rescan."""

MEMORY_SHARE = 4
"""A first load may take one part in so many of the memory that there is, if nobody says otherwise: it must not be for
want of what one file took that the system ends a worker."""

SCAN_SHARE = 40
"""Looking takes at most one part in so many of a core's time, however many versions there are."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What a first load may use. `memory_bytes`: address space besides what is in use, 0 for no limit.

    `run_seconds`: how long one run may take. `last_words`: where the fault handler writes when it ends it all after
    `seconds`; None: it never does.
    """

    options: SessionOptions
    seconds: float
    memory_bytes: int = 0
    last_words: TextIO | None = None
    run_seconds: float = RUN_SECONDS

    def examine(self, version_dir: str, version: int, rules: Rules) -> Verdict:
        """`verdict.examine` within these limits."""
        with alarm(self.seconds, self.last_words), limited_memory(self.memory_bytes):
            return examine(version_dir, version, rules, self.options, self.run_seconds)

    def pack(self, packed: Packed, ledger: Ledger, files: VersionFiles, digest: str) -> None:
        """`Packed.pack` within these limits, unless the process died of it before."""
        attempt = f"{digest} packed"
        if packed.wants(files, digest) and ledger.verdict(attempt) is None:
            limits = alarm(self.seconds, self.last_words), limited_memory(self.memory_bytes)
            with ledger.attempt(attempt, f"{files.path} (packing)"), limits[0], limits[1]:
                packed.pack(files, digest, self.options)


class Rounds:
    """The scan loop, for a thread of its own."""

    def __init__(self, stock: Stock, interval_seconds: float) -> None:
        self._stock = stock
        self._interval_seconds = interval_seconds
        self._wished = 0
        self._answered = 0
        self._wake = threading.Event()
        self._ended = False

    def wish(self, sequence: int) -> None:
        """Look now, and say in the report that this wish was answered. From any thread."""
        self._wished = sequence
        self._wake.set()

    def end(self) -> None:
        """Let `run` return after the round it is in. From any thread."""
        self._ended = True
        self._wake.set()

    def run(self) -> None:
        """Go round until `end`."""
        quick = True
        while not self._ended:
            self._wake.clear()
            wished = self._wished
            if wished != self._answered:
                self._stock.forget_failures()
                quick = True
            pause = self._round(wished, quick)
            self._answered, quick = wished, False
            self._wake.wait(max(self._interval_seconds, pause))

    def _round(self, wished: int, quick: bool) -> float:
        """Seconds to rest after the look: many times what it computed, and as long as it took on a slow disk. A busy
        machine that keeps it waiting must not make it look seldom."""
        if quick:
            self._stock.look()
            sleep(QUICK_SECONDS)
        begun, computed = monotonic(), thread_time()
        readable = self._stock.look()
        pause = max(monotonic() - begun, (thread_time() - computed) * SCAN_SHARE)
        if readable:
            self._stock.take(wished)
        return pause


@contextmanager
def limited_memory(more_bytes: int) -> Iterator[None]:
    """Let this process take at most so much more address space; 0 sets no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _address_space() + more_bytes
    if more_bytes <= 0 or (hard != resource.RLIM_INFINITY and limit > hard):
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def main() -> None:
    """Take stock until the supervisor closes the pipe. Exit code 1 and one log line when that cannot begin."""
    lifeline = open_lifeline()
    settings = Settings(**lifeline.config["settings"])
    give_way()
    logs.configure(form=settings.log_format, level=settings.log_level, process="inventory")
    try:
        ledger = Ledger(settings.state)
        last_words = ledger.last_words()
    except OSError as error:
        logs.get("inventory").error("the state directory cannot be used", reason=error.strerror)
        sys.exit(1)
    faulthandler.enable(last_words)
    if ledger.mourned:
        logs.get("inventory").error(ledger.mourned)
    asyncio.run(_serve(lifeline, settings, ledger, last_words))
    ledger.give_up_attempt()
    # Native code that is still loading cannot be interrupted, and must not keep the process.
    os._exit(0)


async def _serve(lifeline: Lifeline, settings: Settings, ledger: Ledger, last_words: TextIO) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    lifeline.follow(lambda command: None, partial(loop.call_soon_threadsafe, ended.set))
    async with Loopback(lifeline.config["controller"]) as http:
        link = InventoryLink(http, lifeline.config["token"], _tell_trouble)

        def changed() -> None:
            link.changed()
            if stock.report.scanned:
                lifeline.report(ready=True)
                packed.keep_only(digests(stock.report))

        guard = Guard(
            SessionOptions(settings.session_threads, libraries=settings.libraries),
            settings.load_timeout_seconds,
            settings.load_memory_bytes or available_memory() // MEMORY_SHARE,
            last_words,
            settings.request_timeout_seconds,
        )
        stock = Stock(settings.models, ledger, guard.examine, changed, instance=lifeline.config["instance"])
        packed = Packed(settings.state, settings.share_weights_bytes, settings.workers)
        stock.allowed = allowed_by(settings.allowed_digests_file)
        stock.libraries = content_of(settings.libraries)
        stock.on_passed = partial(guard.pack, packed, ledger)
        rounds = Rounds(stock, settings.scan_interval_seconds)
        threading.Thread(target=_run, args=(rounds,), name="rounds", daemon=True).start()
        telling = asyncio.create_task(link.run(lambda: stock.report, rounds.wish), name="link")
        await ended.wait()
        telling.cancel()


def digests(report: InventoryReport) -> set[str]:
    """Of all contents that the inventory knows."""
    return {version.digest for model in report.models.values() for version in model.versions.values()}


def _run(rounds: Rounds) -> None:
    try:
        rounds.run()
    except BaseException:
        # Without its rounds the process would live on and see nothing; the supervisor starts another.
        logs.get("inventory").exception("the inventory failed")
        os._exit(1)


def _tell_trouble(trouble: str) -> None:
    log = logs.get("inventory")
    if trouble:
        log.warning("the controller cannot be told", reason=trouble)
    else:
        log.info("the controller is told again")


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
