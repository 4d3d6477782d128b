"""The file of keys as `serin key` writes it, and as a running gateway takes it up."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from router.access import Role, known
from router.doorman import Doorman, Rules
from router.errors import InvalidArgument
from service.access import COPY, KeyFile, Places, keep_copy, load_keys
from service.keyfile import Made, Wish, add, make, revoke


def made(path: Path, name: str = "ci", **more: object) -> Made:
    key = make()
    add(path, key, Wish(name, ("operator",), **more))  # type: ignore[arg-type]
    return key


def test_a_new_key_is_in_the_file_as_a_hash_and_is_known_by_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    one, two = made(path, note='with "quotes"\n\x7f', expires=datetime(2030, 1, 1, tzinfo=UTC)), made(path)

    keys = load_keys(path).keys

    assert {key.name for key in keys.values()} == {"ci"}
    for key in (one, two):
        found = known(keys, key.key.encode())
        assert found is not None
        assert (found.id, found.roles) == (key.id, {Role.OPERATOR})
        assert key.key.removeprefix(f"serin_{key.id}_") not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["keys.toml"]


def test_a_key_is_taken_back_and_nothing_else_of_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    one, two, three = made(path), made(path, note="[[key]]"), made(path)
    path.write_text("# mine\n" + path.read_text().replace("[[key]]\nid", "[[key]]\n# said by me\nid"))
    path.chmod(0o640)

    assert revoke(path, two.id)
    assert not revoke(path, two.id)

    assert set(load_keys(path).keys) == {one.id, three.id}
    assert path.read_text().startswith("# mine\n")
    assert path.read_text().count("# said by me") == 2
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_that_is_written_otherwise_is_left_to_people(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    one = made(path)
    text = path.read_text()
    path.write_text(text.replace("id = ", '"id" = '))

    with pytest.raises(InvalidArgument, match="by hand"):
        revoke(path, one.id)
    path.write_text("nonsense")
    with pytest.raises(InvalidArgument, match="not valid TOML"):
        made(path)
    assert path.read_text() == "nonsense"


@pytest.mark.parametrize("wrong", ["missing", "writable", "binary", "large"])
def test_a_file_that_cannot_be_trusted_or_read_is_refused(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "keys.toml"
    made(path)
    if wrong == "missing":
        path.unlink()
    elif wrong == "writable":
        path.chmod(0o666)
    elif wrong == "binary":
        path.write_bytes(b"\xff\xfe")
    else:
        os.truncate(path, 9 * 1024 * 1024)
    with pytest.raises(InvalidArgument, match=str(path)):
        load_keys(path)


async def test_a_change_is_taken_up_and_one_that_is_wrong_changes_nothing_and_is_told_once(tmp_path: Path) -> None:
    path, told = tmp_path / "keys.toml", list[str]()
    one = made(path)
    doorman = Doorman(Rules(), lambda: 0.0, lambda: 0.0)
    file = KeyFile(Places(path, tmp_path / COPY), doorman, told.append)
    file.read()
    before = doorman.version

    await file.look()
    assert doorman.version == before

    two = made(path)
    await file.look()
    assert set(doorman.keys) == {one.id, two.id}

    path.write_text("nonsense")
    for _ in range(3):
        await file.look()
    assert set(doorman.keys) == {one.id, two.id}
    assert [sample.value for sample in file.samples()] == [2, 1.0]
    path.unlink()
    await file.look()
    assert len(told) == 2

    made(path)
    await file.look()
    assert len(doorman.keys) == 1
    assert told[-1] == ""
    assert [sample.value for sample in file.samples()] == [1, 0.0]


async def test_a_process_that_begins_while_the_file_is_bad_has_the_last_good_keys(tmp_path: Path) -> None:
    path, told = tmp_path / "keys.toml", list[str]()
    one = made(path)
    places = Places(path, tmp_path / COPY, keeps=True)
    keep_copy(places)
    first = Doorman(Rules(), lambda: 0.0, lambda: 0.0)
    running = KeyFile(places, first, told.append)
    running.read()
    two = made(path)
    await running.look()
    path.write_text("nonsense")

    later = Doorman(Rules(), lambda: 0.0, lambda: 0.0)
    begun = KeyFile(Places(path, tmp_path / COPY), later, told.append)
    begun.read()

    assert set(later.keys) == {one.id, two.id}
    assert begun.trouble
    path.unlink()
    made(path)
    await begun.look()
    assert set(later.keys) == set(load_keys(path).keys)
    assert not begun.trouble


def test_without_a_good_content_there_is_no_start(tmp_path: Path) -> None:
    file = KeyFile(Places(tmp_path / "none", tmp_path / COPY), Doorman(Rules(), lambda: 0.0, lambda: 0.0), print)
    with pytest.raises(InvalidArgument, match="cannot be read"):
        file.read()
