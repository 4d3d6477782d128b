"""What a model.toml says of ONNX Runtime, over what the server says."""

from pathlib import Path

import numpy as np
import pytest

from service.runtime.manifest import RuntimeFacts, parse_manifest
from service.runtime.options import options_of
from service.runtime.session import Session, SessionOptions
from tests.unit.service.runtime.tiny import times

CPU = "CPUExecutionProvider"


def test_what_is_not_said_is_the_servers() -> None:
    assert options_of(SessionOptions(threads=3), RuntimeFacts()) == SessionOptions(threads=3)


def test_what_is_said_comes_first() -> None:
    said = b'[runtime]\nthreads = 2\nspinning = true\narena = false\ngraph = "basic"\nproviders = ["X", "Y"]'
    facts = parse_manifest(said).runtime
    assert options_of(SessionOptions(threads=3), facts) == SessionOptions(
        threads=2, spinning=True, arena=False, graph="basic", providers=("X", "Y")
    )


@pytest.mark.parametrize("graph", ["all", "extended", "basic", "off"])
def test_a_model_gives_the_same_at_every_level(tmp_path: Path, graph: str) -> None:
    (tmp_path / "model.onnx").write_bytes(times(2))
    facts = RuntimeFacts.model_validate({"graph": graph, "threads": 2, "spinning": True, "arena": False})
    session = Session(str(tmp_path / "model.onnx"), options_of(SessionOptions(), facts))
    np.testing.assert_array_equal(session.run({"x": np.array([[1, 2]], np.float32)})[0], [[2, 4]])
    assert session.note == ""


def test_a_provider_that_is_not_there_is_named_and_the_processor_computes(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(times(2))
    wanted = RuntimeFacts(providers=("NoSuchProvider", CPU))
    session = Session(str(tmp_path / "model.onnx"), options_of(SessionOptions(), wanted))
    assert session.note == f"it runs on {CPU}: this ONNX Runtime could not use NoSuchProvider"
    np.testing.assert_array_equal(session.run({"x": np.array([[1, 2]], np.float32)})[0], [[2, 4]])
