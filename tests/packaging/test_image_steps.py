"""The steps of the Dockerfile replayed in a plain directory: it takes no engine, and what comes out runs."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.dockerfile import ROOT, copies, environment, in_context, instructions

pytestmark = pytest.mark.slow

IMAGE_PATHS = re.compile(r"(?<![\w./])/(?=(?:opt/serin|src|var/lib/serin|models)(?![\w-]))")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file system of the image, as far as the Dockerfile makes it."""
    root = tmp_path_factory.mktemp("image")
    folder = root
    for instruction in instructions():
        if instruction.word == "WORKDIR":
            folder = Path(inside(root, instruction.text))
            folder.mkdir(parents=True, exist_ok=True)
        elif instruction.word == "COPY":
            copy(instruction.text, root, folder)
        elif instruction.word == "RUN":
            run(instruction.text, root, folder)
    return root


def inside(root: Path, text: str) -> str:
    return IMAGE_PATHS.sub(f"{root}/", text)


def copy(text: str, root: Path, folder: Path) -> None:
    words = text.split()
    if words[0].startswith("--from="):  # both stages are replayed in one tree
        assert words[1] == words[2]
        return
    *sources, target = (inside(root, word) for word in words)
    for source in sources:
        into = (folder / target / Path(source).name) if target.endswith("/") else folder / target
        if (ROOT / source).is_file():
            shutil.copy(ROOT / source, into)
        else:
            shutil.copytree(ROOT / source, into, ignore=left_out)


def left_out(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if not in_context((Path(folder) / name).relative_to(ROOT).as_posix())}


def run(text: str, root: Path, folder: Path) -> None:
    command = inside(root, text).replace("chown 10001:10001", ": chown")  # takes root, and a user that is not here
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("SERIN_", "PYTHON"))}
    variables["PATH"] = f"{Path(sys.executable).parent}:{variables['PATH']}"
    done = subprocess.run(
        ["sh", "-ec", command], cwd=folder, env=variables, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def variables(root: Path) -> dict[str, str]:
    """What ENV gives the process, on ports and an address that suit a test."""
    given = {name: inside(root, value).replace("$PATH", os.defpath) for name, value in environment().items()}
    ports = {"SERIN_HTTP_PORT": str(free_port()), "SERIN_ADMIN_PORT": str(free_port()), "SERIN_WORKERS": "1"}
    return {**given, **ports, "SERIN_HOST": "127.0.0.1", "HOME": "/nonexistent"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def exec_form(root: Path, word: str) -> list[str]:
    (found,) = (i for i in instructions() if i.word == word)
    program, *rest = found.items
    return [str(root / "opt/serin/bin" / program), *rest]


@pytest.fixture
def server(root: Path, variables: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(exec_form(root, "ENTRYPOINT"), env=variables, cwd=root / "var/lib/serin")
    yield process
    process.kill()
    process.wait()


def files(root: Path) -> dict[str, float]:
    kept = (root / "opt", root / "models")
    return {str(path): path.stat().st_mtime for top in kept for path in top.rglob("*") if path.is_file()}


def test_the_image_carries_no_installer(root: Path) -> None:
    installed = {path.name.split("-")[0] for path in root.glob("opt/serin/lib/python*/site-packages/*.dist-info")}
    assert {"serin", "onnxruntime"} <= installed
    assert not {"pip", "setuptools", "pytest"} & installed


def test_it_gets_healthy_writes_only_its_state_and_stops_with_zero(
    root: Path, variables: dict[str, str], server: subprocess.Popen[bytes]
) -> None:
    before = files(root)
    check = exec_form(root, "HEALTHCHECK")
    deadline = time.monotonic() + 90
    while subprocess.run(check, env=variables, capture_output=True, timeout=10).returncode:
        assert server.poll() is None, "serin ended before it was healthy"
        assert time.monotonic() < deadline, "not healthy after 90 s"
        time.sleep(0.5)
    server.terminate()
    assert server.wait(60) == 0
    assert files(root) == before


def test_the_stages_copy_nothing_but_the_environment_and_the_models() -> None:
    assert [(stage, target) for stage, _, target in copies() if stage or target == "/models"] == [
        ("build", "/opt/serin"),
        ("", "/models"),
    ]
