"""Labels become blocks of the minutes of their requests, and it is seen when they do not come for both versions."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from router.analysis import Wealth, assess
from router.cursor import Ground
from router.demands import LABELLED
from router.evidence import Block
from router.policy import Metric, Policy, Rule
from router.sequential import Action, RateCheck
from router.shelves import Cells, Shelves, cut_labels
from router.strata import STRATA, RewardCounts

POLICY = Policy(rules=(Rule(Metric.REWARD, Action.ABORT, delay_seconds=86_400.0),))
MINUTES = 5
STRATUM = MINUTES * 60.0


class Book:
    """What both versions had counted, and how far it was cut."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.policy = policy
        self.cells: dict[tuple[int, int], list[list[int]]] = {}
        self.shelves = Shelves()
        self.now, self.epoch, self.index = 1000.0, 4, 0

    def add(self, candidate: Cells, stable: Cells, place: int = 7, epoch: int = 4) -> None:
        """good, bad, issued of each."""
        arms = self.cells.setdefault((epoch, place), [[0, 0, 0], [0, 0, 0]])
        for arm, more in zip(arms, (candidate, stable), strict=True):
            for at, count in enumerate(more):
                arm[at] += count

    def cut(self, seconds: float = 1.0, weights=(500_000, 500_000)):
        self.now += seconds
        self.index += 1
        self.shelves = Shelves.from_json(json.loads(json.dumps(self.shelves.to_json())))
        ground = Ground("digits", "r1", self.epoch, self.now, weights, False)
        self.shelves, blocks = cut_labels(self.shelves, self._judged(), ground, (self.index, self.policy))
        return blocks

    def _judged(self):
        return {
            epoch: tuple(RewardCounts(MINUTES, *(self._ring(epoch, arm, at) for at in range(3))) for arm in range(2))
            for epoch in {epoch for epoch, _ in self.cells}
        }

    def _ring(self, epoch: int, arm: int, at: int) -> tuple[int, ...]:
        return tuple(self.cells.get((epoch, place), [[0] * 3] * 2)[arm][at] for place in range(STRATA))


def test_labels_of_the_same_minutes_make_a_block_as_soon_as_there_are_enough():
    book = Book()
    book.add((8, 2, 30), (9, 0, 30))
    assert book.cut() == []  # 19 labels: a block has 20
    book.add((0, 1, 0), (0, 0, 0))
    (block,) = book.cut()
    assert (block.epoch, block.source, block.index, block.stratum) == (4, "feedback", 2, 8)
    assert (block.candidate.rewards, block.candidate.rewards_good) == (11, 8)
    assert (block.stable.rewards, block.stable.rewards_good) == (9, 9)
    assert book.cut() == []


def test_few_labels_wait_for_a_minute_and_no_longer():
    book = Book()
    book.add((1, 0, 3), (0, 1, 3))
    assert book.cut(30) == []
    assert book.cut(40) == []  # since it was first seen
    (block,) = book.cut(25)
    assert block.candidate.rewards == 1


def test_each_stratum_has_a_block_of_its_own_and_they_are_in_order():
    book = Book()
    for place in (9, 3):
        book.add((15, 0, 20), (15, 0, 20), place)
    book.cut()
    blocks = book.cut(2)
    assert [block.stratum for block in blocks] == [4, 10]
    assert sorted(block.order for block in blocks) == [block.order for block in blocks]


def test_late_labels_of_an_epoch_that_is_over_are_compared_in_it():
    book = Book()
    book.add((15, 0, 40), (15, 0, 40))
    book.cut()
    book.cut()
    book.epoch = 5
    book.add((10, 10, 0), (20, 0, 0), epoch=4)
    (block,) = book.cut()
    assert (block.epoch, block.candidate.rewards_good, block.stable.rewards_good) == (4, 10, 20)


def test_epochs_before_the_rollout_and_steps_without_a_control_are_not_compared():
    book = Book()
    book.add((50, 0, 50), (50, 0, 50), epoch=3)
    book.cut()
    assert book.cut(100) == []
    alone = Book()
    alone.add((50, 0, 50), (50, 0, 50))
    alone.cut(weights=None)
    assert alone.cut(100, weights=None) == []


def test_once_a_stratum_is_over_it_is_told_for_how_many_a_label_came():
    book = Book()
    book.add((15, 5, 100), (20, 0, 90))
    book.cut()
    (before,) = book.cut()
    assert before.candidate.flags == {}
    book.add((5, 5, 10), (5, 5, 10))
    (over,) = book.cut(STRATUM + 10)
    assert over.candidate.flags == {LABELLED: (110, 30)}
    assert over.stable.flags == {LABELLED: (100, 30)}
    assert over.candidate.rewards == 10
    book.add((20, 0, 0), (0, 0, 0))
    (later,) = book.cut(2)
    assert later.candidate.flags == {LABELLED: (80, 20)}
    assert later.stable.flags == {LABELLED: (70, 0)}


