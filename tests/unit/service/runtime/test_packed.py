"""Packed weights: what may be shared, what is kept, and that the answers stay what they were."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from loadtests.made import rows_of, save
from router.routes import Wanted
from service.runtime import packed as packing
from service.runtime.loading import Loader
from service.runtime.packed import Packed, processor
from service.runtime.repository import VersionFiles, digest, look
from service.runtime.session import Session, SessionOptions, write_packed
from tests.unit.service.runtime.tiny import model, place, value

WIDTH = 64
ROWS = np.random.default_rng(5).normal(size=(3, WIDTH)).astype(np.float32)


def dense() -> bytes:
    """Two layers whose weights ONNX Runtime rearranges."""
    rng = np.random.default_rng(6)
    weights = [numpy_helper.from_array(rng.normal(size=(WIDTH, WIDTH)).astype(np.float32), f"w{i}") for i in (0, 1)]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["y"]),
    ]
    ends = ("N", WIDTH)
    return model(nodes, [value("x", shape=ends)], [value("y", shape=ends)], initializer=weights)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    place(tmp_path / "models", "m", 1, dense())
    return tmp_path / "models"


def files_of(models: Path) -> VersionFiles:
    found = look(models, "m", 1)
    assert found is not None
    return found


def packed_version(tmp_path: Path, models: Path) -> tuple[Packed, str]:
    packed, content = Packed(tmp_path, 1, 2), digest(str(models / "m" / "1"), str(models.resolve()))
    packed.pack(files_of(models), content, SessionOptions())
    return packed, content


def test_a_packed_version_answers_bit_for_bit_what_the_original_answers(tmp_path: Path, models: Path) -> None:
    packed, content = packed_version(tmp_path, models)
    path = packed.path(content)
    assert path is not None
    original = Session(str(models / "m" / "1" / "model.onnx"), SessionOptions())
    mapped = Session(path, SessionOptions(optimize=False))
    assert mapped.signature == original.signature
    assert mapped.run({"x": ROWS})[0].tobytes() == original.run({"x": ROWS})[0].tobytes()


@pytest.mark.parametrize("name", ["image", "tabular"])
def test_convolutions_and_trees_stay_what_they_were_when_packed(tmp_path: Path, name: str) -> None:
    original, target = str(tmp_path / "model.onnx"), str(tmp_path / "packed" / "model.onnx")
    (tmp_path / "packed").mkdir()
    save(name, Path(original))
    write_packed(original, target, SessionOptions())
    rows = {"x": rows_of(name).rows}
    one = Session(original, SessionOptions()).run(rows)
    other = Session(target, SessionOptions(optimize=False)).run(rows)
    assert [array.tobytes() for array in one] == [array.tobytes() for array in other]


def test_the_weights_lie_beside_the_packed_model_where_they_can_be_mapped(tmp_path: Path, models: Path) -> None:
    packed, content = packed_version(tmp_path, models)
    folder = Path(str(packed.path(content))).parent
    assert (folder / "model.onnx").stat().st_size < 8 * WIDTH * WIDTH < (folder / "model.onnx.weights").stat().st_size


def test_a_worker_loads_what_was_packed_of_the_content_it_wants(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, content = packed_version(tmp_path, models)
    loaded: list[str] = []
    original = Session.__init__

    def noted(self: Session, path: str, options: SessionOptions) -> None:
        loaded.append(path)
        original(self, path, options)

    monkeypatch.setattr(Session, "__init__", noted)
    Loader(models, packed=packed).load("m", 1, Wanted(content, files_of(models).stamp))
    assert loaded == [packed.path(content)]


def test_a_damaged_packed_version_is_not_used(tmp_path: Path, models: Path, caplog: pytest.LogCaptureFixture) -> None:
    packed, content = packed_version(tmp_path, models)
    Path(str(packed.path(content))).write_bytes(b"no model")
    parts = Loader(models, packed=packed).load("m", 1, Wanted(content, files_of(models).stamp))
    assert np.isfinite(parts.session.run({"x": ROWS})[0]).all()
    assert "packed weights cannot be used" in caplog.text


def test_what_is_packed_of_other_contents_is_removed(tmp_path: Path, models: Path) -> None:
    packed, content = packed_version(tmp_path, models)
    packed.pack(files_of(models), "sha256:old", SessionOptions())
    (tmp_path / "packed" / ".unfinished-x").mkdir()
    packed.keep_only({content, "sha256:never packed"})
    assert packed.path(content) is not None
    assert packed.path("sha256:old") is None
    assert len(list((tmp_path / "packed").iterdir())) == 1


def test_a_packed_version_of_another_processor_is_not_used(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, content = packed_version(tmp_path, models)
    monkeypatch.setattr(packing, "processor", lambda cpuinfo: "another")
    assert Packed(tmp_path, 1, 2).path(content) is None


@pytest.mark.parametrize(
    ("least", "workers", "wanted"), [(1, 2, True), (1, 1, False), (0, 2, False), (1 << 30, 2, False)]
)
def test_only_big_versions_of_several_workers_are_worth_packing(
    tmp_path: Path, models: Path, least: int, workers: int, wanted: bool
) -> None:
    assert Packed(tmp_path, least, workers).wants(files_of(models), "sha256:x") is wanted


def test_what_is_packed_is_not_packed_again(tmp_path: Path, models: Path) -> None:
    packed, content = packed_version(tmp_path, models)
    assert not packed.wants(files_of(models), content)


def test_a_version_that_cannot_be_packed_is_served_all_the_same(
    tmp_path: Path, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    packed = Packed(tmp_path, 1, 2)
    packed.pack(replace(files_of(models), path=str(tmp_path)), "sha256:x", SessionOptions())
    assert packed.path("sha256:x") is None
    assert "each worker keeps a copy" in caplog.text
    assert list((tmp_path / "packed").iterdir()) == []


def test_a_directory_that_cannot_be_written_costs_only_the_sharing(
    tmp_path: Path, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    Packed(tmp_path / "file", 1, 2).pack(files_of(models), "sha256:x", SessionOptions())
    assert "cannot be packed" in caplog.text


def test_the_processor_is_known_by_its_name_and_abilities(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("model name : A\nflags : avx avx2\n\nmodel name : B\nflags : sse\n")
    assert processor(file) == "A\0avx avx2\0"
    assert processor(tmp_path / "none") == ""
