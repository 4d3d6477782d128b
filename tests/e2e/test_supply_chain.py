"""A gateway that loads listed content only: at the start, by command, from cached routes, and as the list changes."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from tests.e2e.conftest import ROOT, Running, clean_environment, eventually, gateway
from tests.integration.custom_operators import library_path

BODY = {"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": [0.0] * 64}]}


def digests(path: Path) -> dict[str, str]:
    command = [sys.executable, "-m", "service.cli", "models", "digest", str(path)]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60, check=True)
    return {name: digest for digest, name in (line.split() for line in done.stdout.splitlines())}


def write(file: Path, *lines: str) -> None:
    file.with_suffix(".new").write_text("".join(f"{line}\n" for line in lines))
    os.replace(file.with_suffix(".new"), file)


def status(running: Running, version: int) -> int:
    return httpx.post(f"{running.http}/v2/models/digits/versions/{version}/infer", json=BODY, timeout=20).status_code


def test_only_listed_content_is_served(tmp_path: Path) -> None:
    known = digests(ROOT / "models" / "digits")
    listed = tmp_path / "allowed"
    write(listed, f"{known['digits/1']}  digits/1")
    with gateway(tmp_path, "--allowed-digests-file", str(listed)) as running:
        assert (status(running, 1), status(running, 2)) == (200, 503)
        shown = running.serin("models", "show", "digits", "--json")
        assert "is not in the list of those that may be loaded" in shown
        assert "cannot be loaded" in running.says("models", "load", "digits:2", expect=1)
        httpx.post(f"{running.http}/v2/repository/models/digits/load", timeout=60)
        assert status(running, 2) == 503
        assert "cannot be loaded" in running.says("route", "set", "digits", "1=50", "2=50", expect=1)

        write(listed, known["digits/1"], known["digits/2"])
        eventually(lambda: status(running, 2) == 200)
        running.serin("route", "set", "digits", "1=50", "2=50")
        write(listed, "nonsense")
        write(listed, known["digits/1"])
        eventually(lambda: status(running, 2) == 503)
        eventually(lambda: status(running, 1) == 200)
        running.process.send_signal(signal.SIGKILL)
        running.process.wait(30)

    # The recorded routes, and those that workers cached, still want version 2.
    shutil.rmtree(tmp_path / "state" / "packed", ignore_errors=True)
    with gateway(tmp_path, "--allowed-digests-file", str(listed)) as again:
        eventually(lambda: status(again, 1) == 200)
        assert [status(again, 2) for _ in range(10)] == [503] * 10


def refused(tmp_path: Path, *flags: str) -> str:
    (tmp_path / "models").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "service.cli", "serve", "--models", str(tmp_path / "models"), *flags]
    done = subprocess.run(command, env=clean_environment(), cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line


def test_a_start_with_unusable_files_is_refused_in_one_line(tmp_path: Path) -> None:
    write(tmp_path / "allowed", "digits")
    said = refused(tmp_path, "--allowed-digests-file", str(tmp_path / "allowed"))
    assert said.startswith(f"serin: --allowed-digests-file: {tmp_path}/allowed: line 1 does not begin with sha256:")
    assert "cannot be read" in refused(tmp_path, "--allowed-digests-file", str(tmp_path / "none"))
    assert "cannot be read" in refused(tmp_path, "--custom-op-libraries", str(tmp_path / "none.so"))
    (tmp_path / "models" / "ops.so").write_bytes(b"x")
    assert "lies in the models directory" in refused(tmp_path, "--custom-op-libraries", str(tmp_path / "models/ops.so"))


def test_a_gateway_with_a_library_of_operators_serves(tmp_path: Path) -> None:
    library = str(library_path())
    with gateway(tmp_path, SERIN_CUSTOM_OP_LIBRARIES=library) as running:
        assert status(running, 1) == 200
