"""Files in a temporary directory; nothing is loaded."""

import os
from pathlib import Path
from time import perf_counter

import pytest

from service.runtime import repository
from service.runtime.repository import Refused, VersionFiles
from tests.unit.service.runtime.tiny import place, touch


def only(models_dir: Path) -> VersionFiles:
    (model,) = repository.scan(models_dir).values()
    (files,) = model.versions.values()
    return files


@pytest.mark.parametrize("name", ["01", "1.5", "v2", "-1", "latest", str(10**18), "0", ".tmp", "1 ", "１", "+1", "1_0"])
def test_a_directory_that_is_not_a_positive_integer_is_no_version(tmp_path: Path, name: str) -> None:
    place(tmp_path, "m", name, b"x")
    place(tmp_path, "m", 7, b"x")
    assert set(repository.scan(tmp_path)["m"].versions) == {7}


def test_the_largest_version_has_eighteen_digits(tmp_path: Path) -> None:
    place(tmp_path, "m", 10**18 - 1, b"x")
    assert set(repository.scan(tmp_path)["m"].versions) == {10**18 - 1}


@pytest.mark.parametrize("name", [".git", "-x", "a b", "ü", "a" * 129, ".incoming-1"])
def test_a_directory_with_another_name_is_no_model(tmp_path: Path, name: str) -> None:
    place(tmp_path, name, 1, b"x")
    assert repository.scan(tmp_path) == {}


def test_plain_files_and_directories_without_versions_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x")
    (tmp_path / "notes" / "drafts").mkdir(parents=True)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "3").write_text("a file, not a version")
    assert repository.scan(tmp_path) == {}


def test_a_missing_repository_is_an_error_and_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        repository.scan(tmp_path / "none")


def test_a_version_without_a_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    assert only(tmp_path).refusal == "the directory is empty"


def test_a_version_with_other_files_only_says_so(tmp_path: Path) -> None:
    place(tmp_path, "m", 1, b"x").rename(tmp_path / "m" / "1" / "network.onnx")
    assert only(tmp_path).refusal == "there is no model.onnx"


def test_an_empty_model_is_refused(tmp_path: Path) -> None:
    place(tmp_path, "m", 1, b"")
    assert only(tmp_path).refusal == "model.onnx is empty"


@pytest.mark.parametrize("inner", [None, "weights.bin"])
def test_a_directory_named_model_onnx_is_refused(tmp_path: Path, inner: str | None) -> None:
    (tmp_path / "m" / "1" / "model.onnx").mkdir(parents=True)
    if inner:
        (tmp_path / "m" / "1" / "model.onnx" / inner).write_bytes(b"x")
    assert only(tmp_path).refusal == "model.onnx is a directory"


def test_a_link_out_of_the_repository_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    models = tmp_path / "models"
    file = place(models, "m", 1, b"x")
    file.unlink()
    file.symlink_to(tmp_path / "secret")
    assert only(models).refusal == "model.onnx is a symbolic link out of the model repository"


def test_a_version_that_is_a_link_out_of_the_repository_is_refused(tmp_path: Path) -> None:
    place(tmp_path / "elsewhere", "m", 1, b"x")
    (tmp_path / "models" / "m").mkdir(parents=True)
    (tmp_path / "models" / "m" / "1").symlink_to(tmp_path / "elsewhere" / "m" / "1")
    assert only(tmp_path / "models").refusal == "is a symbolic link out of the model repository"


def test_a_model_that_is_a_link_out_of_the_repository_is_refused(tmp_path: Path) -> None:
    place(tmp_path / "elsewhere", "m", 1, b"x")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m").symlink_to(tmp_path / "elsewhere" / "m")
    model = repository.scan(tmp_path / "models")["m"]
    assert model.refusal == "is a symbolic link out of the model repository"
    assert model.versions == {}
    looked = repository.look(tmp_path / "models", "m", 1)
    assert looked is not None
    assert looked.refusal is not None


def test_a_directory_whose_name_begins_like_the_repository_is_outside(tmp_path: Path) -> None:
    place(tmp_path / "models-old", "m", 1, b"x")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m").symlink_to(tmp_path / "models-old" / "m")
    assert repository.scan(tmp_path / "models")["m"].refusal is not None


def test_links_within_the_repository_are_followed(tmp_path: Path) -> None:
    place(tmp_path, "m", 1, b"x")
    (tmp_path / "m" / "2").symlink_to(tmp_path / "m" / "1")
    (tmp_path / "n").symlink_to(tmp_path / "m")
    found = repository.scan(tmp_path)
    assert {name: set(model.versions) for name, model in found.items()} == {"m": {1, 2}, "n": {1, 2}}
    assert found["n"].versions[2].refusal is None


def test_the_repository_itself_may_be_a_link(tmp_path: Path) -> None:
    place(tmp_path / "real", "m", 1, b"x")
    (tmp_path / "models").symlink_to(tmp_path / "real")
    assert only(tmp_path / "models").refusal is None


