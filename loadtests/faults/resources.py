"""The disk of the state directory is full, or read-only at the start; then a worker may open no more files."""

import os
import resource
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic

from loadtests.faults.callers import Callers
from loadtests.faults.judging import failed, liveness, why, wrong
from loadtests.faults.outcome import Figure, Outcome, exactly, soon
from loadtests.faults.stand import Gateway, Stand, eventually, stand
from loadtests.observed import PROC, workers
from loadtests.processes import serin

ROW = "C12"
DISK_MIB, RATE, HARM_SECONDS = 64, 100.0, 3.0
MORE_FILES, CROWD = 8, 100
RECOVERY_SECONDS = 5.0


def run(long: bool) -> Outcome:
    """All three, one after the other. Mounting a small file system needs root; without it only the last is tried."""
    figures, notes = [], []
    with stand(1, 2) as at:
        if os.geteuid() == 0:
            with small_disk(at), at.gateway() as gateway:
                figures += spoiled(gateway, at)
            figures += read_only(at)
        else:
            notes.append("the disk was not tried: mounting one needs root")
        with at.gateway() as gateway:
            figures += exhausted(gateway)
    return Outcome(figures, notes)


def spoiled(gateway: Gateway, at: Stand) -> list[Figure]:
    """A full disk: requests go on, a change is refused and changes nothing, and afterwards all is as before."""
    gateway.route(v1=90, v2=10).raise_for_status()
    before = gateway.ask("/api/v1/routes")["routes"]
    with Callers(gateway.address, RATE) as callers:
        callers.wait(0.5)
        with filled(at):
            refused = [gateway.route(v1=50, v2=50).status_code for _ in range(3)]
            during = gateway.ask("/api/v1/routes")["routes"]
            callers.wait(HARM_SECONDS)
        begun = monotonic()
        eventually(lambda: gateway.route(v1=80, v2=20).status_code == 200 or None, 30.0)
        took = monotonic() - begun
        callers.stop()
    return [
        exactly(f"disk full: requests failed ({why(callers.sent)})", len(failed(callers.sent))),
        exactly("disk full: wrong answers", len(wrong(callers.sent))),
        exactly("disk full: changes not refused with 503 or 507", sum(code not in (503, 507) for code in refused)),
        exactly("disk full: the route is another one", int(during != before)),
        soon("disk full: seconds until a change is taken again, without a restart", took, RECOVERY_SECONDS),
        liveness(callers.looks),
    ]


def read_only(at: Stand) -> list[Figure]:
    """A start on a disk that cannot be written is refused in one line."""
    at.state.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", "ro", "none", str(at.state))
    ports = [f"--{name}-port=0" for name in ("http", "admin", "grpc")]
    command = serin("serve", "--models", str(at.models), "--state", str(at.state), *ports)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30.0, check=False)
    finally:
        subprocess.run(["umount", "-l", str(at.state)], check=True)
    return [
        exactly("disk read-only at the start: exit code", done.returncode, 2),
        exactly("disk read-only at the start: lines said", len(done.stderr.splitlines()), 1),
    ]


def exhausted(gateway: Gateway) -> list[Figure]:
    """Every worker may open only a few more files, and a crowd connects: who is there already is served on."""
    with Callers(gateway.address, RATE, connections=8, health=False) as callers, ExitStack() as crowd:
        callers.wait(1.0)
        limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in workers(gateway.pid)}
        for pid, (_, hard) in limits.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(PROC / str(pid) / "fd")) + MORE_FILES, hard))
        for _ in range(CROWD):
            crowd.enter_context(socket.create_connection(gateway.address, timeout=5.0))
        callers.wait(HARM_SECONDS)
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
        crowd.close()
        begun = monotonic()
        eventually(lambda: gateway.is_ready() or None, 30.0)
        took = monotonic() - begun
        same = set(limits) == set(workers(gateway.pid))
        callers.stop()
    kept = [one for one in failed(callers.sent) if not one.first]
    return [
        exactly(f"no more files: requests of those who were connected failed ({why(kept)})", len(kept)),
        exactly("no more files: wrong answers", len(wrong(callers.sent))),
        exactly("no more files: workers that ended", int(not same)),
        soon("no more files: seconds until new callers are served, without a restart", took, RECOVERY_SECONDS),
    ]


@contextmanager
def small_disk(at: Stand) -> Iterator[None]:
    """A file system of its own for the state."""
    at.state.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={DISK_MIB}m", "none", str(at.state))
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(at.state)], check=True)


@contextmanager
def filled(at: Stand) -> Iterator[None]:
    filler = at.state / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
    yield
    filler.unlink()


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)
