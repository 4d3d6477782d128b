"""What a token says, and that nobody else can say it."""

from operator import add
from string import ascii_letters, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import InvalidArgument
from router.tokens import KEY_BYTES, MAX_TOKEN, NO_LABEL, Given, Ticket, label_mark, read_token, run_signer, signer

KEY = bytes(range(KEY_BYTES))
CANARY = Given("digits", 2, "canary", 17, "split")
U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(0, 2**32 - 1)
WORD = ascii_letters + digits + "_"
NAMES = st.builds(add, st.sampled_from(WORD), st.text(WORD + ".-", max_size=127))


def token(given=CANARY, minute=29_000_000, number=7, label=5, key=KEY) -> str:
    return signer(key, given)(minute, number, label).decode()


@given(NAMES, st.integers(1, 10**18), NAMES, st.integers(0, 10**9), U32, U64, U32)
def test_a_token_says_what_was_signed(model, version, variant, epoch, minute, number, label):
    arm = Given(model, version, variant, epoch, "unit")
    assert read_token(KEY, token(arm, minute, number, label)) == Ticket(arm, minute, number, label)


@given(U32, st.lists(st.tuples(U64, U32), max_size=9))
def test_answers_that_are_signed_together_have_the_tokens_that_each_has_alone(minute, numbered):
    alone = [signer(KEY, CANARY)(minute, number, label) for number, label in numbered]
    assert run_signer(KEY, CANARY)(minute, numbered) == alone


def test_a_token_is_a_header_value_that_a_person_can_place():
    text = token()
    assert text.startswith("1~digits~2~canary~17~s~")
    assert len(text) < 70
    assert text.isascii()
    assert text.isprintable()


def test_the_longest_names_fit():
    longest = Given("m" * 128, 10**18 - 1, "v" * 128, 10**12, "direct")
    text = token(longest)
    assert len(text) <= MAX_TOKEN
    assert read_token(KEY, text).given == longest


@given(st.data())
def test_no_changed_token_is_believed(data):
    text = token()
    place = data.draw(st.integers(0, len(text) - 1))
    sign = data.draw(st.sampled_from("ABCdef0123-_~.19"))
    changed = text[:place] + sign + text[place + 1 :]
    if changed != text:
        with pytest.raises(InvalidArgument, match="assignment"):
            read_token(KEY, changed)


def test_another_gateways_token_is_not_believed():
    with pytest.raises(InvalidArgument, match="another gateway"):
        read_token(KEY, token(key=bytes(KEY_BYTES)))


NO_TOKENS = (
    *("", "~", "~~~~~~", "1~digits~2~canary~17~s~", "1~digits~2~canary~17~s~AAAA", "\u00e4" * 9, "A" * 10_000),
    *(f"1~digits~{middle}~{'A' * 40}" for middle in ("02~canary~17~s", "x~canary~17~s", "2~canary~17~q", "2~canary~s")),
    *("2" + token()[1:], token() + "=", token() + "A", token() + "\n", " " + token(), token() * 9),
)


@pytest.mark.parametrize("text", NO_TOKENS)
def test_what_is_no_token_is_refused_in_words(text):
    with pytest.raises(InvalidArgument, match=r"^assignment: "):
        read_token(KEY, text)


def test_marks_of_classes_differ_and_are_never_the_mark_of_none():
    marks = {label_mark(str(number)) for number in range(1000)}
    assert len(marks) == 1000
    assert NO_LABEL not in marks
