"""`serin serve` and `--help`: what greets a person, and what the command line does not load."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from service.cli import run
from service.cli.serve import sample_row, welcome
from service.supervisor import Gateway


def test_the_welcome_shows_addresses_and_a_curl_with_a_real_row(tmp_path: Path) -> None:
    gateway = Gateway("http://127.0.0.1:8000", "http://127.0.0.1:8002", 4, tmp_path, tmp_path)
    assert sample_row(tmp_path) is None
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits/heldout.json").write_text('{"inputs": {"pixels": [[0, 1], [2, 3]]}}')
    text = welcome(gateway, sample_row(tmp_path))
    assert "curl -s http://127.0.0.1:8000/v2/models/digits/infer -d '" in text
    assert '"shape":[1,2],"data":[0,1]' in text
    assert "http://127.0.0.1:8002" in text
    assert "gRPC" not in text
    assert "gRPC     127.0.0.1:8001" in welcome(replace(gateway, grpc="127.0.0.1:8001"), None)
    assert "curl -s http://127.0.0.1:8000/v2\n" in welcome(gateway, None)


def test_help_is_exit_code_0_for_every_word(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["serve"], ["models"], ["models", "push"], ["route", "set"], ["events"], ["assign"]):
        assert run([*words, "--help"]) == 0
    assert "serin route set digits 1=90 2=10" in capsys.readouterr().out


def test_the_command_line_and_the_supervisor_load_nothing_heavy() -> None:
    script = (
        "import sys, service.cli, service.supervisor;"
        "heavy = ('numpy', 'onnxruntime', 'fastapi', 'starlette', 'uvicorn', 'sqlalchemy');"
        "print([name for name in heavy if name in sys.modules])"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout == "[]\n"
