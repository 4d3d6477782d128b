"""The state directory is deleted, cut, scrambled, read-only, older or newer: what a start makes of it."""

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from loadtests import client
from loadtests.faults.counting import answered, request
from loadtests.faults.outcome import Figure, Outcome, exactly, shown
from loadtests.faults.stand import Stand, stand

ROW = "C11"
ASKED, LEAST, MOST = 300, 0.04, 0.18


def run(long: bool) -> Outcome:
    """Each damage to a state whose route is 90/10, with a newest version 3 that nobody approved."""
    figures: list[Figure] = []
    for name, damage in DAMAGES.items():
        with stand(1, 2, 3) as at:
            with at.gateway(workers=1) as gateway:
                gateway.route(v1=90, v2=10).raise_for_status()
            damage(at.state)
            figures += after(name, at)
    return Outcome(figures)


def after(name: str, at: Stand) -> list[Figure]:
    """A start on the damaged state: callers get what they got before, and the log has words for it."""
    log = at.state.with_name("state.log")
    with at.gateway(workers=1) as gateway:
        requests = [request(number, key=f"caller-{number}") for number in range(ASKED)]
        replies = client.run(client.exchange(*gateway.address, requests, connections=8, seconds=60.0))
        seen = Counter(answered(reply.body)[0] for reply in replies if reply.status == 200)
        told = gateway.admin_answers()
    share = seen[2] / ASKED
    said = [line for line in log.read_text().splitlines() if '"level": "error"' in line or '"level": "warning"' in line]
    return [
        exactly(f"{name}: answered, of {ASKED}", seen.total(), ASKED),
        exactly(f"{name}: answers by the version that nobody approved", seen[3]),
        exactly(f"{name}: the split is as it was", int(share == 0 if name in RESETS else LEAST <= share <= MOST), 1),
        exactly(f"{name}: tracebacks in the log", log.read_text().count("Traceback")),
        shown(f"{name}: lines about it in the log", len(said)),
        shown(f"{name}: the admin API answers", int(told)),
    ]


def _database(state: Path) -> Path:
    return state / "serin.db"


def _delete(state: Path) -> None:
    for path in state.glob(f"{_database(state).name}*"):
        path.unlink()


def _cut(state: Path) -> None:
    database = _database(state)
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])


def _scramble(state: Path) -> None:
    database = _database(state)
    content = bytearray(database.read_bytes())
    for place in range(0, len(content), 64):
        content[place] ^= 0xFF
    database.write_bytes(content)


def _empty(state: Path) -> None:
    _database(state).write_bytes(b"")


def _newer(state: Path) -> None:
    with sqlite3.connect(_database(state)) as database:
        database.execute("UPDATE meta SET value = '9999' WHERE name = 'schema_version'")


def _caches(state: Path) -> None:
    for path in state.glob("table-*.json"):
        path.write_text(json.dumps({"broken": True})[:-4])


def _counters(state: Path) -> None:
    for path in (state / "counters").iterdir():
        path.write_bytes(b"\0" * 100)


def _everything(state: Path) -> None:
    shutil.rmtree(state)


DAMAGES: Mapping[str, Callable[[Path], None]] = {
    "database deleted": _delete,
    "database cut": _cut,
    "database scrambled": _scramble,
    "database empty": _empty,
    "newer schema": _newer,
    "caches broken": _caches,
    "counters broken": _counters,
    "all deleted": _everything,
}
RESETS = frozenset({"all deleted"})
"""Nothing is left to go by: the route is what `default_version` says."""
