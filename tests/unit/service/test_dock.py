"""Which requests stand accused after a death, and of what."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from router.errors import InvalidArgument
from service import dock as docks
from service.crashes import Suspect
from service.dock import Dock
from service.runtime.accused import accused_of


@dataclass(frozen=True)
class Open:
    model: str = "digits"
    version: int = 2
    digest: str = "sha256:aa"
    body_hash: int = 11
    alone: bool = False


ONE, OTHER = Open(), Open(body_hash=12)
TRIED = replace(ONE, alone=True)


def test_a_request_that_kills_twice_the_second_time_on_its_own_is_poison() -> None:
    dock = Dock()
    assert dock.died([ONE, OTHER]) is None
    assert set(dock.suspects) == {Suspect("digits", 2, "sha256:aa", body) for body in (11, 12)}
    assert dock.died([TRIED, replace(OTHER, body_hash=13)]) == Suspect("digits", 2, "sha256:aa", 11)
    assert [one.body_hash for one in dock.poison] == [11]


def test_what_kills_twice_amid_others_is_only_suspected() -> None:
    dock = Dock()
    for _ in range(3):
        assert dock.died([ONE, OTHER]) is None
    assert not dock.poison


def test_what_was_run_on_its_own_and_did_nothing_is_cleared() -> None:
    dock = Dock()
    dock.died([ONE])
    assert dock.cleared(Suspect("digits", 2, "sha256:aa", 11))
    assert not dock.cleared(Suspect("digits", 2, "sha256:aa", 11))
    assert dock.died([TRIED]) is None  # it was tried for an earlier suspicion
    assert not dock.poison


def test_a_load_is_no_request() -> None:
    dock = Dock()
    dock.died([replace(ONE, body_hash=0)])
    assert not dock.suspects


def test_the_convicted_are_remembered_and_the_oldest_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docks, "MOST_POISON", 2)
    dock = Dock()
    for body in (1, 2, 3):
        dock.died([replace(ONE, body_hash=body)])
        dock.died([replace(TRIED, body_hash=body)])
    dock.save(tmp_path)
    later = Dock()
    later.load(tmp_path)
    assert [one.body_hash for one in later.poison] == [2, 3]
    assert later.told() == dock.told()


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"model": 1}]', '[{"model": "m", "version": 1, "body": "x"}]'])
def test_a_file_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / docks.FILE).write_text(content)
    dock = Dock()
    dock.load(tmp_path)
    assert not dock.poison


def test_a_worker_refuses_poison_and_tells_who_is_cleared() -> None:
    dock, told = Dock(), list[dict[str, object]]()
    dock.died([ONE])
    dock.died([TRIED])
    dock.died([OTHER])
    accused = accused_of(dock.told(), told.append)[("digits", 2), "sha256:aa"]
    assert 11 in accused
    assert 12 in accused
    assert 13 not in accused
    with pytest.raises(InvalidArgument, match="not run again"):
        accused.require_innocence(11)
    accused.require_innocence(12)
    accused.clear(12)
    accused.clear(12)
    assert 12 not in accused
    [one] = told
    assert dock.cleared(docks.suspect_from(one))
