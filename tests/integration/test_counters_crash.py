"""A worker that counts is killed again and again; the counts bear it."""

import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from router.aftermath import open_slots, settle
from router.exposition import Build, Exposition, Extra, render
from router.layout import ASSIGNED, OUTCOME, Outcome
from router.tally import BlockCopy, Reader, by_epoch, total
from router.telemetry import FIRST, LED, PHASES

ROOT = Path(__file__).parents[2]
DEATHS = 20

# Counts as fast as it can, under a new epoch every 2000 requests, and says how far it is.
WORKER = """
import itertools, sys
from pathlib import Path
from router.counters import Segment
from router.telemetry import How, Outcome, Recorder, SeriesName, WatchedFamily

segment = Segment.open(Path(sys.argv[1]), 0)
recorder, slot = Recorder(segment), segment.slot(0)
token = recorder.version_token("digits", 1, "sha256:ab")
watched = (WatchedFamily("label", "class", labels=("a", "b", "other")),)
life = int(sys.argv[2])
for turn in itertools.count():
    name = SeriesName("digits", 1, "stable", epoch=life * 1_000_000 + turn)
    series = recorder.variant(name, watched, (life * 1_000_000 + turn) * 10**9)
    for number in range(2000):
        series.assigned(How.SPLIT_DRAWN)
        slot.enter(token, number)
        series.observe(Outcome.OK, 81_000, (1_000, 0, 70_000, 2_000), (number % 3,))
        slot.leave()
    print((turn + 1) * 2000, flush=True)
"""


class Counts:
    """The one variant's totals, read while its worker counts."""

    def __init__(self, directory: Path) -> None:
        self.reader = Reader(directory)

    def read(self) -> BlockCopy | None:
        return next((copy for copy in total(self.reader.read()) if copy.spec.kind == "variant"), None)


def live_and_die(directory: Path, life: int, wait: random.Random) -> tuple[int, list[BlockCopy]]:
    """One life of the worker. Returns the requests that it told of, and what was read meanwhile."""
    command = [sys.executable, "-c", WORKER, str(directory), str(life)]
    counts, seen = Counts(directory), []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        told = [worker.stdout.readline()]
        for _ in range(wait.randrange(1, 12)):
            copy = counts.read()
            assert copy is not None
            seen.append(copy)
        worker.send_signal(signal.SIGKILL)
        told += worker.stdout.readlines()
    return int([line for line in told if line.endswith("\n")][-1]), seen


def test_counts_survive_twenty_kills(tmp_path):
    told, booked, wait = 0, 0, random.Random(7)
    before: list[int] = []
    for life in range(1, DEATHS + 1):
        done, seen = live_and_die(tmp_path, life, wait)
        told += done
        assert len(open_slots(tmp_path, 0)) <= 1
        booked += settle(tmp_path, 0, ("digits", 1) if life % 2 else None)
        after = Counts(tmp_path).read()
        assert after is not None
        for copy in (*seen, after):
            assert all(new >= old for new, old in zip(copy.cells, before, strict=False))
            before = list(copy.cells)
        outcomes = after.family(OUTCOME)
        assert sum(after.family(ASSIGNED)) == sum(outcomes)
        assert outcomes[Outcome.ERROR] + outcomes[Outcome.LOST] == booked <= life
        assert outcomes[Outcome.OK] >= told
        for family in (LED, FIRST, *PHASES):
            assert outcomes[Outcome.OK] - life <= sum(after.family(family)) <= outcomes[Outcome.OK]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["worker-0.0.seg", "worker-0.lock"]


def test_epochs_never_count_more_than_there_was(tmp_path):
    live_and_die(tmp_path, 1, random.Random(1))
    settle(tmp_path, 0)
    copies = Reader(tmp_path).read()
    copies = [copy for copy in copies if copy.spec.kind == "variant"]
    everything = sum(sum(copy.family(ASSIGNED)) for copy in total(copies))
    assert 0 < sum(sum(copy.family(ASSIGNED)) for found in by_epoch(copies).values() for copy in found) <= everything


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")
def test_the_page_is_clean_under_promtool(tmp_path):
    live_and_die(tmp_path, 1, random.Random(1))
    page, _ = render(Exposition(tmp_path, lambda: Extra(Build("serin", "0.1.0", "1.32.0"), (), 3)))
    found = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, timeout=30, check=False)
    assert (found.returncode, found.stdout + found.stderr) == (0, b"")
