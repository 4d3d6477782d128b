"""`serin audit` against a gateway that runs, one that was killed, and a history that was touched."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.conftest import clean_environment, eventually, gateway

Start = Callable[..., Any]


def test_the_history_is_walked_exported_and_kept_outside(tmp_path: Path) -> None:
    with gateway(tmp_path) as running:
        running.serin("route", "set", "digits", "1=90", "2=10")
        told = running.serin("audit", "verify")
        head = told.split()[-1]
        assert "chain whole" in told
        assert running.serin("audit", "verify", "--state", str(running.state)) == told
        status = json.loads(running.serin("status", "--json"))["audit"]
        assert status["head"] == head
        page = httpx.get(f"{running.admin}/metrics").text
        (digits,) = [line.split()[1] for line in page.splitlines() if line.startswith("serin_audit_head ")]
        assert f"{int(float(digits)):012x}" == head[:12]

        copy = tmp_path / "history.jsonl"
        copy.write_text(running.serin("audit", "export"))
        assert len(copy.read_text().splitlines()) == status["events"]
        running.serin("route", "set", "digits", "1=100")
        running.process.send_signal(signal.SIGKILL)
        running.process.wait(30)
    command = [sys.executable, "-m", "service.cli", "audit", "verify"]

    def verify(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [*command, *words], env=clean_environment(), cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout + done.stderr

    assert verify("--file", str(copy))[1] == told
    with gateway(tmp_path) as again:
        code, whole = verify("--admin-url", again.admin, "--expect-head", head)
        assert (code, f"the expected head is event {status['events']}" in whole) == (0, True)
        eventually(lambda: f'"audit_head": "{whole.split("head ")[1][:64]}' in again.log())

        with closing(sqlite3.connect(again.state / "serin.db")) as database, database:
            database.execute("UPDATE events SET actor = 'somebody else' WHERE id = 2")
        for place in (("--state", str(again.state)), ("--admin-url", again.admin)):
            code, said = verify(*place)
            assert (code, said) == (1, "serin: event 2 does not fit: it, or its hash, is not what was recorded\n")
    assert verify("--state", str(tmp_path / "nowhere"))[0] == 2
