"""Scans that leave out what is as it was, and must say the same as scans that do not."""

import os
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

import pytest

from service.runtime import repository
from service.runtime.sights import MOST_PARTS, SETTLE_SECONDS, Mounts, Sights


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("m", "n"):
        put(tmp_path / "models" / name / "1" / "model.onnx", "one")
        put(tmp_path / "models" / name / "1" / "more" / "weights.bin", "weights")
    put(tmp_path / "models" / "m" / "golden.json", "[]")
    return tmp_path / "models"


@pytest.fixture
def gone_through(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of models that were gone through."""
    names, plain = list[str](), repository.scan_model

    def scan_model(root: str, entry: os.DirEntry[str]) -> repository.ModelFiles | None:
        names.append(entry.name)
        return plain(root, entry)

    monkeypatch.setattr(repository, "scan_model", scan_model)
    return names


def put(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def trusting(models: Path, keeps_times: bool = True) -> Sights:
    """Sights that have seen the models for long enough."""
    clock = Clock()
    sights = Sights(clock, lambda device: keeps_times)
    for _ in range(3):
        sights.scan(models)
        clock.now += SETTLE_SECONDS
    return sights


def test_a_model_that_is_as_it_was_is_not_gone_through_again(models: Path, gone_through: list[str]) -> None:
    sights = trusting(models)
    gone_through.clear()
    first, second = sights.scan(models), sights.scan(models)
    assert gone_through == []
    assert first["m"] is second["m"]
    assert first == repository.scan(models)


def test_a_model_is_gone_through_while_it_may_change_within_a_tick(models: Path, gone_through: list[str]) -> None:
    clock = Clock()
    sights = Sights(clock, lambda device: True)
    for _ in range(4):
        sights.scan(models)
        clock.now += SETTLE_SECONDS / 4
    assert gone_through.count("m") == 4


def exchange(model: Path) -> None:
    put(model / "coming", "new")
    (model / "coming").replace(model / "1" / "model.onnx")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a new version": lambda m: put(m / "2" / "model.onnx", "two"),
    "other content in place": lambda m: put(m / "1" / "model.onnx", "other"),
    "a file further down": lambda m: put(m / "1" / "more" / "weights.bin", "others"),
    "one more file further down": lambda m: put(m / "1" / "more" / "again", ""),
    "a model.toml": lambda m: put(m / "model.toml", ""),
    "other golden rows": lambda m: put(m / "golden.json", "[1]"),
    "a file by another name": lambda m: (m / "golden.json").rename(m / "rows.json"),
    "an exchange": exchange,
    "no version any more": lambda m: rmtree(m / "1"),
    "no model any more": rmtree,
    "a second name of a file": lambda m: os.link(m / "1" / "more" / "weights.bin", m.parent / "link"),
    "other times": lambda m: os.utime(m / "1" / "model.onnx", (1, 1)),
    "a link": lambda m: (m / "3").symlink_to(m / "1"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen_by_the_next_scan(models: Path, change: str) -> None:
    sights = trusting(models)
    before = sights.scan(models)
    CHANGES[change](models / "m")
    after = sights.scan(models)
    assert after == repository.scan(models) != before
    assert after["n"] is before["n"]


def test_links_are_followed_each_time(models: Path, tmp_path: Path, gone_through: list[str]) -> None:
    put(models / "n" / "real" / "model.onnx", "real")
    (models / "m" / "2").symlink_to("../n/real")
    sights = trusting(models)
    gone_through.clear()
    sights.scan(models)
    assert gone_through == ["m"]
    put(models / "n" / "real" / "model.onnx", "other")
    assert sights.scan(models) == repository.scan(models)


def test_a_refused_model_is_gone_through_each_time(models: Path, gone_through: list[str]) -> None:
    (models / "m" / "1" / "model.onnx").write_text("")
    sights = trusting(models)
    gone_through.clear()
    sights.scan(models)
    assert gone_through == ["m"]


def test_a_model_of_very_many_files_is_gone_through_each_time(models: Path, gone_through: list[str]) -> None:
    for number in range(MOST_PARTS):
        put(models / "m" / "1" / f"part{number}", "")
    sights = trusting(models)
    gone_through.clear()
    sights.scan(models)
    assert gone_through == ["m"]


def test_nothing_is_trusted_where_directories_keep_no_times(models: Path, gone_through: list[str]) -> None:
    sights = trusting(models, keeps_times=False)
    gone_through.clear()
    sights.scan(models)
    assert sorted(gone_through) == ["m", "n"]


@pytest.mark.parametrize(("kind", "keeps"), [("ext4", True), ("nfs4", False), ("fuse.gcsfuse", False)])
def test_the_kind_of_a_file_system_says_whether_it_keeps_times(tmp_path: Path, kind: str, keeps: bool) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
        f"36 35 8:17 /mnt1 /mnt2 rw,noatime master:1 - {kind} /dev/root rw,errors=continue\n"
    )
    assert Mounts(table).keeps_times(os.makedev(8, 17)) is keeps
    assert not Mounts(table).keeps_times(os.makedev(9, 9))
    assert not Mounts(tmp_path / "none").keeps_times(os.makedev(8, 17))
