"""Counts in shared memory: they only grow, across epochs, restarts, deaths and full disks."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from router import counters, layout
from router.aftermath import OpenSlot, open_slots, settle, slots
from router.blocks import Block
from router.counters import Segment
from router.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from router.layout import ASSIGNED, OUTCOME, BlockSpec, Outcome
from router.tally import Reader, by_epoch, read_all, total

SMALL = 64 * 1024


def variant(model: str = "digits", version: int = 1, *, epochs: bool = True) -> BlockSpec:
    families = ((ASSIGNED, 8), (OUTCOME, 16))
    return BlockSpec("variant", {"model": model, "version": str(version)}, families, epochs=epochs)


def padding(number: int, cells: int = 1000) -> BlockSpec:
    return BlockSpec("padding", {"number": str(number)}, (("cells", cells),))


@pytest.fixture
def open_segment(tmp_path):
    opened = []

    def take(slot: int = 0) -> Segment:
        opened.append(Segment.open(tmp_path, slot, chunk_bytes=SMALL))
        return opened[-1]

    yield take
    for segment in opened:
        segment.close()


def test_the_module_needs_only_the_standard_library():
    program = "import router.counters, sys; print(sorted({'numpy', 'prometheus_client', 'xxhash'} & set(sys.modules)))"
    root = Path(counters.__file__).parent.parent
    found = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_block_is_found_again_by_what_it_counts(open_segment):
    segment = open_segment()
    segment.block(variant()).cells[0] += 1
    assert segment.block(variant()).cells[0] == 1
    assert segment.block(variant(version=2)).cells[0] == 0


def test_who_takes_a_slot_over_inherits_the_counts_and_gets_a_new_instance(open_segment):
    first = open_segment()
    first.block(variant()).family(ASSIGNED)[0] += 7
    first.close()
    second = open_segment()
    assert second.block(variant()).family(ASSIGNED)[0] == 7
    assert second.instance != first.instance


def test_a_slot_has_one_writer_at_a_time(open_segment, tmp_path):
    open_segment(3)
    with pytest.raises(FailedPrecondition, match="still alive"):
        Segment.open(tmp_path, 3)
    with pytest.raises(FailedPrecondition, match="still alive"):
        settle(tmp_path, 3)


def test_gauges_start_again_and_counts_do_not(open_segment):
    spec = BlockSpec("now", {}, (("state", 1), ("loads", 1)), gauges=("state",))
    first = open_segment()
    first.block(spec).cells[0] = 5
    first.block(spec).cells[1] = 5
    first.close()
    assert list(open_segment().block(spec).cells) == [0, 5]


def test_an_epoch_counts_from_its_own_start(open_segment, tmp_path):
    block = open_segment().block(variant())
    block.open_epoch(0)
    block.cells[0] += 5
    block.open_epoch(1)
    block.cells[0] += 2
    (copy,) = read_all(tmp_path)
    assert copy.epoch == 1
    assert copy.cells[0] == 7
    assert copy.in_epoch[0] == 2
    assert by_epoch([copy])[1][0].cells[0] == 2


def test_a_death_between_two_epochs_loses_no_count(open_segment, tmp_path):
    segment = open_segment()
    block = segment.block(variant())
    block.open_epoch(4)
    block.family(ASSIGNED)[0] += 3
    block._head[layout.EPOCH] = 0
    (copy,) = read_all(tmp_path)
    assert copy.epoch is None
    assert copy.family(ASSIGNED)[0] == 3
    assert by_epoch([copy]) == {}


def test_epochs_are_refused_where_none_are_kept(open_segment):
    with pytest.raises(InvalidArgument):
        open_segment().block(variant(epochs=False)).open_epoch(1)


def test_workers_and_epochs_add_up(open_segment, tmp_path):
    for slot, count in ((0, 3), (1, 4)):
        segment = open_segment(slot)
        segment.block(variant()).cells[0] += count
        segment.new_block(variant()).cells[0] += 10
    (sum_of_all,) = total(read_all(tmp_path))
    assert sum_of_all.cells[0] == 27


@pytest.mark.parametrize(
    ("blamed", "expected"), [(("digits", 1), Outcome.ERROR), (("digits", 2), Outcome.LOST), (None, Outcome.LOST)]
)
def test_a_death_books_what_was_in_flight(open_segment, tmp_path, blamed, expected):
    segment = open_segment()
    block = segment.block(variant())
    block.family(ASSIGNED)[0] += 5
    block.family(OUTCOME)[Outcome.OK] += 3
    os.close(segment._lock)  # as death does; the gauges and counts stay as they are
    segment._lock = -1
    assert settle(tmp_path, 0, blamed) == 2
    assert settle(tmp_path, 0, blamed) == 0
    (copy,) = read_all(tmp_path)
    assert copy.family(OUTCOME)[Outcome.OK] == 3
    assert copy.family(OUTCOME)[expected] == 2


def test_what_nobody_settled_is_booked_as_lost_by_the_replacement(open_segment):
    first = open_segment()
    first.block(variant()).family(ASSIGNED)[0] += 2
    first.close()
    assert open_segment().block(variant()).family(OUTCOME)[Outcome.LOST] == 2


def test_settling_a_slot_that_never_was_books_nothing(tmp_path):
    assert settle(tmp_path / "nowhere", 0) == 0
    assert settle(tmp_path, 5) == 0
    assert slots(tmp_path) == []


def test_an_open_crash_slot_names_the_version_and_the_body(open_segment, tmp_path):
    segment = open_segment()
    for number in range(200):  # tokens may lie in a later chunk than the slots
        segment.version_token("padding", number, "sha256:" + "0" * 64)
    token = segment.version_token("digits", 2, "sha256:ab")
    assert token == segment.version_token("digits", 2, "sha256:ab")
    segment.slot(0).enter(token, 2**64 - 1, 5)
    segment.slot(63).enter(token, 1)
    segment.slot(63).leave()
    assert open_slots(tmp_path, 0) == [OpenSlot("digits", 2, "sha256:ab", 2**64 - 1, 5)]
    segment.close()
    assert open_segment().version_token("digits", 2, "sha256:ab") == token
    assert open_slots(tmp_path, 0) == []


def test_an_open_crash_slot_lists_all_that_ran_together(open_segment, tmp_path):
    segment = open_segment()
    token = segment.version_token("digits", 2, "sha256:ab")
    slot = segment.slot(3)
    slot.enter_together(token, [5, 2**64 - 1, 7])
    assert [found.body_hash for found in open_slots(tmp_path, 0)] == [5, 2**64 - 1, 7]
    slot.leave_last()
    slot.enter(token, 9)
    assert open_slots(tmp_path, 0) == [OpenSlot("digits", 2, "sha256:ab", 9, 0)]
    slot.enter_together(token, list(range(1, 1000)))
    assert len(open_slots(tmp_path, 0)) == layout.MOST_BODIES


def test_an_open_crash_slot_tells_a_trial(open_segment, tmp_path):
    segment = open_segment()
    token = segment.version_token("digits", 2, "sha256:ab")
    slot = segment.slot(1)
    slot.enter_alone(token, 5)
    assert [found.alone for found in open_slots(tmp_path, 0)] == [True]
    slot.leave_last()
    slot.enter(token, 5)
    assert [found.alone for found in open_slots(tmp_path, 0)] == [False]
    segment.close()
    open_segment()
    assert open_slots(tmp_path, 0) == []


def test_there_are_64_crash_slots(open_segment):
    with pytest.raises(InvalidArgument):
        open_segment().slot(64)


def test_the_next_file_is_made_before_the_last_is_full(open_segment, tmp_path):
    segment = open_segment()
    for number in range(20):
        segment.block(padding(number)).cells[0] += number
        assert segment._free(len(segment._chunks) - 1) >= SMALL // 4
    segment.close()
    again = open_segment()
    assert [again.block(padding(number)).cells[0] for number in range(20)] == list(range(20))
    assert sum(copy.cells[0] for copy in read_all(tmp_path)) == sum(range(20))


def load(segment: Segment, count: int) -> None:
    for number in range(count):
        segment.block(padding(number))


def full_disk(fd: int, offset: int, size: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_refuses_the_first_segment(tmp_path, monkeypatch):
    monkeypatch.setattr(layout.os, "posix_fallocate", full_disk)
    with pytest.raises(ResourceExhausted, match=r"no room for 4096 KiB.*No space left"):
        Segment.open(tmp_path, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["worker-0.lock"]


def test_a_full_disk_refuses_loads_and_leaves_room_for_new_epochs_of_what_is_loaded(open_segment, monkeypatch):
    segment = open_segment()
    monkeypatch.setattr(layout.os, "posix_fallocate", full_disk)
    with pytest.raises(ResourceExhausted):
        load(segment, 20)
    assert segment.new_block(variant(), urgent=True).cells[0] == 0
    with pytest.raises(ResourceExhausted):
        [segment.new_block(variant(), urgent=True) for _ in range(1000)]


def test_the_number_of_files_is_bounded(open_segment, monkeypatch):
    monkeypatch.setattr(counters, "MAX_CHUNKS", 2)
    segment = open_segment()
    with pytest.raises(ResourceExhausted, match="full"):
        load(segment, 40)


def test_a_block_that_no_file_can_hold_is_refused(open_segment):
    with pytest.raises(InvalidArgument, match="too large"):
        open_segment().block(padding(0, cells=SMALL))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"short"),
        lambda path: path.write_bytes(b"\0" * SMALL),
        lambda path: overwrite(path, layout.LAYOUT_CELL * 8, b"\x63"),
        lambda path: overwrite(path, layout.USED_CELL * 8, b"\xff" * 8),
        lambda path: overwrite(path, layout.HEADER_BYTES + layout.RECORD_HEADER_BYTES, b"broken"),
    ],
)
def test_a_file_of_another_layout_or_a_broken_one_is_put_aside_and_said_so(open_segment, tmp_path, damage):
    first = open_segment()
    first.block(variant()).cells[0] += 1
    first.close()
    path = layout.chunk_path(tmp_path, 0, 0)
    damage(path)
    assert read_all(tmp_path) == [] or path.stat().st_size > 0  # a reader never stumbles
    second = open_segment()
    assert [word.split(":")[0] for word in second.moved] == ["worker-0.0.seg"]
    assert path.with_suffix(".old").exists()
    assert second.block(variant()).cells[0] == 0


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def test_a_reader_sees_new_blocks_and_replaced_files(open_segment, tmp_path):
    reader = Reader(tmp_path)
    assert reader.read() == []
    segment = open_segment()
    segment.block(variant()).cells[0] += 1
    assert [copy.cells[0] for copy in reader.read()] == [1]
    segment.block(variant(version=2)).cells[0] += 2
    assert [copy.cells[0] for copy in reader.read()] == [1, 2]
    segment.close()
    overwrite(layout.chunk_path(tmp_path, 0, 0), layout.LAYOUT_CELL * 8, b"\x63")
    open_segment().block(variant()).cells[0] += 9
    assert [copy.cells[0] for copy in reader.read()] == [9]


def test_two_hundred_lives_leave_as_many_files_as_one(tmp_path):
    for _ in range(200):
        segment = Segment.open(tmp_path, 0, chunk_bytes=SMALL)
        segment.block(variant()).cells[0] += 1
        segment.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["worker-0.0.seg", "worker-0.lock"]
    assert read_all(tmp_path)[0].cells[0] == 200


def test_a_closed_segment_may_still_be_counted_into(open_segment):
    segment = open_segment()
    block: Block = segment.block(variant())
    segment.close()
    block.cells[0] += 1
    assert block.cells[0] == 1
