"""What can be said of the image without building it."""

import re
from pathlib import Path

import pytest

from service.settings import PREFIX, Settings
from tests.packaging.dockerfile import ROOT, copies, environment, in_context, instructions


def only(word: str) -> str:
    (found,) = (i.text for i in instructions() if i.word == word)
    return found


def test_the_base_is_pinned_to_a_patch_version() -> None:
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.\d+\.\d+-slim-[a-z]+", only("ARG"))
    assert {i.text.split()[0] for i in instructions() if i.word == "FROM"} == {"${PYTHON_IMAGE}"}


def test_the_user_is_a_number_and_not_root() -> None:
    user, group = only("USER").split(":")
    assert int(user) > 0
    assert int(group) > 0


def test_serin_is_process_one_and_gets_the_signals() -> None:
    (entry,) = (i for i in instructions() if i.word == "ENTRYPOINT")
    assert entry.items == ["serin", "serve"]
    assert only("STOPSIGNAL") == "SIGTERM"


def test_only_hashed_packages_of_the_runtime_lock_are_installed() -> None:
    installs = [i.text for i in instructions() if i.word == "RUN" and "pip install" in i.text]
    locked = [text for text in installs if "--require-hashes -r requirements.lock" in text]
    own = [text for text in installs if "--no-deps --no-build-isolation ." in text]
    assert len(locked) == len(own) == 1
    assert len(installs) == 2


def test_every_serin_variable_of_the_image_is_a_setting() -> None:
    names = {name.removeprefix(PREFIX).lower() for name in environment() if name.startswith(PREFIX)}
    assert names
    assert names <= set(Settings.model_fields)


def test_nothing_is_written_outside_the_state_volume() -> None:
    assert environment()["PYTHONDONTWRITEBYTECODE"] == "1"
    assert environment()["SERIN_STATE"] == only("VOLUME")


@pytest.mark.parametrize("source", [s for stage, sources, _ in copies() if not stage for s in sources])
def test_what_is_copied_exists_and_is_in_the_context(source: str) -> None:
    path = source.removeprefix("./")
    assert (ROOT / path).exists()
    assert in_context(path)


@pytest.mark.parametrize(
    "path", [".git/config", ".venv/pyvenv.cfg", ".serin/serin.db", "tests/conftest.py", "service/__pycache__/app.pyc"]
)
def test_the_context_leaves_out(path: str) -> None:
    assert not in_context(path)


def test_the_admin_port_is_not_exposed() -> None:
    assert only("EXPOSE").split() == [str(Settings.model_fields[name].default) for name in ("http_port", "grpc_port")]
    assert "SERIN_ADMIN_HOST" not in environment()


def test_the_lock_of_the_tests_holds_the_lock_of_the_image() -> None:
    assert pins(ROOT / "requirements.lock").items() <= pins(ROOT / "requirements-dev.lock").items()


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-zA-Z0-9_.-]+)==(\S+)", lock.read_text(), re.MULTILINE))
