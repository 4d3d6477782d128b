"""Bodies as they come."""

import random
import sys
from itertools import pairwise

import pytest

from service.http.reading import LONG_BYTES, Gathered


@pytest.mark.parametrize("longest", [1, 100, 2 * LONG_BYTES, 20 * LONG_BYTES])
def test_a_body_is_the_same_however_it_is_cut(longest: int) -> None:
    rng = random.Random(longest)
    whole = rng.randbytes(30_000)
    cuts = [0]
    while cuts[-1] < len(whole):
        cuts.append(min(len(whole), cuts[-1] + rng.randint(1, longest)))
    first, *others = (whole[start:end] for start, end in pairwise(cuts))
    body = Gathered(first)
    for piece in others:
        body.add(piece)
    assert (body.whole(), len(body)) == (whole, len(whole))


@pytest.mark.parametrize("pieces", [[b"x"] * 50_000, [b"x", b"x" * LONG_BYTES] * 200])
def test_a_body_in_many_pieces_takes_little_more_memory_than_its_bytes(pieces: list[bytes]) -> None:
    body = Gathered(pieces[0])
    for piece in pieces[1:]:
        body.add(piece)
    held = sum(map(sys.getsizeof, body._pieces)) + sys.getsizeof(body._pieces)
    assert held < 1.2 * len(body) + 1024