def test_external_data_with_a_second_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    place(tmp_path / "models", "m", 1, b"x")
    os.link(tmp_path / "secret", tmp_path / "models" / "m" / "1" / "weights.bin")
    refusal = only(tmp_path / "models").refusal
    assert refusal is not None
    assert "weights.bin has several hard links" in refusal


def test_a_pipe_in_a_version_is_refused(tmp_path: Path) -> None:
    place(tmp_path, "m", 1, b"x")
    os.mkfifo(tmp_path / "m" / "1" / "weights.bin")
    assert only(tmp_path).refusal == "weights.bin is not a regular file"


def test_a_version_that_links_to_itself_ends(tmp_path: Path) -> None:
    place(tmp_path, "m", 1, b"x")
    (tmp_path / "m" / "1" / "again").symlink_to(tmp_path / "m" / "1")
    refusal = only(tmp_path).refusal
    assert refusal is not None
    assert "nested deeper" in refusal


def test_a_growing_file_is_not_settled_until_it_stands_still(tmp_path: Path) -> None:
    file = place(tmp_path, "m", 1, b"half")
    first = repository.scan(tmp_path)
    file.write_bytes(b"half and half")
    second, third = repository.scan(tmp_path), repository.scan(tmp_path)
    assert repository.settled({}, first) == set()
    assert repository.settled(first, second) == set()
    assert repository.settled(second, third) == {("m", 1)}


def test_an_exchange_of_the_same_size_and_time_changes_the_stamp(tmp_path: Path) -> None:
    file = place(tmp_path, "m", 1, b"old")
    touch(file, 1_000)
    before = only(tmp_path).stamp
    other = tmp_path / "m" / "1" / "other"
    other.write_bytes(b"new")
    other.replace(file)
    touch(file, 1_000)
    assert only(tmp_path).stamp != before


def test_a_change_of_model_toml_changes_the_stamps_of_its_versions(tmp_path: Path) -> None:
    place(tmp_path, "m", 1, b"x")
    before = only(tmp_path).stamp
    (tmp_path / "m" / "model.toml").write_text("")
    assert only(tmp_path).stamp != before


def test_golden_rows_change_the_stamp_of_the_model_only(tmp_path: Path) -> None:
    place(tmp_path, "m", 1, b"x")
    before = repository.scan(tmp_path)["m"]
    (tmp_path / "m" / "golden.json").write_text("")
    after = repository.scan(tmp_path)["m"]
    assert after.stamp != before.stamp
    assert after.versions == before.versions


def test_looking_at_one_version_sees_what_the_scan_sees(tmp_path: Path) -> None:
    place(tmp_path, "m", 1, b"x")
    assert repository.look(tmp_path, "m", 1) == only(tmp_path)
    assert repository.look(tmp_path, "m", 2) is None
    assert repository.look(tmp_path, "../m", 1) is None


def test_the_digest_is_of_content_and_names_and_nothing_else(tmp_path: Path) -> None:
    for name, file in (("a", "weights"), ("b", "weights"), ("c", "wights")):
        touch(place(tmp_path, name, 1, b"graph"), 1_000 * ord(name))
        (tmp_path / name / "1" / file).write_bytes(b"numbers")
    digests = [repository.digest(str(tmp_path / name / "1"), str(tmp_path)) for name in "abc"]
    assert digests[0] == digests[1] != digests[2]
    assert digests[0].startswith("sha256:")


def test_the_digest_tells_where_one_file_ends_and_the_next_begins(tmp_path: Path) -> None:
    for name, graph, weights in (("a", b"12", b"3"), ("b", b"1", b"23")):
        place(tmp_path, name, 1, graph)
        (tmp_path / name / "1" / "weights").write_bytes(weights)
    assert repository.digest(str(tmp_path / "a" / "1"), str(tmp_path)) != repository.digest(
        str(tmp_path / "b" / "1"), str(tmp_path)
    )


def test_a_file_beside_the_versions_is_read_only_from_there(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "models" / "m").mkdir(parents=True)
    (tmp_path / "models" / "m" / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "models" / "m" / "pipe")
    assert repository.read_beside(tmp_path / "models", "m", "none") is None
    for name in ("link", "../../secret", ".hidden", "pipe"):
        with pytest.raises(Refused):
            repository.read_beside(tmp_path / "models", "m", name)


def test_a_thousand_models_are_scanned_in_far_less_than_a_second(tmp_path: Path) -> None:
    for number in range(1000):
        place(tmp_path, f"model-{number}", 1, b"x")
    begun = perf_counter()
    assert len(repository.scan(tmp_path)) == 1000
    assert perf_counter() - begun < 1.0


def test_a_name_that_a_path_needs_is_refused_as_a_model(tmp_path: Path) -> None:
    place(tmp_path, "stats", 1, b"x")
    found = repository.scan(tmp_path)["stats"]
    assert found.versions == {}
    assert "/v2/models/stats" in (found.refusal or "")
