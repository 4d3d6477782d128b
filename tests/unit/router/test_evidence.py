import json

import pytest

from router.errors import InvalidArgument
from router.evidence import Arm, Block, Pairs, is_full, merge_workers

ARM = Arm(
    assigned=12, done=10, errors=2, latency=(1, 4, 5), classes=(6, 4), scores=(3, 7), rewards=4, rewards_good=3,
    flags={"invalid": (10, 1)}, weight_ppm=50_000,
)  # fmt: skip


def block(**changes: object) -> Block:
    fields = {"model": "m", "rollout": "r", "epoch": 3, "source": "a", "index": 7} | changes
    return Block(**fields)  # type: ignore[arg-type]


def test_counts_of_workers_add_up_in_any_order() -> None:
    parts = [block(candidate=ARM, pairs=Pairs(3, 1, 0)), block(candidate=Arm(done=5)), block(stable=ARM)]
    whole = merge_workers(parts)
    assert whole == merge_workers(parts[::-1])
    assert whole.candidate.done == 15
    assert whole.candidate.latency == (1, 4, 5)
    assert whole.candidate.flags == {"invalid": (10, 1)}
    assert whole.pairs == Pairs(3, 1, 0)


def test_parts_of_different_blocks_do_not_add_up() -> None:
    with pytest.raises(InvalidArgument, match="not the same block"):
        block() + block(index=8)


def test_cells_of_different_shapes_do_not_add_up() -> None:
    with pytest.raises(InvalidArgument, match="latency: 3 cells and 2"):
        ARM + Arm(latency=(1, 2))


def test_a_difference_of_readings_gives_the_block_back() -> None:
    assert (ARM + ARM).since(ARM) == ARM


def test_a_family_that_went_down_counts_from_zero() -> None:
    later = Arm(assigned=20, done=3, errors=1, latency=(2, 4, 5), flags={"invalid": (4, 0)})
    found = later.since(ARM)
    assert (found.assigned, found.done, found.errors) == (8, 3, 1)
    assert found.latency == (1, 0, 0)
    assert found.flags == {"invalid": (4, 0)}


@pytest.mark.parametrize(
    "counts",
    [{"done": 1, "errors": 2}, {"errors": -1}, {"latency": (1, -1)}, {"assigned": -1}, {"flags": {"x": (1, 2)}}],
)
def test_counts_that_cannot_be_are_refused(counts: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        Arm(**counts)  # type: ignore[arg-type]


def test_more_discordant_pairs_than_pairs_are_refused() -> None:
    with pytest.raises(InvalidArgument):
        Pairs(3, 2, 2)


def test_a_block_comes_back_from_the_log() -> None:
    whole = block(candidate=ARM, stable=Arm(done=1), baseline=ARM, pairs=Pairs(9, 1, 2), stratum=4, problem="away")
    assert Block.from_json(json.loads(json.dumps(whole.to_json()))) == whole
    assert Block.from_json(json.loads(json.dumps(block().to_json()))) == block()


def test_rates_are_found_by_their_mark() -> None:
    assert ARM.rate("errors") == (10, 2)
    assert ARM.rate("reward") == (4, 3)
    assert ARM.rate("invalid") == (10, 1)
    assert ARM.rate("unknown") == (0, 0)


@pytest.mark.parametrize(
    ("requests", "age", "full"), [(20, 1.0, True), (19, 59.0, False), (5000, 0.9, False), (0, 60.0, True)]
)
def test_a_block_closes_by_time_and_number_only(requests: int, age: float, full: bool) -> None:
    assert is_full(requests, age) is full
