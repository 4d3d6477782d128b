from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from router.counters import Segment
from router.demands import Shape, Watched
from router.evidence import Arm
from router.figures import LATENCY_EDGES_SECONDS
from router.routes import Route, Variant
from router.selfcheck import ENOUGH, Checked, Outcome, Reading, checked, default_policy, read
from router.synthetic import ORDINARY, Behaviour, Latency, Moment, Traffic
from router.tally import Reader
from router.telemetry import DRAWN_ONE_IN, Recorder, SeriesName, WatchedFamily

POLICY = default_policy()
SHAPE = Shape(Watched("class:label", 5, tuple("abcde")), Watched("value:score", 10))
LABEL = WatchedFamily("label", "class", labels=("a", "b"))


def readings(looks: int, drawn: Behaviour = ORDINARY, seed: int = 1) -> list[Reading]:
    """500 requests a look, of which an eighth is drawn; `drawn`: how those behave."""
    traffic, rng = Traffic(drawn, ORDINARY, Latency(LATENCY_EDGES_SECONDS)), np.random.default_rng(seed)
    whole = some = Arm()
    found = [Reading("1:1", 7, SHAPE, whole, some)]
    for look in range(looks):
        block = traffic.block(rng, Moment(5.0 * look, 500, 1.0 / DRAWN_ONE_IN))
        some, whole = some + block.candidate, whole + block.candidate + block.stable
        found.append(Reading("1:1", 7, SHAPE, whole, some))
    return found


def looked(found: list[Reading], number: int = 0, known: Checked | None = None) -> Checked:
    for reading in found:
        known = checked(known, reading, number, POLICY)
    assert known is not None
    return known


def test_a_version_is_like_itself() -> None:
    known = looked(readings(60))
    assert (known.round.outcome, known.round.blocks, known.round.requests) == (None, 60, 30_000)
    assert known.false_alarm_ratio is None
    after = looked(readings(1), 1, known)
    assert after.ended == {Outcome.QUIET: 1}
    assert after.false_alarm_ratio == 0.0


def test_what_makes_evidence_wrong_is_an_alarm_once_a_round() -> None:
    known = looked(readings(40, Behaviour(errors=0.05)))
    assert known.round.outcome is Outcome.ABORT
    assert known.round.blocks < 40
    assert known.ended == {Outcome.ABORT: 1}
    assert looked(readings(1), 1, known).ended == {Outcome.ABORT: 1}
    assert known.false_alarm_ratio == 1.0


def test_other_predictions_are_a_false_hold() -> None:
    known = looked(readings(40, Behaviour(shares=(0.2, 0.3, 0.15, 0.1, 0.25))))
    assert known.ended == {Outcome.HOLD: 1}


def test_a_draw_that_gives_other_shares_is_an_alarm_of_its_own() -> None:
    found = [replace(reading, drawn=Arm(), whole=reading.whole) for reading in readings(40)]
    assert looked(found).ended == {Outcome.ASSIGNMENT: 1}


def test_a_round_with_too_few_requests_has_shown_nothing() -> None:
    known = looked(readings(1))
    assert known.round.requests < ENOUGH
    after = looked(readings(1), 1, known)
    assert after.ended == {Outcome.IDLE: 1}
    assert after.false_alarm_ratio is None


def test_arms_that_were_read_at_different_moments_wait_for_the_next_look() -> None:
    first, second, third = readings(2)
    torn = replace(second, whole=replace(second.whole, errors=0), drawn=replace(second.drawn, errors=3))
    assert looked([first, torn]).round.blocks == 0
    assert looked([first, torn, third]).round.requests == 1000


def test_counters_that_began_anew_and_other_weights_begin_a_block_anew() -> None:
    found = readings(4)
    again = looked([found[3], found[1], found[2]])
    assert (again.round.blocks, again.round.requests) == (1, 500)
    epochs = [*found[:2], *(replace(reading, epoch=8) for reading in found[2:])]
    assert looked(epochs).round.blocks == len(epochs) - 2


def test_another_version_begins_a_round_of_its_own() -> None:
    known = looked(readings(20))
    other = looked([replace(reading, variant="2:2") for reading in readings(2)], 0, known)
    assert (other.round.variant, other.round.blocks, other.ended) == ("2:2", 2, {Outcome.QUIET: 1})


# ---- counters -------------------------------------------------------------------------------------------------------


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    segment = Segment.open(tmp_path, 0)
    yield Recorder(segment, True)
    segment.close()


def test_the_main_variant_and_what_was_drawn_of_it_are_read(recorder: Recorder, tmp_path: Path) -> None:
    route = Route("m", (Variant("1", 1, 900_000), Variant("2", 2, 100_000)), epoch=3)
    name = SeriesName("m", 1, "1", 3)
    plain, virtual = recorder.variant(name, (LABEL,), 0), recorder.virtual(name, (LABEL,), 0)
    assert read(Reader(tmp_path).read(), replace(route, epoch=4)) is None
    for number in range(10):
        for series in (plain, virtual)[: 1 + (number < 2)]:
            series.assigned(0)
            series.observe(0, 1_000_000, (1, 0, 1, 1), (0,))
    found = read(Reader(tmp_path).read(), route)
    assert found is not None
    assert (found.variant, found.epoch, found.whole.done, found.drawn.done) == ("1:1", 3, 10, 2)
    assert found.whole.classes == (10, 0)


def test_without_a_draw_nothing_is_checked(recorder: Recorder, tmp_path: Path) -> None:
    recorder.variant(SeriesName("m", 1, "1", 3), (LABEL,), 0)
    assert read(Reader(tmp_path).read(), Route("m", (Variant("1", 1, 1_000_000),), epoch=3)) is None
