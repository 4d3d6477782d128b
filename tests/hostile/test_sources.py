"""What no line of Serin may do: run what it reads, or hand words to a shell."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from router.errors import InvalidArgument
from router.spec_text import _Loader, read_document

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN_MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
FORBIDDEN_CALLS = {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
SAFE_LOADERS = {"_Loader"}
"""Of `router/spec_text.py`: a SafeLoader, as the second test sees."""


def trees() -> Iterator[tuple[Path, ast.AST]]:
    for room in ("service", "router"):
        for path in sorted((ROOT / room).rglob("*.py")):
            yield path, ast.walk(ast.parse(path.read_text()))


def wrongs(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from ({alias.name.partition(".")[0] for alias in node.names} & FORBIDDEN_MODULES)
    elif isinstance(node, ast.ImportFrom):
        yield from ({(node.module or "").partition(".")[0]} & FORBIDDEN_MODULES)
    elif isinstance(node, ast.Call):
        if not any(word.arg == "Loader" and ast.unparse(word.value) in SAFE_LOADERS for word in node.keywords):
            yield from ({ast.unparse(node.func)} & FORBIDDEN_CALLS)
        for word in node.keywords:
            if word.arg in ("shell", "allow_pickle") and not (
                isinstance(word.value, ast.Constant) and not word.value.value
            ):
                yield f"{word.arg}="


def test_nothing_that_is_read_is_run() -> None:
    found = [(path.name, wrong) for path, nodes in trees() for node in nodes for wrong in wrongs(node)]

    assert found == []


def test_the_gate_sees_what_it_is_for() -> None:
    text = (
        "import pickle\nfrom joblib import load\neval(a)\nyaml.load(a)\nrun(a, shell=True)\nnp.load(a, allow_pickle=b)"
    )

    found = [wrong for node in ast.walk(ast.parse(text)) for wrong in wrongs(node)]

    assert sorted(found) == ["allow_pickle=", "eval", "joblib", "pickle", "shell=", "yaml.load"]


def test_the_loader_of_documents_is_a_safe_one() -> None:
    assert issubclass(_Loader, yaml.SafeLoader)
    with pytest.raises(InvalidArgument):
        read_document("a: !!python/object/apply:os.system ['true']")


def test_no_parser_of_forms_is_installed() -> None:
    lock = (ROOT / "requirements.lock").read_text()

    assert "fastapi==" in lock
    assert "multipart" not in lock
