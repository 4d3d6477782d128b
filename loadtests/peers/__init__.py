"""Other servers, and clients of theirs, each in an environment of its own, with the versions and hashes of its lock.

`python -m loadtests.peers` installs them under `.cache/peers/`, which takes minutes and some hundred megabytes, and
says what could not be installed.
"""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

from loadtests.processes import ROOT

HERE = Path(__file__).resolve().parent
CACHE = ROOT / ".cache" / "peers"
SERVERS = ("mlserver", "kserve")
NAMES = (*SERVERS, "tritonclient")
INSTALL_SECONDS = 900.0
LAST_LETTERS = 400


class NotInstalled(Exception):
    """A server that is to be measured is not there; the message says how to get it."""


def command(name: str, file: Path, model: str) -> list[str] | None:
    """How to start the peer on one model; it prints its address as JSON when it is ready. None: not a server's name.

    Raises NotInstalled.
    """
    if name not in SERVERS:
        return None
    if not is_installed(name):
        raise NotInstalled(f"{name} is not installed; `python -m loadtests.peers` tries it")
    return [str(python(name)), str(HERE / f"{name}_app.py"), str(file), model]


def is_installed(name: str) -> bool:
    """Whether it is there as its lock says now."""
    stamp = CACHE / name / ".lock"
    return stamp.exists() and stamp.read_text() == _lock_digest(name)


def install(name: str) -> None:
    """Make its environment, unless it is there. Raises NotInstalled."""
    if is_installed(name):
        return
    venv.create(CACHE / name, clear=True, with_pip=True)
    words = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--require-hashes"]
    pip = [str(python(name)), *words, "-r", str(HERE / f"{name}.lock")]
    try:
        done = subprocess.run(pip, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"{name}: its installation took more than {INSTALL_SECONDS:.0f} s") from None
    if done.returncode:
        raise NotInstalled(f"{name}: {done.stderr.strip()[-LAST_LETTERS:]}")
    (CACHE / name / ".lock").write_text(_lock_digest(name))


def versions(name: str) -> str:
    """The pinned version, for the foot of a table."""
    lines = (HERE / f"{name}.lock").read_text().splitlines()
    return next(line.split("==")[1].split()[0] for line in lines if line.startswith(f"{name}=="))


def python(name: str) -> Path:
    """The interpreter of its environment."""
    return CACHE / name / "bin" / Path(sys.executable).name


def _lock_digest(name: str) -> str:
    return hashlib.sha256((HERE / f"{name}.lock").read_bytes()).hexdigest()
