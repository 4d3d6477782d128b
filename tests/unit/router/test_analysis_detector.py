import json

import numpy as np
import pytest

from router.detector import Detector, detect
from router.errors import InvalidArgument
from router.evidence import Arm, Block
from router.sequential import LimitCheck
from router.verdict import VerdictKind

SLO = LimitCheck(name="slo", limit=0.01, arm="stable")


def blocks(failed: list[int], first: int = 0) -> list[Block]:
    return [
        Block("m", "r", 0, "a", first + i, stable=Arm(done=100, errors=int(k), latency=(100 - int(k), 0, int(k))))
        for i, k in enumerate(failed)
    ]


def test_limits_that_are_kept_raise_no_alarm() -> None:
    """40 watches of 100 blocks at the limit itself, alpha 5 %: two are expected at most, six allowed (P = 1.4 %)."""
    rng = np.random.default_rng(8)
    alarms = 0
    for _ in range(40):
        _, verdict = detect([SLO], Detector(), blocks(rng.binomial(100, 0.01, 100).tolist()), 100, 0.05)
        alarms += verdict.kind is VerdictKind.FAIL
    assert alarms <= 6


def test_a_late_fault_is_found_as_soon_as_an_early_one() -> None:
    _, early = detect([SLO], Detector(), blocks([8] * 6), 3600)
    detector, calm = detect([SLO], Detector(), blocks([1] * 200), 3600)
    _, late = detect([SLO], detector, blocks([8] * 6, first=200), 3600)
    assert calm.kind is VerdictKind.PASS
    assert early.kind is late.kind is VerdictKind.FAIL
    assert late.check == "slo"


def test_an_alarm_is_remembered_through_a_restart() -> None:
    detector, _ = detect([SLO], Detector(), blocks([20] * 5), 100)
    again = Detector.from_json(json.loads(json.dumps(detector.to_json())))
    assert detect([SLO], again, blocks([0] * 50, first=5), 100)[1].kind is VerdictKind.FAIL


def test_latency_can_be_watched_too() -> None:
    slow = LimitCheck(name="slow", limit=0.01, arm="stable", slower_than=1)
    assert detect([SLO, slow], Detector(), blocks([10] * 8), 100)[1].kind is VerdictKind.FAIL


def test_blocks_count_once_and_none_or_a_problem_is_said() -> None:
    detector, _ = detect([SLO], Detector(), blocks([1] * 5), 100)
    again, verdict = detect([SLO], detector, blocks([1] * 5), 100)
    assert verdict.kind is VerdictKind.NO_DATA
    assert again.to_json() == detector.to_json()
    away = Block("m", "r", 0, "a", 9, problem="away")
    assert detect([SLO], detector, [away], 100)[1].kind is VerdictKind.ERROR


def test_another_versions_detector_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        Detector.from_json({"version": 0})