def test_a_reading_that_finds_more_labels_than_answers_is_no_contradiction():
    book = Book()
    book.add((30, 0, 25), (30, 0, 30))
    book.cut()
    (block,) = book.cut(STRATUM + 10)
    assert block.candidate.flags == {LABELLED: (30, 30)}


def test_labels_that_come_later_than_the_rollout_waits_for_are_left_out():
    book = Book(replace(POLICY, rules=(replace(POLICY.rules[0], delay_seconds=600.0),)))
    book.add((1, 0, 100), (1, 0, 100))
    book.cut()
    book.cut(700)
    book.add((50, 0, 0), (50, 0, 0))
    (block,) = book.cut(100)
    assert block.candidate.rewards == 50
    book.add((50, 0, 0), (50, 0, 0))
    assert book.cut(200) == []


def test_the_next_lap_of_the_ring_begins_anew():
    book = Book()
    book.add((20, 0, 40), (20, 0, 40))
    book.cut()
    book.cut(STRATUM + 10)
    book.add((0, 15, 30), (15, 0, 30))
    assert book.cut(STRATA * STRATUM - 100) == []
    (block,) = book.cut(2)
    assert (block.candidate.rewards, block.candidate.flags) == (15, {})
    book.add((1, 0, 0), (1, 0, 0))
    (over,) = book.cut(STRATUM + 10)
    assert over.candidate.flags == {LABELLED: (30, 16)}


def test_an_epoch_that_is_long_over_is_forgotten_and_not_counted_again():
    book = Book()
    book.add((20, 0, 40), (20, 0, 40))
    book.cut()
    assert len(book.cut()) == 1
    book.epoch = 5
    assert book.cut(86_400 + 4 * 3600) == []
    assert book.shelves == Shelves((5,), ())
    assert book.cut(100) == []


def test_what_cannot_be_read_for_a_moment_is_not_counted_twice():
    book = Book()
    book.add((20, 0, 40), (20, 0, 40))
    book.cut()
    assert len(book.cut()) == 1
    hidden, book.cells = book.cells, {}
    assert book.cut(100) == []
    book.cells = hidden
    assert book.cut(100) == []


def test_counts_that_fell_prove_nothing_and_are_counted_from_there():
    book = Book()
    book.add((20, 0, 40), (20, 0, 40))
    book.cut()
    book.cut()
    book.cells[4, 7] = [[5, 0, 10], [5, 0, 10]]
    assert book.cut(100) == []
    book.add((10, 0, 10), (10, 0, 10))
    (block,) = book.cut(2)
    assert block.candidate.rewards == 10


def test_nothing_is_remembered_while_no_label_comes():
    book = Book()
    book.add((0, 0, 500), (0, 0, 500))
    book.cut()
    assert book.shelves == Shelves((4,), ())


@pytest.mark.parametrize("seconds", [1.0, 7.0, 61.0])
def test_whenever_one_looks_each_label_is_in_one_block(seconds):
    book = Book()
    found = [0, 0]
    for turn in range(200):
        book.add((3, 1, 8), (2, 2, 9), place=turn // 50)
        for block in book.cut(seconds):
            found[0] += block.candidate.rewards
            found[1] += block.stable.rewards
    for block in book.cut(61.0):
        found[0] += block.candidate.rewards
        found[1] += block.stable.rewards
    assert found == [800, 800]


REWARD = (RateCheck(name="reward", mark="reward", more_is_better=True, action=Action.ABORT),)


def harm(blocks) -> float:
    return assess(REWARD, Wealth(), blocks)[1].harm_log_e


@pytest.mark.parametrize("seed", range(5))
def test_a_ramp_into_a_bad_hour_is_no_harm_though_all_labels_together_look_like_it(seed):
    rng, book, found = np.random.default_rng(seed), Book(), []
    for epoch, weight, good in ((4, 0.1, 0.95), (5, 0.5, 0.6)):  # equal versions
        ours = int(rng.binomial(3000, weight))
        arms = []
        for n in (ours, 3000 - ours):
            right = int(rng.binomial(n, good))
            arms.append((right, n - right, n))
        book.epoch = epoch
        found += book.cut(2)
        book.add(arms[0], arms[1], place=epoch, epoch=epoch)
    blocks = [*found, *book.cut(2), *book.cut(2)]
    assert [block.epoch for block in blocks] == [4, 5]
    pooled = Block("m", "r", 5, "s", 1, blocks[0].candidate + blocks[1].candidate, blocks[0].stable + blocks[1].stable)
    assert harm(blocks) < math.log(100)
    assert harm([pooled]) > math.log(1e6)
