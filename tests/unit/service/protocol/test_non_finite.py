"""Bare NaN and infinities, made strings without touching the strings that are there."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.protocol import non_finite
from service.protocol.non_finite import quote_non_finite

WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
TEXTS = st.lists(st.sampled_from(['"', "\\", ",", "NaN", "Infinity", "-", "[", "a"]), max_size=6).map("".join)


def spelled(value: object) -> object:
    """What the JSON reader should see: words where the floats were."""
    if isinstance(value, list):
        return [spelled(item) for item in value]
    return next((word for word, strange in WORDS.items() if repr(value) == repr(strange)), value)


@pytest.mark.parametrize("piece_bytes", [1, 7, 1000])
def test_words_become_strings_and_strings_stay(piece_bytes: int) -> None:
    @settings(max_examples=50, deadline=None, database=None)
    @given(st.recursive(TEXTS | st.floats() | st.none(), lambda deeper: st.lists(deeper, max_size=5), max_leaves=15))
    def check(value: object) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(non_finite, "PIECE_BYTES", piece_bytes)
            assert json.loads(quote_non_finite(json.dumps(value).encode())) == spelled(value)

    check()


@pytest.mark.parametrize(
    "text", [b'"' + b'\\"' * 500_000, b'"\\' * 500_000, b'[NaN,"' + b"\\" * 500_001, b'"' * 99_999]
)
def test_open_strings_are_cheap(text: bytes) -> None:
    assert len(quote_non_finite(text)) <= len(text) + 2


def test_words_run_together_stay_an_error() -> None:
    with pytest.raises(ValueError, match="delimiter"):
        json.loads(quote_non_finite(b"[NaNInfinity]"))
