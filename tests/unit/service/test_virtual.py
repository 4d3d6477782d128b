from collections.abc import Iterator
from pathlib import Path

import pytest

from router.counters import Segment
from router.telemetry import DRAWN_ONE_IN as ONE_IN
from router.telemetry import ROUND_BITS, Recorder, SeriesName
from service.virtual import VirtualArm


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    segment = Segment.open(tmp_path, 0)
    yield Recorder(segment, True)
    segment.close()


def arm(recorder: Recorder, draw: float = 0.0) -> VirtualArm:
    return VirtualArm(recorder.virtual(SeriesName("m", 1, "1"), (), 0), lambda: draw)


def test_an_eighth_of_the_requests_without_a_key_is_drawn(recorder: Recorder) -> None:
    assert arm(recorder, 0.1249).takes(None, 0)
    assert not arm(recorder, 0.125).takes(None, 0)


def test_a_caller_with_a_key_is_drawn_as_a_whole_and_anew_each_round(recorder: Recorder) -> None:
    virtual, keys = arm(recorder), [f"user-{number}".encode() for number in range(8_000)]
    rounds = [{key for key in keys if virtual.takes(key, number << ROUND_BITS)} for number in range(2)]
    again = {key for key in keys if virtual.takes(key, (1 << ROUND_BITS) - 1)}
    assert again == rounds[0]
    for drawn in rounds:
        assert len(drawn) == pytest.approx(len(keys) / ONE_IN, rel=0.1)
    assert len(rounds[0] & rounds[1]) == pytest.approx(len(keys) / ONE_IN**2, rel=0.4)


def test_what_is_drawn_is_counted_apart(recorder: Recorder) -> None:
    plain = recorder.variant(SeriesName("m", 1, "1"), (), 0)
    virtual = arm(recorder).series
    virtual.assigned(0)
    assert virtual.block.in_flight == 1
    assert plain.block.in_flight == 0
