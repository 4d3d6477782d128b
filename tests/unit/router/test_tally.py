"""Readings of counters, and what looking at every model costs."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import tally
from router.counters import Segment
from router.drift_monitor import DriftMonitor
from router.drift_windows import Policy
from router.errors import FailedPrecondition
from router.layout import BlockSpec
from router.leaving import version_spec
from router.routes import Route, Variant
from router.selfcheck_monitor import SelfCheck
from router.tally import BlockCopy, Reader, by_model

MODELS = [f"m{number}" for number in range(40)]


class Labels(dict[str, str]):
    """Counts how often it was looked at."""

    looks = 0

    def get(self, *asked: Any) -> Any:
        Labels.looks += 1
        return super().get(*asked)


def copy_of(model: str) -> BlockCopy:
    labels = Labels(model=model, version="1", variant="stable", assignment="split")
    return BlockCopy(BlockSpec("nothing that is looked into", labels), [], epoch=3)


def controller() -> Any:
    routes = {name: Route(name, (Variant("stable", 1, 1_000_000),), epoch=3) for name in MODELS}
    return SimpleNamespace(table=SimpleNamespace(routes=routes), closing=False, now=lambda: 0.0)


def test_blocks_are_found_by_their_model() -> None:
    own, other = BlockCopy(BlockSpec("k", {"model": "m"}), []), BlockCopy(BlockSpec("k", {"model": "n"}), [])
    assert by_model([own, BlockCopy(BlockSpec("k", {}), []), other, own]) == {"m": [own, own], "n": [other]}


@pytest.mark.parametrize("which", [DriftMonitor, SelfCheck], ids=["drift", "self-check"])
def test_a_look_at_many_models_takes_up_each_block_a_few_times_only(which: type, tmp_path: Path) -> None:
    copies = [copy_of(name) for name in MODELS for _ in range(3)]
    look = looking(which, lambda: copies, tmp_path)
    Labels.looks = 0
    look()
    assert len(copies) <= Labels.looks <= 10 * len(copies)


@pytest.mark.parametrize("which", [DriftMonitor, SelfCheck], ids=["drift", "self-check"])
def test_a_look_at_many_models_takes_up_only_what_moved(which: type, tmp_path: Path) -> None:
    copies = [copy_of(name) for name in MODELS for _ in range(3)]
    look = looking(which, lambda: copies, tmp_path)
    look()
    look()
    Labels.looks = 0
    look()
    assert Labels.looks == 0
    copies = [copy_of(MODELS[7]) if number == 22 else copy for number, copy in enumerate(copies)]
    with_another = len(copies)  # each is asked once for its model
    look()
    assert with_another <= Labels.looks <= with_another + 3 * 10


class Routes(dict[str, Route]):
    """Counts how often all of it was gone through."""

    rounds = 0

    def items(self) -> Any:
        Routes.rounds += 1
        return super().items()


def test_a_look_at_drift_goes_through_no_model_while_nothing_moves(tmp_path: Path) -> None:
    readings, told = [[copy_of(name) for name in MODELS]], controller()
    told.table.routes = Routes(told.table.routes)
    monitor = DriftMonitor(told, lambda: readings[-1], tmp_path / "drift.json", Policy(100, 10.0))

    def rounds() -> int:
        before = Routes.rounds
        monitor.look = monitor._looked(told.table.routes, 0.0)
        return Routes.rounds - before

    assert [rounds() for _ in range(4)] == [1, 1, 0, 0]
    told.table.routes = Routes(told.table.routes)
    assert [rounds(), rounds()] == [1, 0]
    readings.append([*readings[-1][1:], copy_of("m7")])
    assert rounds() == 1


def looking(which: type, read: Any, folder: Path) -> Any:
    told = controller()
    if which is DriftMonitor:
        monitor = DriftMonitor(told, read, folder / "drift.json", Policy(100, 10.0))

        def look() -> None:
            monitor.look = monitor._looked(told.table.routes, 0.0)

        return look
    check = SelfCheck(told, read, lambda: 0)
    return lambda: check._looked(told.table.routes)


SPEC = BlockSpec("k", {"model": "m"}, (("n", 2), ("now", 1)), gauges=("now",), epochs=True)
OTHER = BlockSpec("k", {"model": "n"}, (("n", 2),))


def test_a_reading_is_the_same_value_while_nothing_moves(tmp_path: Path) -> None:
    segment = Segment.open(tmp_path, 0)
    block, running = segment.block(SPEC), segment.slot(3)
    reader = Reader(tmp_path, keeps=True)
    first = reader.read()
    running.enter(7, 8)  # a run that begins is no count
    assert reader.read() is first
    block.cells[0] += 1
    assert reader.read() is not first


def test_only_what_moved_is_another_value(tmp_path: Path) -> None:
    segment = Segment.open(tmp_path, 0)
    block, still = segment.block(SPEC), segment.block(OTHER)
    still.cells[1] = 5
    reader = Reader(tmp_path, keeps=True)
    before = {copy.spec.text: copy for copy in reader.read()}
    block.cells[0] += 1
    after = {copy.spec.text: copy for copy in reader.read()}
    assert after[OTHER.text] is before[OTHER.text]
    assert after[SPEC.text].cells[0] == 1


def test_versions_that_stand_still_are_not_copied_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = Segment.open(tmp_path, 0)
    blocks = [segment.block(version_spec(name, 1)) for name in MODELS]
    reader, copied, plain = Reader(tmp_path, keeps=True), list[Any](), tally._copy

    def copy(*told: Any) -> BlockCopy:
        copied.append(told)
        return plain(*told)

    monkeypatch.setattr(tally, "_copy", copy)
    reader.read()
    assert len(copied) == len(MODELS)
    reader.read()
    assert len(copied) == len(MODELS)
    blocks[3].family("queued")[0] = 2
    assert sorted(found.family("queued")[0] for found in reader.read())[-2:] == [0, 2]


def test_a_gauge_that_falls_back_is_seen(tmp_path: Path) -> None:
    segment = Segment.open(tmp_path, 0)
    block = segment.block(SPEC)
    reader = Reader(tmp_path, keeps=True)
    reader.read()
    for value in (1, 0):
        block.family("now")[0] = value
        assert [copy.family("now")[0] for copy in reader.read()] == [value]


def test_a_gauge_that_moved_while_the_rest_was_copied_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = Segment.open(tmp_path, 0)
    block, plain = segment.block(SPEC), tally._copy

    def copy(*told: Any) -> BlockCopy:
        block.family("now")[0] = 1
        found = plain(*told)
        block.family("now")[0] = 0
        return found

    reader = Reader(tmp_path, keeps=True)
    with monkeypatch.context() as during:
        during.setattr(tally, "_copy", copy)
        reader.read()
    assert [found.family("now")[0] for found in reader.read()] == [0]


@given(st.lists(st.tuples(st.sampled_from(["count", "gauge", "epoch", "new", "read", "other"]), st.integers(0, 3))))
def test_who_keeps_readings_reads_what_others_read(doings: list[tuple[str, int]]) -> None:
    with TemporaryDirectory() as folder:
        segment = Segment.open(Path(folder), 0)
        block, plain, keeping = segment.block(SPEC), Reader(Path(folder)), Reader(Path(folder), keeps=True)
        for doing, number in doings:
            if doing == "count":
                block.cells[number % 2] += 1
            elif doing == "gauge":
                block.family("now")[0] = number
            elif doing == "epoch":
                block.open_epoch(number)
            elif doing == "new":
                segment.block(BlockSpec("k", {"model": str(number)}, (("n", 1),))).cells[0] += 1
            elif doing == "other":
                with suppress(FailedPrecondition):
                    segment = Segment.open(Path(folder), 1 + number)
            assert doing != "read" or list(keeping.read()) == list(plain.read())
        assert list(keeping.read()) == list(plain.read())
