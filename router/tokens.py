"""Assignment tokens: who gave an answer, and when, signed, so that a label that comes back can be believed. Pure.

A token is `1~model~version~variant~epoch~kind~` and base64url of minute (u32), id (u64), label (u32) and a MAC of 14
bytes, all big-endian: keyed BLAKE2b (RFC 7693) over the text and the numbers. Names hold no tilde. `label` stands for
the class that was predicted (`label_mark`), so that a true label can be compared without keeping the prediction.
"""

from base64 import urlsafe_b64decode
from binascii import Error as NotBase64
from binascii import b2a_base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from struct import Struct
from struct import error as StructError
from typing import Final, Literal

from xxhash import xxh3_64_intdigest

from router.errors import InvalidArgument

Kind = Literal["split", "unit", "direct"]

FORM: Final = "1"
KEY_BYTES: Final = 32
MAC_BYTES: Final = 14
MAX_TOKEN: Final = 512
NO_LABEL: Final = 0

_NUMBERS: Final = Struct(">IQI")
_CODED_BYTES: Final = (_NUMBERS.size + MAC_BYTES) // 3 * 4
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_KIND_SIGN: Final[dict[Kind, str]] = {"split": "s", "unit": "u", "direct": "d"}
_KIND_OF: Final[dict[str, Kind]] = {sign: kind for kind, sign in _KIND_SIGN.items()}


@dataclass(frozen=True, slots=True)
class Given:
    """What many answers have in common. kind: "split"; "unit", where only a caller's first request counts; "direct", by
    rule or named version, whose epoch says nothing."""

    model: str
    version: int
    variant: str
    epoch: int
    kind: Kind

    @property
    def text(self) -> str:
        """The readable part of a token."""
        return "~".join((FORM, self.model, str(self.version), self.variant, str(self.epoch), _KIND_SIGN[self.kind], ""))


@dataclass(frozen=True, slots=True)
class Ticket:
    """A token that was read: of an answer to a request that was assigned in `minute` (since 1970). label: the mark of
    the class that was predicted, NO_LABEL where there is none."""

    given: Given
    minute: int
    id: int
    label: int


Sign = Callable[[int, int, int], bytes]
"""The token of an answer, from its minute, id and label."""

SignRun = Callable[[int, Iterable[tuple[int, int]]], list[bytes]]
"""The tokens of answers of one minute, each from its id and label."""


def signer(key: bytes, given: Given) -> Sign:
    """Signs the answers that have `given` in common. All but the numbers is hashed here, once."""
    text, pack, url_safe = given.text.encode(), _NUMBERS.pack, _URL_SAFE
    keyed = blake2b(text, key=key, digest_size=MAC_BYTES)

    def sign(minute: int, number: int, label: int) -> bytes:
        numbers = pack(minute, number, label)
        mac = keyed.copy()
        mac.update(numbers)
        return text + b2a_base64(numbers + mac.digest(), newline=False).translate(url_safe)

    return sign


def run_signer(key: bytes, given: Given) -> SignRun:
    """As `signer`, for many answers at a time: what is signed is a multiple of three bytes, so base64 of all of them is
    that of each, one after the other."""
    text, pack, url_safe = given.text.encode(), _NUMBERS.pack, _URL_SAFE
    copy = blake2b(text, key=key, digest_size=MAC_BYTES).copy

    def sign(minute: int, numbered: Iterable[tuple[int, int]]) -> list[bytes]:
        signed: list[bytes] = []
        for number, label in numbered:  # `signer` written out: this runs for nearly every request
            numbers = pack(minute, number, label)
            mac = copy()
            mac.update(numbers)
            signed += numbers, mac.digest()
        coded = b2a_base64(b"".join(signed), newline=False).translate(url_safe)
        return [text + coded[at : at + _CODED_BYTES] for at in range(0, len(coded), _CODED_BYTES)]

    return sign


def read_token(key: bytes, token: str) -> Ticket:
    """What a token says. Raises InvalidArgument when it is none, or was not signed with this key."""
    text, _, coded = token.rpartition("~") if len(token) <= MAX_TOKEN and token.isascii() else ("", "", "")
    parts = text.split("~")
    try:
        signed = urlsafe_b64decode(coded.encode("ascii"))
        form, model, version, variant, epoch, sign = parts
        given = Given(model, int(version), variant, int(epoch), _KIND_OF[sign])
        minute, number, label = _NUMBERS.unpack_from(signed)
    except (ValueError, KeyError, NotBase64, OverflowError, StructError) as error:
        raise InvalidArgument("assignment: is not a token as answers carry it in Serin-Assignment") from error
    # As a whole, so that there is one way only to write a token.
    if form != FORM or not compare_digest(signer(key, given)(minute, number, label), token.encode()):
        raise InvalidArgument("assignment: was not signed here; was it changed, or given by another gateway?")
    return Ticket(given, minute, number, label)


def label_mark(label: str) -> int:
    """32 bits that stand for a class; never NO_LABEL. Two classes have the same with a chance of 1 in 4 billion."""
    return xxh3_64_intdigest(label.encode()) & 0xFFFFFFFF or 1
