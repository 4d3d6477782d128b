"""Numbers against limits: only a number on enough requests, within its limits, passes."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.checks import Check, Compare, Tolerance
from router.figures import Measurement, failed, no_data
from router.strategies import Step, StepKind, Wait, noise
from router.thresholds import (
    Failures,
    Pair,
    compared,
    failures_json,
    failures_of,
    judge,
    look,
    refusal,
    unmeasurable,
)
from router.verdict import Verdict, VerdictKind

PASS, FAIL, INCONCLUSIVE = VerdictKind.PASS, VerdictKind.FAIL, VerdictKind.INCONCLUSIVE
NO_DATA, ERROR = VerdictKind.NO_DATA, VerdictKind.ERROR
ERRORS = Check("errors", metric="error_rate", maximum=0.05)
DIFFERENCE, RATIO = replace(ERRORS, compare=Compare.DIFFERENCE), replace(ERRORS, compare=Compare.RATIO, maximum=1.5)


def pair(value: float | None, stable: float | None = None, requests: int = 100) -> Pair:
    control = None if stable is None else Measurement(stable, 900)
    return Pair("2", Measurement(value, requests), control)


def judged(check: Check, *values: float) -> list[Verdict]:
    failures, verdicts = Failures(), []
    for value in values:
        verdict, failures = judge(check, [pair(value)], failures)
        verdicts.append(verdict)
    return verdicts


def test_a_verdict_tells_its_numbers_and_its_reason() -> None:
    verdict = look(ERRORS, pair(0.12))
    assert (verdict.kind, verdict.check) == (FAIL, "errors")
    assert verdict.reason == "error_rate 0.12 (100 requests) is above 0.05"
    assert verdict.numbers == {"value": 0.12, "requests": 100, "max": 0.05}


def test_a_comparison_tells_both_sides() -> None:
    verdict = look(DIFFERENCE, pair(0.12, 0.01))
    assert verdict.kind is FAIL
    assert verdict.reason == (
        "error_rate 0.12 (100 requests) against 0.01 (900 requests) of stable: the difference 0.11 is above 0.05"
    )
    assert verdict.numbers["stable"] == 0.01


@pytest.mark.parametrize(
    ("check", "measured", "kind"),
    [
        (ERRORS, pair(0.05), PASS),
        (ERRORS, pair(0.051), FAIL),
        (replace(ERRORS, maximum=None, minimum=0.5), pair(0.49), FAIL),
        (replace(ERRORS, minimum=0.01), pair(0.02), PASS),
        (DIFFERENCE, pair(0.06, 0.01), PASS),
        (RATIO, pair(0.02, 0.01), FAIL),
        (RATIO, pair(0.0, 0.0), PASS),
        (RATIO, pair(0.001, 0.0), FAIL),
        (ERRORS, pair(0.0, requests=49), NO_DATA),
        (ERRORS, pair(None), NO_DATA),
        (ERRORS, pair(math.nan), NO_DATA),
        (ERRORS, pair(math.inf), ERROR),
        (ERRORS, Pair("2", failed("prom is away")), ERROR),
        (DIFFERENCE, Pair("2", Measurement(0.0, 100), no_data("no requests yet")), NO_DATA),
        (DIFFERENCE, Pair("2", Measurement(0.0, 100), failed("prom is away")), ERROR),
        (DIFFERENCE, Pair("2", Measurement(0.0, 100), Measurement(0.0, 10)), NO_DATA),
        (DIFFERENCE, Pair("2", Measurement(0.0, 100)), ERROR),
        (replace(ERRORS, maximum=None), pair(0.0), ERROR),
    ],
)
def test_each_look_has_one_of_five_verdicts(check: Check, measured: Pair, kind: VerdictKind) -> None:
    assert look(check, measured).kind is kind


NUMBERS = st.none() | st.floats()
MEASUREMENTS = st.builds(
    Measurement, NUMBERS, st.none() | st.integers(0, 200), st.sampled_from([NO_DATA, ERROR]), st.just("why")
)


@given(MEASUREMENTS, st.none() | MEASUREMENTS, st.sampled_from([ERRORS, DIFFERENCE, RATIO]), st.integers(0, 3))
def test_nothing_passes_without_a_finite_number_on_enough_requests(
    candidate: Measurement, stable: Measurement | None, check: Check, tolerate: int
) -> None:
    verdict, _ = judge(replace(check, tolerate=tolerate), [Pair("2", candidate, stable)], Failures())
    if verdict.kind is not PASS:
        return
    needed = [candidate] if check is ERRORS else [candidate, stable]
    for seen in needed:
        assert seen is not None
        assert seen.value is not None
        assert math.isfinite(seen.value)
        assert seen.requests is None or seen.requests >= 50


def test_requests_below_a_minimum_are_not_there_yet() -> None:
    check = Check("enough", metric="requests", minimum=1000)
    assert look(check, pair(10.0, requests=10)).kind is NO_DATA
    assert look(check, pair(1000.0, requests=1000)).kind is PASS


def test_tolerate_three_fails_on_the_fourth_in_a_row() -> None:
    check = replace(ERRORS, tolerate=3)
    kinds = [verdict.kind for verdict in judged(check, 0.1, 0.1, 0.1, 0.1)]
    assert kinds == [INCONCLUSIVE, INCONCLUSIVE, INCONCLUSIVE, FAIL]
    assert judged(check, 0.1)[0].reason.endswith("is above 0.05; failure 1 in a row, 3 tolerated")


def test_a_pass_ends_a_row_and_not_a_total() -> None:
    consecutive = replace(ERRORS, tolerate=1)
    total = replace(consecutive, tolerance=Tolerance.TOTAL)
    assert [verdict.kind for verdict in judged(consecutive, 0.1, 0.0, 0.1, 0.0, 0.1)][-1] is INCONCLUSIVE
    assert [verdict.kind for verdict in judged(total, 0.1, 0.0, 0.1)] == [INCONCLUSIVE, PASS, FAIL]


@pytest.mark.parametrize("silent", [no_data("no requests yet"), failed("prom is away")])
def test_silence_neither_ends_nor_lengthens_a_row(silent: Measurement) -> None:
    verdict, after = judge(replace(ERRORS, tolerate=1), [Pair("2", silent)], Failures(4, 1))
    assert verdict.kind in (NO_DATA, ERROR)
    assert after == Failures(4, 1)


def test_of_several_candidates_the_worst_speaks_with_its_name() -> None:
    pairs = [pair(0.0), replace(pair(0.2), variant="3"), Pair("4", no_data("no requests yet"))]
    verdict, after = judge(ERRORS, pairs, Failures())
    assert verdict.kind is FAIL
    assert verdict.reason.startswith("variant 3: error_rate 0.2")
    assert verdict.numbers["variant"] == "3"
    assert after == Failures(1, 1)


def test_without_a_candidate_there_is_no_data() -> None:
    assert judge(ERRORS, [], Failures())[0].kind is NO_DATA


def test_failures_survive_json_and_nonsense_is_none() -> None:
    failures = {"a": Failures(3, 1), "b": Failures()}
    assert failures_json(failures) == {"a": [3, 1]}
    assert failures_of([3, 1]) == Failures(3, 1)
    assert failures_of(["3", None]) == failures_of(None) == Failures()


def test_a_ratio_to_nothing_is_infinite_unless_both_are_nothing() -> None:
    assert compared(Compare.RATIO, pair(0.1, 0.0)) == math.inf
    assert compared(Compare.RATIO, pair(0.0, 0.0)) == 1.0
    assert compared(Compare.RATIO, pair(0.1, 0.2)) == 0.5


STEPS = (
    Step(StepKind.SHADOW, share_ppm=10_000),
    Step(StepKind.WEIGHT, weight_ppm=10_000),
    Step(StepKind.SWITCH, weight_ppm=1_000_000),
)


@pytest.mark.parametrize(
    ("check", "index", "why"),
    [
        (ERRORS, 0, None),
        (replace(ERRORS, metric="class_share"), 0, "not counted of mirrored requests"),
        (replace(ERRORS, metric="class_share"), 1, None),
        (replace(ERRORS, metric="shadow_flip_rate"), 1, None),
        (DIFFERENCE, 2, "nothing is left for stable"),
        (replace(DIFFERENCE, source="prom"), 2, "nothing is left for stable"),
    ],
)
def test_what_a_step_can_never_measure_is_known_before(check: Check, index: int, why: str | None) -> None:
    found = unmeasurable(check, STEPS, index)
    assert found is None if why is None else why in (found or "")


def test_a_shadow_check_needs_a_step_that_mirrors() -> None:
    assert "needs mirrored requests" in (unmeasurable(replace(ERRORS, metric="shadow_flip_rate"), STEPS[1:], 0) or "")


def test_a_step_that_is_not_checked_refuses_nothing() -> None:
    assert unmeasurable(DIFFERENCE, (replace(STEPS[2], checked=False),), 0) is None


def test_a_check_without_limits_is_refused() -> None:
    assert refusal(replace(ERRORS, maximum=None)) == "max: needs `max`, `min` or both"
    assert "value" in (refusal(replace(DIFFERENCE, metric="shadow_drop_rate")) or "")
    assert refusal(DIFFERENCE) is None


def test_a_flip_rate_is_held_against_the_noise_floor_only_where_one_was_measured_before() -> None:
    flips, floor = replace(DIFFERENCE, metric="shadow_flip_rate"), noise(1_000_000, Wait(requests=100))
    shadowed = Step(StepKind.SHADOW, share_ppm=1_000_000)
    assert refusal(flips) is None
    assert unmeasurable(flips, (floor, shadowed), 1) is None
    assert "comes later" in (unmeasurable(flips, (shadowed, floor), 0) or "")
    assert "needs mirrored requests" in (unmeasurable(flips, (floor, STEPS[2]), 1) or "")
