from dataclasses import replace

import numpy as np
import pytest

from router.synthetic import ORDINARY, Behaviour, Latency, Moment, Traffic, constant, latency_shares, score_shares

LATENCY = Latency(tuple(0.002 * 1.1**step for step in range(71)))
SAME = Traffic(ORDINARY, ORDINARY, LATENCY)


def test_every_family_counts_every_request_once() -> None:
    block = replace(SAME, labelled=0.5).block(np.random.default_rng(1), Moment(0.0, 500, 0.3))
    for arm in (block.candidate, block.stable):
        assert arm.assigned == arm.done == sum(arm.latency) == sum(arm.classes) == sum(arm.scores)
        assert 0 < arm.rewards < arm.done
    assert block.candidate.assigned + block.stable.assigned == 500
    assert (block.candidate.weight_ppm, block.stable.weight_ppm) == (300_000, 700_000)


def test_the_same_seed_gives_the_same_block() -> None:
    one, other = (SAME.block(np.random.default_rng(7), Moment(0.0, 100, 0.5)) for _ in range(2))
    assert one == other


def test_the_candidate_turns_bad_at_the_onset() -> None:
    traffic = Traffic(Behaviour(errors=1.0, invalid=1.0), Behaviour(errors=0.0), LATENCY, onset=10.0)
    rng = np.random.default_rng(2)
    before, after = (traffic.block(rng, Moment(second, 100, 0.5)) for second in (9.0, 10.0))
    assert (before.candidate.errors, after.candidate.errors) == (0, after.candidate.done)
    assert after.stable.errors == 0


def test_what_happens_to_both_happens_to_both() -> None:
    traffic = Traffic(Behaviour(errors=0.01), Behaviour(errors=0.01), LATENCY, error_tide=constant(100.0))
    block = traffic.block(np.random.default_rng(3), Moment(0.0, 100, 0.5))
    assert block.candidate.errors == block.candidate.done
    assert block.stable.errors == block.stable.done


def test_a_mix_that_changes_changes_what_both_predict() -> None:
    traffic = Traffic(ORDINARY, ORDINARY, LATENCY, mix_tide=constant(1.0))
    block = traffic.block(np.random.default_rng(3), Moment(0.0, 10_000, 0.5))
    for arm in (block.candidate, block.stable):
        assert arm.classes[-1] / arm.done == pytest.approx(0.13, abs=0.02)
        assert arm.scores[-1] / arm.done > 0.3


def test_a_broken_split_gives_other_shares_than_planned() -> None:
    block = SAME.block(np.random.default_rng(4), Moment(0.0, 100, 0.05, actual=1.0))
    assert (block.candidate.assigned, block.candidate.weight_ppm) == (100, 50_000)


def test_slower_moves_the_whole_distribution_and_tail_only_what_is_above_p95() -> None:
    plain, slower, tail = (np.cumsum(latency_shares(LATENCY, *by)) for by in ((1.0, 1.0), (1.5, 1.0), (1.0, 1.5)))
    assert plain[-1] == pytest.approx(1.0)
    assert np.interp(0.5, slower, (*LATENCY.edges, 0.0)) == pytest.approx(0.03, rel=0.1)
    below = plain < 0.94
    assert tail[below] == pytest.approx(plain[below])
    assert 1.0 - tail[40] > 1.5 * (1.0 - plain[40])


def test_deciles_of_the_reference_are_equally_likely_without_a_shift() -> None:
    assert score_shares(0.0) == pytest.approx([0.1] * 10, abs=1e-6)
    assert score_shares(1.0)[-1] > 0.3
