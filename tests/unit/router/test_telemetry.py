"""What one request adds, and where."""

from dataclasses import replace
from itertools import pairwise

import pytest

from router.booking import LONG_RUN
from router.counters import Segment
from router.errors import ResourceExhausted
from router.layout import ASSIGNED, OUTCOME
from router.tally import by_epoch, read_all, total
from router.telemetry import (
    FIRST,
    LATENCY_EDGES_US,
    LED,
    MAX_BLOCKS_PER_VARIANT,
    MORE,
    PHASE_EDGES_US,
    PHASES,
    REST_NS,
    STATES,
    TIME_NS,
    VARIANT,
    How,
    Outcome,
    Recorder,
    SeriesName,
    WatchedFamily,
    variant_spec,
    watched_of,
)

CLASSES = WatchedFamily("label", "class", labels=("a", "b", "other"))
VALUES = WatchedFamily("target", "value", edges=(0.5, 1.5))
WATCHED = (CLASSES, VALUES)
PHASE_TIMES = (1_500, 0, 90_000, 2_500)


@pytest.fixture
def segment(tmp_path):
    opened = Segment.open(tmp_path, 0)
    yield opened
    opened.close()


@pytest.fixture
def recorder(segment):
    return Recorder(segment)


def name(epoch: int = 1, *, direct: bool = False) -> SeriesName:
    return SeriesName("digits", 2, "canary", epoch, direct)


def test_one_request_adds_one_cell_to_each_family(recorder):
    series = recorder.variant(name(), WATCHED, 0)
    series.assigned(How.SPLIT_KEYED)
    series.observe(Outcome.OK, 94_000, PHASE_TIMES, (1, 4))
    counts = {family: sum(series.block.family(family)) for family in (ASSIGNED, OUTCOME, LED, *PHASES)}
    assert set(counts.values()) == {1}
    assert list(series.block.family(FIRST)) == [0, 1, 0, 0, 1, 0, 0]
    assert list(series.block.family(TIME_NS)) == [94_000, *PHASE_TIMES]


@pytest.mark.parametrize("slow_ns", [0, 65_535_999, 65_536_000, 10**12])
def test_requests_of_one_run_are_counted_as_they_would_be_one_by_one(recorder, slow_ns):
    rows = [(94_000 + slow_ns, 1_500, 3_000, 2_500 + slow_ns, (1, 4)), (21_000, slow_ns, 0, 60_000, (0, 3))]
    one_by_one, together = (recorder.variant(replace(name(), variant=variant), WATCHED, 0) for variant in ("a", "b"))
    for leads, (total_ns, decode, queue, encode, cells) in zip((True, False), rows, strict=True):
        one_by_one.observe(Outcome.OK, total_ns, (decode, queue, 90_000 + slow_ns, encode), cells, leads)
    together.observe_run(90_000 + slow_ns, rows)
    assert list(together.block.cells) == list(one_by_one.block.cells)


