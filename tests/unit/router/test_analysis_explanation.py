import math

import pytest

from router.analysis import Wealth, assess
from router.evidence import Arm, Block
from router.explanation import CheckExplanation, explain
from router.sequential import (
    ClassCheck,
    LatencyCheck,
    LimitCheck,
    Margin,
    RateCheck,
    ScoreCheck,
    SequentialCheck,
)


def told(check: SequentialCheck, candidate: Arm, stable: Arm, blocks: int = 20) -> CheckExplanation:
    made = [Block("m", "r", 0, "a", i, candidate, stable) for i in range(blocks)]
    wealth, _ = assess([check], Wealth(), made)
    return explain([check], wealth)[0]


def test_a_rate_is_told_with_counts_and_an_interval() -> None:
    found = told(RateCheck(name="e"), Arm(done=50, errors=4), Arm(done=50, errors=2)).estimates[0]
    assert (found.candidate, found.control, found.scale, found.exact) == ((1000, 80), (1000, 40), "odds ratio", True)
    assert 1.0 < found.low < found.value < found.high < 5.0


def test_each_quantile_and_each_class_is_told() -> None:
    latency = LatencyCheck(name="l", edges=(1.0, 2.0, 3.0), reference=(1100, 860, 30, 10))
    rows = told(latency, Arm(latency=(20, 29, 1, 0)), Arm(latency=(20, 29, 1, 0))).estimates
    assert [row.label for row in rows] == ["p50", "p95", "p99"]
    assert all(row.low <= 1.0 <= row.high for row in rows)
    rows = told(ClassCheck(name="c", classes=2), Arm(classes=(30, 20)), Arm(classes=(20, 30))).estimates
    assert [row.label for row in rows] == ["class 0", "class 1"]
    assert rows[0].value == pytest.approx(0.2)
    assert 0.0 < rows[0].low < 0.2 < rows[0].high


def test_a_score_and_a_limit_are_told() -> None:
    score = told(ScoreCheck(name="s", buckets=4), Arm(scores=(5, 10, 15, 20)), Arm(scores=(20, 15, 10, 5))).estimates[0]
    assert score.scale == "shift"
    assert 0.0 < score.low < score.value
    limit = told(LimitCheck(name="slo", limit=0.1), Arm(done=50, errors=1), Arm()).estimates[0]
    assert limit.scale == "rate"
    assert limit.low < 0.02 < limit.high < 0.05


def test_the_requests_still_needed_shrink_to_nothing() -> None:
    check = RateCheck(name="e", safe=Margin(2.0))
    needs = [told(check, Arm(done=50, errors=1), Arm(done=50, errors=1), n).requests_needed for n in (1, 20, 40)]
    assert needs[0] is not None
    assert needs[1] is not None
    assert needs[0] > needs[1] > 0
    assert needs[2] == 0
    assert 2500 < needs[0] < 5000


def test_a_floor_is_the_quicker_way_for_a_quiet_service() -> None:
    arms = Arm(done=50), Arm(done=950)
    slow = told(RateCheck(name="e", safe=Margin(2.0)), *arms).requests_needed
    quick = told(RateCheck(name="e", safe=Margin(2.0, 0.005)), *arms).requests_needed
    assert slow is not None
    assert quick is not None
    assert 0 < quick < slow


def test_latency_needs_what_its_slowest_quantile_needs() -> None:
    edges = tuple(0.002 * 1.1**step for step in range(12))
    cells = (50, 400, 300, 150, 60, 25, 10, 4, 1, 0, 0, 0, 0)
    check = LatencyCheck(name="l", edges=edges, reference=tuple(3 * cell for cell in cells), safe=Margin(1.2))
    found = told(check, Arm(latency=cells), Arm(latency=cells), 1)
    assert found.requests_needed is not None
    assert 0 < found.requests_needed < 40_000


def test_nothing_is_promised_that_cannot_be_said() -> None:
    assert told(RateCheck(name="e"), Arm(done=50), Arm(done=50)).requests_needed is None
    assert told(RateCheck(name="e", safe=Margin(2.0)), Arm(), Arm(done=50)).requests_needed is None
    limit = LimitCheck(name="slo", limit=0.1, safe=Margin(below=0.01))
    assert explain([limit], Wealth())[0].estimates[0].high == 1.0
    assert math.isinf(explain([RateCheck(name="e")], Wealth())[0].estimates[0].high)
