"""What is summed together is what each sum gives by itself."""

import math

import numpy as np
import pytest

from router import tilts
from router.families import DOWNWARDS, UPWARDS, Marks
from router.packing import packed, unpacked
from router.sequences import ratio_grid
from router.tilts import Ask, answer


def marks(rng: np.random.Generator, rows: int, most: int) -> Marks:
    n_c, n_s = rng.integers(0, most, (2, rows))
    return Marks.of((n_c, rng.integers(0, n_c + 1)), (n_s, rng.integers(0, n_s + 1)))


def asks(rng: np.random.Generator, most: int) -> list[Ask]:
    margins = rng.uniform(-2.0, 2.0, 5)
    margins[2] = math.nan
    return [
        Ask(marks(rng, 5, most), UPWARDS, margins),
        Ask(marks(rng, 2, most), ratio_grid()),
        Ask(marks(rng, 3, most), DOWNWARDS, design=rng.uniform(-4.0, -0.05, 3)),
        Ask(marks(rng, 5, most), DOWNWARDS, margins, rng.uniform(-1.0, -0.1, 5)),
        Ask(marks(rng, 1, most), UPWARDS),
    ]


@pytest.mark.parametrize("most", [4, 60, 240, 2_000, 20_000])
def test_together_is_as_alone(most: int) -> None:
    rng = np.random.default_rng(most)
    for _ in range(10):
        asked = asks(rng, most)
        for ask, found in zip(asked, answer(asked), strict=True):
            assert found == pytest.approx(ask.alone(), rel=1e-10, abs=1e-10)


def test_only_wide_sums_are_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, alone = np.random.default_rng(7), []
    small, wide = Ask(marks(rng, 2, 50), UPWARDS), Ask(Marks.of((30_000, 9_000), (30_000, 9_500)), UPWARDS)
    wanted = [wide.alone(), small.alone(), small.alone()]
    monkeypatch.setattr(tilts, "conditional_llr", lambda *given: alone.append(given) or wanted[0])
    for found, expected in zip(answer([wide, small, small]), wanted, strict=True):
        assert found == pytest.approx(expected, abs=1e-10)
    assert len(alone) == 1


def test_a_far_design_does_not_underflow() -> None:
    ask = Ask(Marks.of((120, 60), (120, 60)), DOWNWARDS, np.full(1, 6.9), np.full(1, -6.9))
    assert np.isfinite(answer([ask, ask])[0]).all()


@pytest.mark.parametrize("shape", [(3,), (2, 3), (0, 4)])
def test_packed_numbers_come_back_to_the_last_bit(shape: tuple[int, ...]) -> None:
    numbers = np.random.default_rng(1).normal(size=shape) * 1e-300
    numbers.flat[:1] = -math.inf
    assert unpacked(packed(numbers)).tolist() == numbers.tolist()
    assert unpacked(numbers.tolist()).tolist() == numbers.tolist()


@pytest.mark.parametrize("told", ["", "2:AAAA", "x:AAAAAAAAAAA=", "1:ä", "3:AAAAAAAAAAA="])
def test_what_is_no_array_is_refused(told: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpacked(told)
