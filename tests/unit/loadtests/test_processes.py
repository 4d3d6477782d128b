"""Children get an environment of their own."""

from pathlib import Path

from loadtests.processes import ROOT, Server, complaints, environment


def test_settings_of_somebodys_own_gateway_do_not_reach_ours() -> None:
    kept = environment({"SERIN_HTTP_PORT": "8000", "HOME": "/home/a", "PYTHONPATH": "/b"})
    assert "SERIN_HTTP_PORT" not in kept
    assert kept["HOME"] == "/home/a"
    assert kept["PYTHONPATH"] == f"{ROOT}:/b"


def test_a_server_has_an_address_for_sockets() -> None:
    assert Server("http://127.0.0.1:18000", "", 1).address == ("127.0.0.1", 18000)


def test_the_last_errors_of_a_log_are_found(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    lines = [f'{{"event": "{number}", "level": "{"error" if number % 2 else "info"}"}}' for number in range(10)]
    log.write_text("\n".join(lines))
    assert complaints(log, 2) == [lines[7], lines[9]]
