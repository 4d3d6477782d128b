"""The Dockerfile as a list of instructions, and the paths that its build context lets through."""

import json
import shlex
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Instruction:
    word: str
    text: str

    @property
    def items(self) -> list[str]:
        """The exec form as a list; raises ValueError for the shell form."""
        found = json.loads(self.text[self.text.index("[") :])
        assert isinstance(found, list)
        return found


def instructions() -> list[Instruction]:
    """All instructions in order, continuation lines joined, comments dropped."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def copies() -> list[tuple[str, list[str], str]]:
    """(stage or "", sources, target) of each COPY."""
    found = []
    for instruction in instructions():
        if instruction.word == "COPY":
            words = instruction.text.split()
            stage = next((word.partition("=")[2] for word in words if word.startswith("--from=")), "")
            *sources, target = (word for word in words if not word.startswith("--"))
            found.append((stage, sources, target))
    return found


def environment() -> dict[str, str]:
    """The variables that ENV sets, unexpanded."""
    pairs = [word for i in instructions() if i.word == "ENV" for word in shlex.split(i.text)]
    return dict(pair.split("=", 1) for pair in pairs)


def in_context(path: str) -> bool:
    """Whether .dockerignore lets a path (relative, with `/`) into the build; the last rule that matches decides."""
    kept = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        rule = line.strip()
        if rule and not rule.startswith("#") and _matches(path, rule.removeprefix("!")):
            kept = rule.startswith("!")
    return kept


def _matches(path: str, pattern: str) -> bool:
    parts = path.split("/")
    heads = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    if pattern.startswith("**/"):
        return any(fnmatch(part, pattern[3:]) for part in parts)
    return any(fnmatch(head, pattern) and head.count("/") == pattern.count("/") for head in heads)
