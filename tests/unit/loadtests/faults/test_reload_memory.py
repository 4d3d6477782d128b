import pytest

from loadtests.faults.reload_memory import slope


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([5.0, 5.0, 5.0, 5.0], 0.0), ([1.0, 1.5, 2.0, 2.5], 0.5), ([4.0, 0.0, 4.0, 0.0, 4.0], 0.0)],
)
def test_the_slope_is_what_one_more_reload_costs(sizes: list[float], expected: float) -> None:
    assert slope(sizes) == pytest.approx(expected)
