"""Pure: the clock is a list."""

from collections.abc import Callable

import numpy as np
import pytest

from router.errors import Internal
from service.protocol.tensors import Signature, TensorSpec
from service.runtime.profile import Feeds, Profile, Sample, blank_feeds, measure, profile, warm_up

X = {"x": np.zeros((1, 4), dtype=np.float32)}
FREE = Signature((TensorSpec("x", "FP32", (-1, 4)),), ())
FIXED = Signature((TensorSpec("x", "FP32", (4,)),), ())


def clock(*durations: int) -> Callable[[], int]:
    """A clock by which the n-th run takes the n-th duration, and all later ones the last."""
    times, now, pending = list(durations), 0, False

    def read() -> int:
        nonlocal now, pending
        if pending:
            now += times.pop(0) if len(times) > 1 else times[0]
        pending = not pending
        return now

    return read


def no_run(feeds: Feeds) -> None:
    pass


def refuse(feeds: Feeds) -> None:
    raise Internal("no")


def test_blank_inputs_have_rows_where_the_first_dimension_is_free() -> None:
    specs = (
        TensorSpec("a", "FP32", (-1, 4, -1)),
        TensorSpec("b", "INT64", ()),
        TensorSpec("c", "BYTES", (2,)),
        TensorSpec("d", "BF16", None),
    )
    feeds = blank_feeds(Signature(specs, ()), 3)
    assert feeds is not None
    assert {name: array.shape for name, array in feeds.items()} == {"a": (3, 4, 1), "b": (), "c": (2,), "d": (3,)}
    assert feeds["c"].tolist() == [b"", b""]


def test_very_large_blank_inputs_are_not_made() -> None:
    assert blank_feeds(Signature((TensorSpec("a", "FP32", (1 << 40,)),), ()), 1) is None


def test_the_least_time_counts_and_the_first_run_does_not() -> None:
    assert measure(no_run, X, clock(1, 900, 700, 800)) == Sample(4, 700)


def test_a_slow_model_is_run_once() -> None:
    runs = []
    assert measure(runs.append, X, clock(5_000_000_000, 1)) == Sample(4, 5_000_000_000)
    assert len(runs) == 1


def test_a_model_that_does_not_take_blank_inputs_is_not_measured() -> None:
    assert measure(refuse, X, clock(1)) is None
    assert warm_up(refuse, FREE, [], clock(1)) == Profile(-1, 0)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([], -1),
        ([Sample(4, 199_999)], 4),
        ([Sample(4, 200_000)], -1),
        ([Sample(4, 100_000), Sample(104, 150_000)], 204),  # 500 ns an element
        ([Sample(104, 150_000), Sample(4, 100_000)], 204),
        ([Sample(4, 6_000), Sample(128, 6_000)], 2048),  # no further than 16 times what was measured
        ([Sample(4, 7_000), Sample(128, 6_000)], 2048),
        ([Sample(4, 100_000), Sample(104, 400_000)], 37),
    ],
)
def test_the_largest_request_for_the_loop_follows_from_cost_by_elements(samples: list[Sample], expected: int) -> None:
    assert profile(samples).inline_elements == expected


def test_fixed_inputs_are_measured_once() -> None:
    runs: list[Feeds] = []
    assert warm_up(runs.append, FIXED, [], clock(10_000)) == Profile(4, 10_000)
    assert len(runs) == 6


def test_a_slow_model_is_not_measured_with_more_inputs_than_one() -> None:
    runs: list[Feeds] = []
    assert warm_up(runs.append, FREE, [X, X], clock(5_000_000_000)) == Profile(-1, 5_000_000_000)
    assert len(runs) == 1


def test_known_inputs_are_measured_too() -> None:
    known = {"x": np.zeros((1000, 4), dtype=np.float32)}
    assert warm_up(no_run, FREE, [known], clock(10_000)).inline_elements == 64_000
