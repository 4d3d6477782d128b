"""What names and numbers in routes may look like, and the one way to say that one does not."""

import re
from typing import Final

from router.errors import InvalidArgument

PPM: Final = 1_000_000
"""Weights are whole parts per million; the weights of a route sum to exactly this."""

MAX_VERSION: Final = 10**18 - 1
MAX_NUMBER: Final = 2**63 - 1
"""Of an event or a rollout: what SQLite holds."""

NAME_RULE: Final = "must match ^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_SHOWN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_:/ -]|\.(?!\.)){0,63}")
_DIGITS = re.compile(r"[0-9]{1,18}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


def is_name(text: str) -> bool:
    """Whether a text may name a model, a variant or an alias."""
    return _NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Whether a text is a version number: a positive integer of at most 18 digits without leading zeros."""
    return _VERSION.fullmatch(text) is not None


def number_of(text: str) -> int | None:
    """The whole number that a header holds; None for what is none, or has more digits than any of ours.

    `str.isdigit` alone would let pass what `int` does not take (a raised 2), or takes seconds for.
    """
    return int(text) if _DIGITS.fullmatch(text) else None


def shown(word: str) -> str:
    """A caller's own word for a message: quoted where it is short and plain, as names of models and tensors are.

    Of anything else only how long it is, so that no answer repeats what was sent to be repeated.
    """
    return f"'{word}'" if _SHOWN.fullmatch(word) else f"(a text of {len(word)} characters)"


def is_int(value: object) -> bool:
    """Whether a value is a whole number; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_text(text: str, longest: int) -> bool:
    """Whether a text is short and printable; lone surrogates, which have no UTF-8, are not printable."""
    return len(text) <= longest and text.isprintable()


def require(holds: bool, path: str, text: str) -> None:
    """Raises InvalidArgument that names the field when it does not hold."""
    if not holds:
        raise InvalidArgument(f"{path}: {text}")
