"""`serin tune` with real processes on a tiny model."""

import json
from pathlib import Path

import pytest

from router.errors import FailedPrecondition
from router.routes import Wanted
from service.cli import run
from service.cli.trials import Subject, attempt
from service.runtime.loading import Loader
from service.runtime.manifest import parse_manifest
from service.runtime.session import Session, SessionOptions
from service.tuning import Setup
from tests.unit.service.runtime.tiny import place, times

QUICK = ("--seconds", "0.2", "--callers", "4", "--batch", "4")
BODY = '{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}\n'


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0})  # one core makes few setups
    place(tmp_path, "m", 1, times(2.0))
    (tmp_path / "m" / "model.toml").write_text("# mine\nversions = [1]\n")
    return tmp_path


def test_workers_are_tried_together_and_their_requests_add_up(models: Path) -> None:
    outcome, source = attempt(Subject(str(models), "m", 1, 4, 0.2), Setup(2, 1, 4, "thread"))
    assert outcome.per_second > 0
    assert 0 < outcome.p50_ms <= outcome.p99_ms
    assert (outcome.failed, source) == (0, "zeros")


def test_the_best_is_written_and_the_rest_of_the_file_stays(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (models / "bodies").write_text(BODY)
    inputs = str(models / "bodies")
    assert run(["tune", "m", "--models", str(models), *QUICK, "--inputs", inputs, "--json", "--write"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["inputs"] == "recorded"
    assert told["best"] in told["tried"]
    text = (models / "m" / "model.toml").read_text()
    assert text.startswith("# mine\nversions = [1]\n")
    written = parse_manifest(text.encode())
    assert (written.execution.mode, written.execution.max_batch_rows) == (told["best"]["mode"], told["best"]["batch"])
    assert written.runtime.threads == told["best"]["threads"]


def test_a_version_that_cannot_be_loaded_says_why(models: Path) -> None:
    place(models, "m", 2, b"no model")
    with pytest.raises(FailedPrecondition, match="m:2 is not available"):
        attempt(Subject(str(models), "m", 2, 1, 0.2), Setup(1, 1, 1))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("nope",), "no model 'nope'"),
        (("m", "--version", "3"), "no version 3; it has 1"),
        (("m", "--inputs", "missing"), "cannot be read"),
        (("m", *QUICK, "--p99-ms", "0.000001"), "no setup kept a p99"),
    ],
)
def test_what_cannot_be_tried_is_named(
    models: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], complaint: str
) -> None:
    assert run(["tune", *words, "--models", str(models)]) != 0
    assert complaint in capsys.readouterr().err


def test_a_recorded_request_that_does_not_fit_is_named_by_its_line(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (models / "bodies").write_text(BODY + BODY.replace('"x"', '"y"'))
    assert run(["tune", "m", "--models", str(models), "--inputs", str(models / "bodies")]) != 0
    assert "bodies: line 2: " in capsys.readouterr().err


def test_threads_of_an_earlier_tuning_do_not_decide_what_is_tried(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (models / "m" / "model.toml").write_text("[runtime]\nthreads = 3\n")
    tried: list[int] = []
    original = Session.__init__

    def noted(self: Session, path: str, options: SessionOptions) -> None:
        tried.append(options.threads)
        original(self, path, options)

    monkeypatch.setattr(Session, "__init__", noted)
    Loader(models, threads=2).load("m", 1, Wanted("", ""))
    Loader(models).load("m", 1, Wanted("", ""))
    assert tried == [2, 3]
