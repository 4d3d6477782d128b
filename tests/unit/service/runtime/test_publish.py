"""Files in a temporary directory."""

import os
import threading
from pathlib import Path

import pytest

from router.errors import FailedPrecondition, InvalidArgument
from service.runtime import publish as publishing
from service.runtime.publish import publish
from service.runtime.repository import scan
from tests.unit.service.runtime.tiny import place


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "new.onnx"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def test_the_first_version_of_a_new_model_is_1(file: Path, models: Path) -> None:
    assert publish(file, models, "m") == 1
    assert (models / "m" / "1" / "model.onnx").read_bytes() == b"content"


def test_the_next_version_follows_the_highest(file: Path, models: Path) -> None:
    place(models, "m", 2, b"x")
    place(models, "m", 10, b"x")
    place(models, "m", "0099", b"x")
    assert publish(file, models, "m") == 11


def test_a_directory_is_published_with_its_external_data(tmp_path: Path, models: Path) -> None:
    source = place(tmp_path, "source", 1, b"graph").parent
    (source / "data").mkdir()
    (source / "data" / "weights.bin").write_bytes(b"numbers")
    assert publish(source, models, "m") == 1
    assert (models / "m" / "1" / "data" / "weights.bin").read_bytes() == b"numbers"


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "-x", "a\n", "a" * 129])
def test_a_bad_name_is_refused(file: Path, models: Path, name: str) -> None:
    with pytest.raises(InvalidArgument):
        publish(file, models, name)
    assert not models.exists()


def test_a_missing_file_is_refused(tmp_path: Path, models: Path) -> None:
    with pytest.raises(InvalidArgument, match="no such file"):
        publish(tmp_path / "none.onnx", models, "m")


def test_a_directory_without_a_model_is_refused(tmp_path: Path, models: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(InvalidArgument, match=r"no model\.onnx"):
        publish(tmp_path / "source", models, "m")


def test_links_are_not_published(tmp_path: Path, models: Path) -> None:
    source = place(tmp_path, "source", 1, b"graph").parent
    (source / "weights.bin").symlink_to("/etc/hostname")
    with pytest.raises(InvalidArgument, match="only regular files"):
        publish(source, models, "m")


def test_a_scan_never_sees_half_of_it(file: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    rename = os.rename

    def look_first(source: Path, target: Path) -> None:
        seen.append({name: set(model.versions) for name, model in scan(models).items()})
        rename(source, target)

    place(models, "m", 1, b"x")
    monkeypatch.setattr(publishing.os, "rename", look_first)
    assert publish(file, models, "m") == 2
    assert seen == [{"m": {1}}]


def test_nothing_is_left_of_a_failure(file: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publishing.os, "rename", fail)
    with pytest.raises(FailedPrecondition, match="No space left"):
        publish(file, models, "m")
    assert list((models / "m").iterdir()) == []


def test_publishers_at_the_same_time_get_different_numbers(file: Path, models: Path) -> None:
    versions: list[int] = []
    threads = [threading.Thread(target=lambda: versions.append(publish(file, models, "m"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == list(range(1, 9))
    assert set(scan(models)["m"].versions) == set(range(1, 9))


def test_a_name_that_a_path_needs_is_not_published(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(InvalidArgument, match="'stats' is not a model name here"):
        publish(tmp_path / "model.onnx", tmp_path / "models", "stats")
