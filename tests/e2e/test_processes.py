"""The supervisor and its children: sockets, deaths, drains and refusals with stand-ins, then a whole gateway."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtests.observed import cpu_seconds
from tests.e2e.conftest import ROOT, Running, clean_environment, eventually

LISTENS = "0A"
"""In /proc/net/tcp."""
STANDIN = ("-m", "tests.e2e.standin", "serve")
Start = Callable[..., Any]


def ask(running: Running, path: str = "/") -> tuple[int, int]:
    """Process id of the worker that answered, and the number of the socket that it accepted on."""
    pid, number = httpx.get(running.http + path, timeout=5).text.split()
    return int(pid), int(number)


def answering(running: Running, count: int = 40) -> set[tuple[int, int]]:
    return {ask(running) for _ in range(count)}


def kill_worker_by(running: Running, path: str) -> None:
    with pytest.raises(httpx.TransportError):
        ask(running, path)


def is_replaced(running: Running, victim: int) -> bool:
    return len(running.children()) == 4 and victim not in running.children()


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()


def test_connections_spread_over_all_workers(start: Start) -> None:
    with start("--workers", "3", command=STANDIN, models=()) as running:
        eventually(lambda: len(answering(running)) == 3)
        assert {number for _, number in answering(running)} == {0, 1, 2}


def test_a_killed_worker_is_replaced_and_its_neighbour_answers_meanwhile(start: Start) -> None:
    with start(command=STANDIN, models=()) as running:
        before = dict(map(reversed, eventually(lambda: len(found := answering(running)) == 2 and found)))
        os.kill(before[0], signal.SIGKILL)
        for _ in range(40):
            assert ask(running)  # not one connection is refused or left hanging
        after = eventually(lambda: before[0] not in (now := dict(map(reversed, answering(running)))).values() and now)
        assert after[1] == before[1]
        eventually(lambda: "{'release': 0}" in (running.state / "commands-1").read_text())


def forkserver(running: Running) -> int | None:
    """Process id of the fork server, if there is one."""
    return next((pid for pid, command in running.all_children().items() if "service.forkserver" in command), None)


def listening(pid: int) -> set[int]:
    """The ports that it could accept on."""
    files = Path(f"/proc/{pid}/fd").iterdir()
    held = {os.readlink(file) for file in files if file.is_symlink()}
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return {int(line[1][-4:], 16) for line in lines if line[3] == LISTENS and f"socket:[{line[9]}]" in held}


def test_a_dead_worker_is_replaced_by_a_copy_that_imports_nothing(start: Start) -> None:
    with start(models=("digits/1",)) as running:
        assert len(running.workers()) == 2
        server = forkserver(running)
        os.kill(running.workers()[0], signal.SIGKILL)
        eventually(lambda: len(ready_pids(running)) == len(running.workers()) == 2)
        assert {infer(running, str(number)).status_code for number in range(20)} == {200}
        assert forkserver(running) == server
        assert cpu_seconds([running.workers()[1]]) < cpu_seconds([server])
        copies = [*running.workers(), running.child("service.inventory")]
        assert [os.getsid(pid) for pid in copies] == copies
        assert running.stop() == 0
        assert is_gone(server)


def test_a_copy_has_no_files_but_its_own(start: Start) -> None:
    with start(models=("digits/1",)) as running:
        worker, inventory = running.workers()[0], running.child("service.inventory")
        http, admin = (int(url.rpartition(":")[2]) for url in (running.http, running.admin))
        assert http in listening(worker)
        assert admin not in listening(worker)
        assert not listening(inventory)
        os.kill(running.pid, signal.SIGKILL)  # a copy that held the pipe of another would keep it from ending
        eventually(lambda: is_gone(worker) and is_gone(inventory))


def test_copies_do_not_give_the_same_id_to_two_requests(start: Start) -> None:
    with start(models=("digits/1",)) as running:
        seen: list[str] = []

        def ask_many() -> int:
            seen.extend(infer(running, str(number)).headers["X-Request-Id"] for number in range(10))
            return len({one[:12] for one in seen})  # as many as workers have answered

        eventually(lambda: ask_many() >= 2)
        os.kill(running.workers()[0], signal.SIGKILL)
        eventually(lambda: ask_many() >= 3)
        assert len(set(seen)) == len(seen)


def test_a_controller_that_dies_while_the_workers_drain_is_replaced(start: Start) -> None:
    with start("--drain-delay-seconds", "30", models=("digits/1",)) as running:
        victim = running.child("service.control")
        running.process.send_signal(signal.SIGTERM)
        eventually(lambda: "draining" in running.log())
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: httpx.get(f"{running.admin}/metrics", timeout=5).status_code == 200)
        assert running.child("service.control") != victim
        assert running.stop() == 0  # a second signal ends the drain


def test_without_the_fork_server_a_worker_starts_by_itself_and_the_next_has_another(start: Start) -> None:
    with start(models=("digits/1",)) as running:
        server = forkserver(running)
        os.kill(server, signal.SIGKILL)
        eventually(lambda: is_gone(server))
        for _ in range(2):
            victim = running.workers()[0]
            os.kill(victim, signal.SIGKILL)
            eventually(lambda gone=victim: len(ready_pids(running)) == 2 and gone not in ready_pids(running))
        assert forkserver(running) not in (None, server)
        assert len(running.workers()) == 2
        assert "started without the fork server" in running.log()
        server = forkserver(running)
        os.kill(running.pid, signal.SIGKILL)
        eventually(lambda: is_gone(server))


def test_a_fork_server_that_is_not_wanted_is_not_there(start: Start) -> None:
    with start(models=("digits/1",), SERIN_FORKSERVER="false") as running:
        os.kill(victim := running.workers()[0], signal.SIGKILL)
        eventually(lambda: len(ready_pids(running)) == 2 and victim not in ready_pids(running))
        assert len(running.all_children()) == 4


def ready_pids(running: Running) -> set[int]:
    """The workers that the controller knows to listen."""
    workers = httpx.get(f"{running.admin}/api/v1/status", timeout=5).json()["workers"]
    return {worker["pid"] for worker in workers if worker["listening"]}


def test_a_worker_that_dies_by_itself_is_logged_with_its_signal(start: Start) -> None:
    with start("--workers", "1", command=STANDIN, models=()) as running:
        kill_worker_by(running, "/segv")
        died = eventually(lambda: [line for line in running.log_lines() if line["event"] == "worker-0 died"])
        assert died[0]["signal"] == "SIGSEGV"
        assert eventually(lambda: ask(running))


@pytest.mark.parametrize("role", ["controller", "inventory"])
def test_a_child_that_fails_at_every_start_does_not_spin(start: Start, role: str) -> None:
    with start(command=STANDIN, models=(), faults=f"{role}.start=exit") as running:
        eventually(lambda: running.log().count(f"{role} died") >= 2)
        time.sleep(1.0)
        waits = [line["restart_in_seconds"] for line in running.log_lines() if line["event"] == f"{role} died"]
        assert waits[:3] == [0.0, 0.5, 1.0][: len(waits)]
        assert len(waits) <= 4
        assert ask(running)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_ends_all_children_and_exits_with_0(start: Start, number: signal.Signals) -> None:
    with start(command=STANDIN, models=()) as running:
        children = list(running.children())
        assert len(children) == 4
        assert running.stop(number) == 0
        assert all(is_gone(pid) for pid in children)
        assert "{'drain': True}" in (running.state / "commands-0").read_text()
        events = [line["event"] for line in running.log_lines()]
        assert "stopped" in events


def test_a_second_signal_hurries_the_drain(start: Start) -> None:
    with start("--drain-delay-seconds", "60", command=STANDIN, models=()) as running:
        running.process.send_signal(signal.SIGTERM)
        eventually(lambda: "{'drain': True}" in (running.state / "commands-0").read_text())
        assert running.stop(limit=5) == 0


def test_a_worker_that_does_not_drain_is_killed_at_the_limit(start: Start) -> None:
    flags = ("--drain-delay-seconds", "0.1", "--drain-limit-seconds", "0.3")
    with start(*flags, command=STANDIN, models=()) as running:
        pid = next(pid for pid, _ in answering(running))
        os.kill(pid, signal.SIGSTOP)
        assert running.stop(limit=10) == 0
        assert is_gone(pid)


def test_no_child_outlives_a_supervisor_that_is_killed(start: Start) -> None:
    with start(command=STANDIN, models=()) as running:
        children = list(running.children())
        running.process.kill()
        eventually(lambda: all(is_gone(pid) for pid in children))


def test_after_a_killed_supervisor_the_next_one_starts_on_the_same_port_and_state(start: Start) -> None:
    with start(command=STANDIN, models=()) as running:
        port = running.http.rpartition(":")[2]
        running.process.kill()
    with start("--http-port", port, command=STANDIN, models=()) as again:
        assert again.http.endswith(port)
        assert ask(again)


def serin(directory: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    (directory / "models").mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "service.cli", "serve", *flags],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=directory,
        env=clean_environment(),
    )


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a refused start prints."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("flag", ["--http-port", "--admin-port"])
@pytest.mark.parametrize("shared", [False, True], ids=["plain", "reuseport"])
def test_a_taken_port_is_one_clear_line(tmp_path: Path, flag: str, shared: bool) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        rest = ("--http-port", "0") if flag == "--admin-port" else ("--admin-port", "0")
        line = refusal(serin(tmp_path, flag, str(port), *rest))
    expected = f"serin: {flag}: port {port} on 127.0.0.1 is taken by another program; choose another or stop it"
    assert line == expected


def test_a_missing_models_directory_is_one_clear_line(tmp_path: Path) -> None:
    assert refusal(serin(tmp_path, "--models", "none")) == "serin: --models: no such directory: none"


def test_a_state_directory_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    assert refusal(serin(tmp_path, "--state", "state")) == "serin: --state: state cannot be used: File exists"


def test_a_bad_setting_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "serin.toml").write_text("workers = 0\n")
    expected = "serin: serin.toml: workers: should be greater than or equal to 1, got 0"
    assert refusal(serin(tmp_path)) == expected


def test_a_host_that_is_no_address_is_one_clear_line(tmp_path: Path) -> None:
    expected = "serin: --host: no address is known by the name 'no.such.host.invalid'"
    assert refusal(serin(tmp_path, "--host", "no.such.host.invalid")) == expected


def test_a_state_directory_in_use_is_one_clear_line(start: Start, tmp_path: Path) -> None:
    with start(command=STANDIN, models=()) as running:
        line = refusal(serin(tmp_path, "--state", str(running.state), "--http-port", "0", "--admin-port", "0"))
        assert line == f"serin: --state: {running.state} is in use by another Serin (process {running.pid})"


def infer(running: Running, key: str = "k") -> httpx.Response:
    row = {"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": [0] * 64}
    url = f"{running.http}/v2/models/digits/infer"
    return httpx.post(url, json={"inputs": [row]}, headers={"Serin-Routing-Key": key}, timeout=10)


def test_a_gateway_survives_the_death_of_each_child_with_its_state_as_last_acknowledged(start: Start) -> None:
    with start() as running:
        running.serin("route", "set", "digits", "1=0", "2=100")
        for victim in (running.workers()[0], running.child("service.control"), running.child("service.inventory")):
            os.kill(victim, signal.SIGKILL)
            for _ in range(20):
                answer = infer(running)
                assert (answer.status_code, answer.headers["Serin-Version"]) == (200, "2"), answer.text
            eventually(partial(is_replaced, running, victim))
        running.serin("route", "set", "digits", "1=100")
        assert infer(running).headers["Serin-Version"] == "1"


def test_a_second_start_on_the_same_state_serves_what_was_last_acknowledged(start: Start) -> None:
    with start() as running:
        running.serin("route", "set", "digits", "2=100", "--reason", "better")
        assert running.stop() == 0
    with start() as again:
        assert infer(again).headers["Serin-Version"] == "2"
        assert "better" in again.serin("events")


def test_a_pushed_version_is_known_and_gets_no_traffic(start: Start) -> None:
    with start(models=("digits/1",)) as running:
        source = str(ROOT / "models/digits/2/model.onnx")
        assert running.serin("models", "push", source, "--name", "digits", "--models", str(running.models)) == (
            "digits:2: READY\n"
        )
        assert {infer(running, str(number)).headers["Serin-Version"] for number in range(50)} == {"1"}


def test_a_pushed_copy_is_refused_where_golden_rows_give_its_number_other_outputs(start: Start) -> None:
    with start(models=("digits/1",)) as running:
        source = str(running.models / "digits/1/model.onnx")
        words = ("models", "push", source, "--name", "digits", "--models", str(running.models))
        assert "digits:2: UNAVAILABLE golden rows of version 2: case 0: output" in running.serin(*words, expect=1)
        (running.models / "digits/golden.json").write_text('{"cases": []}')
        eventually(
            lambda: httpx.get(f"{running.http}/v2/models/digits/versions/2/ready", timeout=10).status_code == 200
        )


def test_a_pushed_file_that_is_no_model_is_refused_with_the_reason(start: Start, tmp_path: Path) -> None:
    with start(models=("digits/1",)) as running:
        (tmp_path / "bad.onnx").write_text("<html>")
        words = ("models", "push", str(tmp_path / "bad.onnx"), "--name", "digits", "--models", str(running.models))
        assert "digits:2: UNAVAILABLE" in running.serin(*words, expect=1)
        assert infer(running).status_code == 200


def test_a_version_that_crashes_its_worker_is_blamed_and_the_gateway_serves_on(start: Start) -> None:
    with start(faults="digits:3 crash=1") as running:
        running.serin("route", "set", "digits", "1=100", "3=0")
        url = f"{running.http}/v2/models/digits/versions/3/infer"
        row = {"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": [0] * 64}
        with pytest.raises(httpx.TransportError):
            httpx.post(url, json={"inputs": [row]}, timeout=10)
        settled = eventually(lambda: [line for line in running.log_lines() if line["event"] == "settled a dead worker"])
        assert settled[0]["blamed"] == ["digits", 3]
        eventually(lambda: infer(running).status_code == 200 and len(running.workers()) == 2)


def test_nothing_is_collected_in_the_home_directory(start: Start, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()

    with start(HOME=str(home)) as running:
        running.serin("models", "list")

    assert [path for path in home.rglob("*") if path.is_file()] == []
