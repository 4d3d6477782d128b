"""Versions of one split must get the same inputs."""

import json
from dataclasses import replace

import numpy as np
import pytest

from router.input_match import Match, Split, compare

SHARES = np.array([0.1, 0.3, 0.4, 0.15, 0.05])
KINDS = {"age": "number", "sex": "category"}


class World:
    """Requests dealt at random: counts for ever, a look after each block."""

    def __init__(self, seed, share=0.1):
        self.rng, self.share = np.random.default_rng(seed), share
        self.counts = {arm: {name: np.zeros(5, int) for name in KINDS} for arm in ("candidate", "stable")}
        self.epoch, self.match = 1, None

    def block(self, size=200, broken=None):
        candidates = self.rng.binomial(size, self.share)
        for arm, n in (("candidate", candidates), ("stable", size - candidates)):
            for name in KINDS:
                shares = broken if broken is not None and arm == "candidate" and name == "age" else SHARES
                self.counts[arm][name] += self.rng.multinomial(n, shares)

    def look(self):
        arms = {a: {k: tuple(map(int, v)) for k, v in each.items()} for a, each in self.counts.items()}
        split = Split("r1 stable:1 canary:2", self.epoch, KINDS, arms["candidate"], arms["stable"])
        self.match = compare(self.match, split)
        return self.match


def test_the_same_inputs_are_not_called_different_however_often_one_looks():
    claimed = 0
    for seed in range(12):
        world = World(seed)
        world.look()
        for _ in range(40):
            world.block()
            world.look()
        claimed += bool(world.match.differs)
    assert claimed == 0


def test_inputs_that_drift_for_both_versions_alike_are_no_difference():
    world = World(3)
    world.look()
    for step in range(60):
        drifting = np.roll(SHARES, step % 5)
        candidates = world.rng.binomial(200, world.share)
        for arm, n in (("candidate", candidates), ("stable", 200 - candidates)):
            for name in KINDS:
                world.counts[arm][name] += world.rng.multinomial(n, drifting)
        assert world.look().differs == ""


@pytest.mark.parametrize(
    "broken",
    [
        np.array([0.0, 0.0, 0.0, 0.0, 1.0]),  # all missing
        np.array([0.15, 0.4, 0.35, 0.08, 0.02]),  # shifted
        np.array([0.2, 0.2, 0.2, 0.35, 0.05]),  # wider
    ],
    ids=["missing", "shifted", "wider"],
)
def test_a_broken_feature_of_the_candidate_is_found_and_named(broken):
    world = World(5, share=0.5)
    world.look()
    for _ in range(20):
        world.block(broken=broken)
        world.look()
    assert world.match.differs == "age"


def test_what_was_claimed_stays():
    world = World(5, share=0.5)
    world.look()
    world.block(2000, broken=np.array([0.0, 0.0, 0.0, 0.0, 1.0]))
    assert world.look().differs == "age"
    for _ in range(10):
        world.block(2000)
        assert world.look().differs == "age"


def test_the_first_look_only_notes_what_was_there_before():
    world = World(1)
    world.block(5000, broken=np.array([0.0, 0.0, 0.0, 0.0, 1.0]))
    assert (world.look().log_e, world.match.requests) == (0.0, 0)


def test_a_new_epoch_counts_from_nothing_and_keeps_the_wealth():
    world = World(1)
    world.look()
    world.block(1000)
    before = world.look()
    world.epoch = 2
    for arm in world.counts.values():
        for name in KINDS:
            arm[name][:] = 0
    world.look()
    world.block(1000)
    after = world.look()
    assert (before.requests, after.requests) == (1000, 2000)
    assert after.bets["age"].bins.log_e.shape == before.bets["age"].bins.log_e.shape


def test_few_requests_wait_for_more():
    world = World(1)
    world.look()
    world.block(10)
    assert world.look().requests == 0
    world.block(10)
    assert world.look().requests == 20


def test_another_comparison_begins_with_nothing():
    world = World(5, share=0.5)
    world.look()
    world.block(2000, broken=np.array([0.0, 0.0, 0.0, 0.0, 1.0]))
    claimed = world.look()
    split = Split("r2 stable:1 canary:2", 1, KINDS, claimed.candidate, claimed.stable)
    assert compare(claimed, split).differs == ""
    assert compare(None, replace(split, identity="r1"), differs="age").differs == "age"


def test_what_is_known_comes_back_as_it_was_and_says_the_same_from_then_on():
    one, other = World(4), World(4)
    broken = np.array([0.2, 0.3, 0.3, 0.15, 0.05])
    for step in range(30):
        for world in (one, other):
            world.block(broken=broken if step > 5 else None)
            world.look()
        if step % 3 == 0:
            other.match = Match.from_json(json.loads(json.dumps(other.match.to_json())))
    assert one.match.log_e == other.match.log_e != 0.0
    assert (one.match.differs, one.match.requests) == (other.match.differs, other.match.requests)


def test_features_that_are_cut_otherwise_are_compared_from_nothing():
    world = World(5)
    for _ in range(3):
        world.block()
        world.look()
    world.counts = {arm: {name: cells[:4] for name, cells in each.items()} for arm, each in world.counts.items()}
    assert world.look().requests == 0
