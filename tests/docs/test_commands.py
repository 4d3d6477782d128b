"""The commands that the documentation shows exist, with those flags, targets and paths."""

import re
from pathlib import Path

import pytest

from tests.docs import routes
from tests.docs.cli_reference import flags, words
from tests.docs.markdown import PAGES, ROOT, commands

COMMANDS = [(page, command) for page in PAGES if page.exists() for command in commands(page)]
OTHERS = {"docker", "kubectl", "promtool", "git", "cd", "python3", "perf_analyzer"}


def of(*programs: str) -> list[list[str]]:
    return [command for _, command in COMMANDS if Path(command[0]).name in programs]


def test_the_documentation_shows_only_programs_that_are_checked_or_not_ours() -> None:
    programs = {Path(command[0]).name for _, command in COMMANDS}
    assert programs <= {"serin", "make", "curl", "python"} | OTHERS


@pytest.mark.parametrize("command", of("serin"), ids=" ".join)
def test_a_serin_command_exists_and_takes_its_flags(command: list[str]) -> None:
    known = dict(words())
    path = next((p for p in known if ("serin", *command[1:])[: len(p)] == p), None)
    assert path, f"no such command: {' '.join(command)}"
    given = {word.partition("=")[0] for word in command if word.startswith("-")}
    assert given <= flags(known[path])


@pytest.mark.parametrize("command", of("make"), ids=" ".join)
def test_a_make_target_exists(command: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in command[1:] if "=" not in word} <= targets


@pytest.mark.parametrize("command", of("curl"), ids=" ".join)
def test_a_curl_asks_a_path_that_serin_has(command: list[str]) -> None:
    (url,) = (word for word in command if word.startswith("http://"))
    found = re.fullmatch(r"http://(?:127\.0\.0\.1|localhost):(8000|8002)(/[^?]*)(?:\?.*)?", url)
    assert found
    operations = routes.public() if found[1] == "8000" else routes.admin()
    method = command[command.index("-X") + 1] if "-X" in command else "POST" if "-d" in command else "GET"
    assert any(verb == method and matches(path, found[2]) for verb, path, _ in operations), f"{method} {url}"


def matches(template: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path) is not None
