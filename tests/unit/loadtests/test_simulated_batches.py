"""Queues that run what waits together, on a machine that stands still."""

from dataclasses import replace

import numpy as np
import pytest

from loadtests.simulate_margin import Swing, crossed
from loadtests.simulated_batches import Queues
from loadtests.simulated_rows import latency_check
from loadtests.simulated_traffic import RATE
from router.contrasts import observe, start
from router.evidence import Block
from router.families import Floats
from router.synthetic import constant


def blocks(queues: Queues) -> list[Block]:
    return list(queues.blocks(np.random.default_rng(3)))


def path(queues: Queues, *, led_alone: bool = False) -> Floats:
    found = blocks(queues)
    if led_alone:
        arms = [(replace(one.candidate, followed=()), replace(one.stable, followed=())) for one in found]
        found = [replace(one, candidate=a, stable=b) for one, (a, b) in zip(found, arms, strict=True)]
    check = replace(latency_check(0.1), control="baseline" if queues.baseline else "stable")
    return observe(check, start(check), found)[1]


def test_every_request_is_counted_once_and_each_run_has_one_that_leads() -> None:
    found = blocks(Queues(baseline=True, run_seconds=0.01, minutes=5))
    requests = sum(arm.done for one in found for arm in (one.candidate, one.stable, one.baseline) if arm is not None)
    assert requests == pytest.approx(RATE * 300, rel=0.02)
    assert all(sum(one.stable.latency) + sum(one.stable.followed) == one.stable.done for one in found)
    followed = sum(sum(one.stable.followed) for one in found) / sum(one.stable.done for one in found)
    assert 0.1 < followed < 0.5


def test_a_machine_that_stands_still_makes_equal_versions_differ_by_runs_alone_and_not_with_all_requests() -> None:
    queues = Queues(stalls=15.0, minutes=5)
    assert path(queues, led_alone=True).max() > 6.0
    assert path(queues).max() < 3.0


def test_against_a_baseline_they_do_not_differ() -> None:
    assert path(Queues(stalls=15.0, baseline=True, minutes=5)).max() < 3.0


def test_at_the_margin_safety_is_shown_no_oftener_than_it_may_be_and_without_a_difference_always() -> None:
    swing = Swing(0.1, 0.9, constant(0.5), seconds=300)
    assert crossed(swing, 40, 1)[0] <= 0.15
    assert crossed(replace(swing, worse=1.0), 10, 1)[0] > 0.8
