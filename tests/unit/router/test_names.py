"""A caller's words in messages."""

import pytest

from router.names import shown


@pytest.mark.parametrize("word", ["digits", "dense_1/BiasAdd:0", "float input", "v1.2-rc", "x" * 64])
def test_plain_words_are_shown_as_they_are(word: str) -> None:
    assert shown(word) == f"'{word}'"


@pytest.mark.parametrize(
    "word", ["", "../up", "a/..", "/etc/passwd", "<script>", "a\nb", "\x1b[2J", "ж", "\ud800", "a'b", "x" * 65]
)
def test_of_others_only_the_length_is_told(word: str) -> None:
    assert shown(word) == f"(a text of {len(word)} characters)"
