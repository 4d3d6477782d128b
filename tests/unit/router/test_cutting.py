"""Where blocks are cut: by time and numbers only, within one epoch, without cold workers, and never twice."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from router.cursor import Counted, Cursor, Ground, full, lean
from router.cutting import LINGER_SECONDS, cut
from router.evaluator import block_of, json_of
from router.evidence import Arm, Block
from router.policy import Policy

COLD = Policy(warmup_seconds=0.0, warmup_requests=0)
GROUND = Ground("digits", "digits-9", 4, 100.0, (100_000, 900_000), False)


def arm(done: int, errors: int = 0) -> Arm:
    return Arm(assigned=done, done=done, errors=errors, latency=(done, 0))


def reading(candidate: int, stable: int, slot: int = 0, errors: int = 0) -> Counted:
    return Counted({slot: arm(candidate, errors)}, {slot: arm(stable)})


def at(seconds: float, epoch: int = 4) -> Ground:
    return replace(GROUND, now=100.0 + seconds, epoch=epoch)


def walk(
    cursor: Cursor, *looks: tuple[Ground, Mapping[int, Counted]], policy: Policy = COLD
) -> tuple[Cursor, list[Block]]:
    """Every look, with a restart after each: what is remembered goes through JSON."""
    found: list[Block] = []
    for ground, counted in looks:
        cursor, blocks = cut(Cursor.from_json(json.loads(json.dumps(cursor.to_json()))), counted, ground, policy)
        found += blocks
    return cursor, found


def done(block: Block) -> tuple[int, int]:
    return block.candidate.done, block.stable.done


def test_a_block_closes_with_enough_requests_and_a_second_or_after_a_minute() -> None:
    looks = [(at(0), reading(0, 0)), (at(0.5), reading(5, 50)), (at(1.0), reading(5, 50)), (at(2.0), reading(6, 55))]
    looks += [(at(40.0), reading(7, 60)), (at(61.0), reading(7, 61)), (at(90.0), reading(7, 61))]
    _, blocks = walk(Cursor(), *[(ground, {4: counted}) for ground, counted in looks])
    assert [done(block) for block in blocks] == [(5, 50), (2, 11)]
    assert [block.index for block in blocks] == [1, 2]


def test_how_requests_end_changes_nothing_about_where_a_block_ends() -> None:
    grounds = [at(second / 2) for second in range(9)]
    for errors in (0, 1):
        looks = [(g, {4: reading(7 * n, 40 * n, errors=7 * n * errors)}) for n, g in enumerate(grounds)]
        _, blocks = walk(Cursor(), *looks)
        assert [done(block) for block in blocks] == [(14, 80)] * 4


def test_a_block_carries_the_weights_of_its_epoch() -> None:
    _, blocks = walk(Cursor(), (at(0), {}), (at(1), {4: reading(5, 50)}))
    assert (blocks[0].candidate.weight_ppm, blocks[0].stable.weight_ppm) == (100_000, 900_000)
    bare = replace(GROUND, weights=None)
    _, blocks = walk(Cursor(), (bare, {}), (replace(bare, now=102.0), {4: reading(5, 50)}))
    assert blocks[0].candidate.weight_ppm is None


def test_what_ends_late_in_an_epoch_that_is_over_becomes_a_block_of_that_epoch() -> None:
    _, blocks = walk(
        Cursor(),
        (at(0), {4: reading(0, 0)}),
        (at(1), {4: reading(10, 90)}),
        (at(2, 5), {4: reading(12, 95), 5: reading(0, 0)}),
        (at(3, 5), {4: reading(13, 95), 5: reading(30, 70)}),
    )
    assert [(block.epoch, done(block)) for block in blocks] == [
        (4, (10, 90)), (4, (2, 5)), (4, (1, 0)), (5, (30, 70)),
    ]  # fmt: skip
    assert [block.index for block in blocks] == [1, 2, 3, 3]


def test_an_epoch_is_let_go_when_its_cells_count_another_or_nobody_waits_for_it_any_more() -> None:
    begun = (at(0), {4: reading(10, 90)}), (at(1), {4: reading(10, 90)}), (at(2, 5), {4: reading(10, 90)})
    cursor, blocks = walk(Cursor(), *begun, (at(3, 5), {4: reading(2, 90)}))
    assert ([mark.epoch for mark in cursor.marks], len(blocks)) == ([5], 1)
    cursor, _ = walk(Cursor(), *begun, (at(3 + LINGER_SECONDS, 5), {4: reading(99, 990)}))
    assert [mark.epoch for mark in cursor.marks] == [5]


def test_counts_that_went_back_are_a_problem_and_begin_anew() -> None:
    looks = [(at(0), reading(0, 0)), (at(1), reading(10, 90)), (at(2), reading(3, 20)), (at(3), reading(8, 60))]
    _, blocks = walk(Cursor(), *[(ground, {4: counted}) for ground, counted in looks])
    assert [bool(block.problem) for block in blocks] == [False, True, False]
    assert done(blocks[2]) == (5, 40)


def test_workers_are_added_up_before_blocks_are_cut() -> None:
    one = Counted({0: arm(10), 1: arm(20), 7: arm(30)}, {0: arm(90), 1: arm(80), 7: arm(70)})
    _, several = walk(Cursor(), (at(0), {}), (at(1), {4: one}))
    _, single = walk(Cursor(), (at(0), {}), (at(1), {4: reading(60, 240)}))
    assert several == single


def test_mirrored_runs_fill_the_candidates_sample_only_where_they_should_and_are_told_apart() -> None:
    counted = {4: replace(reading(0, 50), mirrored=(40, 3))}
    mirrors = replace(GROUND, mirrors=True, weights=None)
    _, blocks = walk(Cursor(), (mirrors, {}), (replace(mirrors, now=101.0), counted))
    candidate = blocks[0].candidate
    assert (candidate.done, candidate.errors, candidate.flags["mirrored"]) == (40, 3, (40, 3))
    _, blocks = walk(Cursor(), (at(0), {}), (at(1), counted))
    assert blocks[0].candidate.done == 0


def test_a_worker_counts_once_the_candidate_is_warm_there_and_not_before() -> None:
    policy = Policy(warmup_seconds=2.0, warmup_requests=10)

    def both(first: tuple[int, int], second: tuple[int, int]) -> dict[int, Counted]:
        arms = [{slot: arm(worker[which]) for slot, worker in enumerate((first, second))} for which in (0, 1)]
        return {4: Counted(arms[0], arms[1])}

    looks = [
        (at(0), both((5, 50), (0, 40))),  # 0 begins to warm, 1 has had no candidate request
        (at(1), both((12, 99), (1, 80))),  # 0 is not old enough
        (at(2), both((20, 150), (2, 120))),  # 0 is warm from here on
        (at(3), both((30, 240), (9, 160))),
        (at(4), both((40, 330), (15, 200))),  # 1 is warm from here on
        (at(5), both((50, 420), (25, 290))),
    ]
    _, blocks = walk(Cursor(), *looks, policy=policy)
    assert [done(block) for block in blocks] == [(10, 90), (10, 90), (20, 180)]


def test_a_worker_that_is_warm_stays_warm_in_the_next_epoch() -> None:
    policy = Policy(warmup_seconds=1.0, warmup_requests=5)
    looks = [(at(0), {4: reading(5, 50)}), (at(1), {4: reading(6, 60)})]
    _, blocks = walk(Cursor(), *looks, (at(2, 5), {5: reading(0, 0)}), (at(3, 5), {5: reading(30, 30)}), policy=policy)
    assert [(block.epoch, done(block)) for block in blocks] == [(5, (30, 30))]


def test_nobody_warms_up_while_requests_are_only_mirrored() -> None:
    mirrors = replace(GROUND, mirrors=True, weights=None)
    counted = {4: Counted({}, {0: arm(50)}, (40, 0))}
    _, blocks = walk(Cursor(), (mirrors, {}), (replace(mirrors, now=101.0), counted), policy=Policy())
    assert done(blocks[0]) == (40, 50)


def test_blocks_grow_with_the_age_of_the_rollout_up_to_a_minute() -> None:
    cursor, _ = walk(Cursor(), (at(0), {4: reading(0, 0)}), (at(36_000), {4: reading(100, 100)}))
    later = [36_000 + second for second in range(1, 25)]
    _, blocks = walk(cursor, *[(at(second), {4: reading(second, second)}) for second in later])
    assert len(blocks) == 2


def test_after_a_reboot_the_clock_begins_anew_and_no_count_is_lost_or_taken_twice() -> None:
    cursor, first = walk(Cursor(), (at(0), {4: reading(0, 0)}), (at(1), {4: reading(10, 90)}))
    rebooted = [replace(GROUND, now=now) for now in (5.0, 6.5)]
    _, then = walk(cursor, (rebooted[0], {4: reading(10, 90)}), (rebooted[1], {4: reading(15, 130)}))
    assert [done(block) for block in first + then] == [(10, 90), (5, 40)]


def test_a_baseline_is_cut_with_the_others_and_warms_up_with_them() -> None:
    policy = replace(COLD, warmup_requests=10)
    looks = [(n, Counted({0: arm(10 * n)}, {0: arm(80 * n)}, baseline={0: arm(9 * n)})) for n in range(5)]
    cursor, blocks = walk(Cursor(), *[(at(n), {4: found}) for n, found in looks], policy=policy)
    assert [(block.baseline or Arm()).done for block in blocks] == [9] * len(blocks)
    assert len(blocks) == 3
    assert [block_of(json_of(block)) for block in blocks] == blocks
    told = json.loads(json.dumps(cursor.to_json()))
    assert Cursor.from_json(told) == cursor
    told["warmth"]["0"]["left_out"]["4"].pop()
    assert Cursor.from_json(told).warmth["0"].left_out == {"4": (arm(10), arm(80), Arm())}


def test_golden_rows_are_blocks_of_their_own_also_without_a_request() -> None:
    def ran(n: int) -> Counted:
        return replace(reading(0, 0), golden=(Arm(done=n, errors=n // 2), Arm(done=n)))

    cursor, blocks = walk(Cursor(), *[(at(n), {4: ran(15 * n)}) for n in range(4)])
    assert [(block.source, *done(block)) for block in blocks] == [("golden", 15, 15)] * 3
    assert cursor.marks[0].golden == (Arm(done=45, errors=22), Arm(done=45))
    _, blocks = walk(cursor, (at(4), {4: replace(ran(60), candidate={0: arm(5)}, stable={0: arm(40)})}))
    assert [(block.source, *done(block), block.index) for block in blocks] == [
        ("golden", 15, 15, 4),
        ("workers", 5, 40, 4),
    ]


@pytest.mark.parametrize(
    "one",
    [
        Arm(),
        Arm(3, 3, 1, (0, 3, 0), (1, 2), (), 4, 2, {"invalid": (3, 0)}, 50_000, (0, 2, 1)),
        Arm(latency=(0,) * 158, flags={"mirrored": (0, 0)}),
    ],
)
def test_an_arm_comes_back_from_the_log_as_it_was(one: Arm) -> None:
    assert full(json.loads(json.dumps(lean(one)))) == one


@pytest.mark.parametrize(
    ("together", "timed", "expected"), [(20, 50, False), (40, 90, False), (40, 110, True), (30, 110, False)]
)
def test_a_version_runs_together_when_more_than_a_third_of_enough_requests_did(
    together: int, timed: int, expected: bool
) -> None:
    shared = replace(arm(timed), flags={"together": (timed, together)})
    looks = [(at(0), {}), (at(1), {4: Counted({0: shared}, {0: arm(90)})})]
    cursor, _ = walk(Cursor(), *looks)
    assert cursor.together is expected


def test_a_new_epoch_goes_on_with_what_was_known_of_the_last() -> None:
    shared = replace(arm(200), flags={"together": (200, 150)})
    looks = [(at(0), {}), (at(1), {4: Counted({0: shared}, {0: arm(90)})}), (at(2, 5), {})]
    cursor, _ = walk(Cursor(), *looks)
    assert cursor.together
