"""Depth and objects of a JSON text, bounded before it is parsed."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.protocol import structure
from service.protocol.errors import BadRequest
from service.protocol.structure import check_structure


@pytest.mark.parametrize("opening", [b"[", b"{", b'{"a":', b'[{"a":['])
@pytest.mark.parametrize("times", [101, 1_000, 100_000])
def test_a_text_that_nests_too_deep_is_refused(opening: bytes, times: int) -> None:
    with pytest.raises(BadRequest, match="100 levels deep"):
        check_structure(opening * times, 100, 1_000_000)


def test_the_limit_itself_is_allowed() -> None:
    check_structure(b"[" * 100 + b"]" * 100 + b"[]" * 100, 100, 10)


def test_brackets_in_strings_do_not_count() -> None:
    check_structure(json.dumps(["[{" * 500, '"[[\\' * 500, "\\"]).encode(), 100, 10)


def test_brackets_in_strings_do_not_close_anything() -> None:
    with pytest.raises(BadRequest, match="levels deep"):
        check_structure(b'["]]]]",' * 150, 100, 10)


def test_objects_are_counted() -> None:
    with pytest.raises(BadRequest, match="too many objects"):
        check_structure(b"[" + b"{}," * 20 + b"{}]", 100, 20)
    check_structure(b"[" + b"{}," * 19 + b"{}]", 100, 20)


@settings(max_examples=60, deadline=None)
@given(
    value=st.recursive(st.text('[]{}"\\a,', max_size=8), lambda deeper: st.lists(deeper, max_size=4), max_leaves=12),
    piece_bytes=st.integers(1, 40),
)
def test_pieces_see_what_the_whole_shows(value: object, piece_bytes: int) -> None:
    text = json.dumps(value).encode()
    depth = _depth(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structure, "PIECE_BYTES", piece_bytes)
        structure._check_exactly(text, depth, 0)
        if depth:
            with pytest.raises(BadRequest):
                structure._check_exactly(text, depth - 1, 0)


def test_a_long_run_of_backslashes_is_cheap() -> None:
    check_structure(b'["' + b"\\" * 4_000_000 + b'"]' + b"[]" * 101, 100, 10)


def _depth(value: object) -> int:
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0