@pytest.mark.parametrize("leads", [True, False])
@pytest.mark.parametrize("count", [1, LONG_RUN - 1, LONG_RUN, 1000])
def test_a_run_of_any_length_is_counted_as_its_requests_would_be_at_every_edge(recorder, count, leads):
    times = [0, *(edge * 1000 + more for edge in (2, 5, 20, 22, 100, 10_000_000, 10**9) for more in (-1, 0, 1, 999))]
    rows = [(total, 7 * total % 10**6, 3 * total, total // 3, ()) for total in (*times, *times[::-2])][-count:]
    one_by_one, together = (recorder.variant(replace(name(), variant=variant), WATCHED, 0) for variant in ("a", "b"))
    for number, (total_ns, decode, queue, encode, cells) in enumerate(rows):
        one_by_one.observe(Outcome.OK, total_ns, (decode, queue, 5_000, encode), cells, leads and number == 0)
    together.observe_run(5_000, rows, leads)
    assert list(together.block.cells) == list(one_by_one.block.cells)


def test_rows_behind_the_first_are_counted_apart(recorder):
    series = recorder.variant(name(), WATCHED, 0)
    series.observe(Outcome.OK, 94_000, PHASE_TIMES, (0, 3))
    series.more(((0, 5), (2, 1)))
    assert sum(series.block.family(FIRST)) == 2
    assert list(series.block.family(MORE)) == [5, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_what_ran_has_a_place_in_the_latency(recorder, outcome):
    series = recorder.variant(name(), (), 0)
    series.observe(outcome, 1_000_000, PHASE_TIMES, ())
    assert sum(series.block.family(LED)) == (outcome <= Outcome.CANCELLED)
    assert series.block.family(OUTCOME)[outcome] == 1


@pytest.mark.parametrize("micros", [0, 1, 19, 20, 21, 22, 500, 65_535, 65_536, 999_999, 60_000_000, 10**9])
def test_times_lie_between_the_edges_of_their_bucket_at_any_length(recorder, micros):
    series = recorder.variant(name(), (), 0)
    nanos = micros * 1000 + 500
    series.observe(Outcome.OK, nanos, (nanos,) * 4, ())
    for family, edges in ((LED, LATENCY_EDGES_US), *((phase, PHASE_EDGES_US) for phase in PHASES)):
        bucket = list(series.block.family(family)).index(1)
        above = edges[bucket] * 1000 if bucket < len(edges) else float("inf")
        below = edges[bucket - 1] * 1000 if bucket else -1
        assert below < nanos <= above


def test_latency_edges_are_a_tenth_apart_from_20_microseconds_to_a_minute():
    assert LATENCY_EDGES_US[0] == 20
    assert 50_000_000 < LATENCY_EDGES_US[-1] <= 60_000_000
    assert len(LATENCY_EDGES_US) == 157
    ratios = [high / low for low, high in pairwise(LATENCY_EDGES_US)]
    assert all(1.05 < ratio < 1.15 for ratio in ratios)
    assert len(PHASE_EDGES_US) == 15


def test_an_epoch_in_use_is_found_again(recorder):
    first = recorder.variant(name(3), WATCHED, 0)
    again = recorder.variant(name(3), WATCHED, 99)
    assert list(again.block.cells) == list(first.block.cells)
    first.assigned(How.SPLIT_DRAWN)
    assert again.block.family(ASSIGNED)[How.SPLIT_DRAWN] == 1


def test_a_new_epoch_has_a_block_of_its_own_while_the_old_one_ends(recorder, tmp_path):
    old = recorder.variant(name(1), WATCHED, 0)
    old.assigned(How.SPLIT_KEYED)
    new = recorder.variant(name(2), WATCHED, 1)
    new.assigned(How.SPLIT_KEYED)
    old.observe(Outcome.OK, 50_000, PHASE_TIMES, (0,))
    epochs = by_epoch(read_all(tmp_path))
    assert sum(epochs[1][0].family(OUTCOME)) == 1
    assert sum(epochs[2][0].family(OUTCOME)) == 0
    assert sum(epochs[2][0].family(ASSIGNED)) == 1


def blocks(segment: Segment) -> int:
    return len(segment.blocks(variant_spec(name(), WATCHED)))


def test_a_closed_epoch_rests_and_then_its_block_counts_another(recorder, segment):
    recorder.variant(name(1), WATCHED, 0)
    recorder.variant(name(2), WATCHED, 1)
    recorder.variant(name(3), WATCHED, REST_NS // 2)
    assert blocks(segment) == 3
    reused = recorder.variant(name(4), WATCHED, REST_NS + 1)
    assert blocks(segment) == 3
    assert reused.block.epoch == 4


def test_a_block_with_requests_in_flight_is_not_taken(recorder, segment):
    recorder.variant(name(1), WATCHED, 0).assigned(How.SPLIT_KEYED)
    recorder.variant(name(2), WATCHED, 1)
    assert recorder.variant(name(3), WATCHED, 10 * REST_NS).block.epoch == 3
    assert blocks(segment) == 3


def test_totals_stay_when_a_block_counts_another_epoch(recorder, tmp_path):
    for epoch in range(1, 6):
        series = recorder.variant(name(epoch), WATCHED, 2 * epoch * REST_NS)
        series.assigned(How.SPLIT_KEYED)
        series.observe(Outcome.OK, 50_000, PHASE_TIMES, (0,))
    (copy,) = total(read_all(tmp_path))
    assert sum(copy.family(ASSIGNED)) == 5
    assert sum(by_epoch(read_all(tmp_path))[5][0].family(ASSIGNED)) == 1


def test_changes_without_a_pause_take_a_bounded_number_of_blocks(recorder, segment):
    for epoch in range(1, 10 * MAX_BLOCKS_PER_VARIANT):
        assert recorder.variant(name(epoch), WATCHED, epoch).block.epoch == epoch
    assert blocks(segment) == MAX_BLOCKS_PER_VARIANT


def test_a_change_of_weights_succeeds_without_room_and_a_load_does_not(recorder, segment, monkeypatch):
    recorder.variant(name(1), WATCHED, 0)

    def refuse(*_: object, **__: object) -> None:
        raise ResourceExhausted("no room")

    monkeypatch.setattr(segment, "new_block", refuse)
    assert recorder.variant(name(2), WATCHED, 1).block.epoch == 2
    with pytest.raises(ResourceExhausted):
        recorder.variant(SeriesName("other", 1, "1", 1), WATCHED, 0)


def test_after_a_reboot_closed_blocks_rest_by_the_new_clock(recorder, segment):
    recorder.variant(name(1), WATCHED, 500 * REST_NS)
    recorder.variant(name(2), WATCHED, 500 * REST_NS)
    recorder.variant(name(3), WATCHED, 0)
    assert blocks(segment) == 3
    recorder.variant(name(4), WATCHED, 2 * REST_NS)
    assert blocks(segment) == 3


def test_an_epoch_number_that_comes_again_counts_anew(recorder):
    recorder.variant(name(1), WATCHED, 0).assigned(How.SPLIT_KEYED)
    recorder.variant(name(2), WATCHED, 1)
    again = recorder.variant(name(1), WATCHED, 2)
    assert again.block.epoch == 1
    assert again.block.closed_ns is None
    assert again.block._head[5] == 1  # carried: the request in flight from the first time


def test_direct_requests_are_counted_apart_and_know_no_epochs(recorder):
    split = recorder.variant(name(1), WATCHED, 0)
    direct = recorder.variant(name(1, direct=True), WATCHED, 0)
    direct.assigned(How.VERSION)
    assert sum(split.block.family(ASSIGNED)) == 0
    later = recorder.variant(name(9, direct=True), WATCHED, 0)
    assert later.block.family(ASSIGNED)[How.VERSION] == 1


def test_another_reference_is_counted_in_another_block(recorder):
    first = recorder.variant(name(), (CLASSES,), 0)
    second = recorder.variant(name(), (VALUES,), 0)
    first.assigned(How.SPLIT_KEYED)
    assert sum(second.block.family(ASSIGNED)) == 0
    assert watched_of(first.block.spec) == (CLASSES,)


def test_gauges_and_rejections_say_words(recorder, tmp_path):
    recorder.version("digits", 2).state("READY")
    recorder.version("digits", 2).queued(7)
    recorder.worker().rejected("not_found")
    recorder.worker().rejected("something a client made up")
    version, worker = (copy for copy in read_all(tmp_path) if copy.spec.kind != VARIANT)
    assert STATES[version.family("state")[0]] == "READY"
    assert version.family("queued")[0] == 7
    assert sum(worker.family("rejected")) == 2
    assert worker.family("rejected")[0] == 1
