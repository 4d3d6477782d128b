"""Who may do what: API keys as a file lists them, the roles they carry, and what a route or method asks for.

Of a key only its SHA-256 is known here. A key is `serin_<id>_<secret>`; its secret has 256 random bits, so that a plain
hash is enough, and its id says which hash it must have.
"""

import hmac
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from router.decoding import decoder
from router.errors import InvalidArgument
from router.names import is_name

PREFIX: Final = "serin"
KEY: Final = re.compile(rb"serin_([a-z0-9]{8,32})_[A-Za-z0-9_-]{32,128}")
CHALLENGE: Final = 'Bearer realm="serin"'
"""`WWW-Authenticate` of a 401 (RFC 6750, section 3)."""
MAX_KEYS: Final = 10_000
MAX_FILE_BYTES: Final = 8 * 1024 * 1024


class Role(StrEnum):
    """What a key is for. `operator` holds `viewer`, `admin` holds all."""

    PREDICT = "predict"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Need(StrEnum):
    """What a route or method asks of its caller.

    `LOOK` is to read what a caller of a model must know of it; `LIST` the same of all models; `INTERNAL` is kept for
    Serin's own processes, which have a token and no key.
    """

    OPEN = "open"
    ANY = "any key"
    PREDICT = "predict"
    FEEDBACK = "feedback"
    LOOK = "look"
    LIST = "list"
    METRICS = "metrics"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    INTERNAL = "internal"


_PREDICT: Final = frozenset({Need.OPEN, Need.ANY, Need.PREDICT, Need.FEEDBACK, Need.LOOK, Need.LIST})
_VIEWER: Final = frozenset({Need.OPEN, Need.ANY, Need.LOOK, Need.LIST, Need.METRICS, Need.VIEWER})
GRANTS: Final[Mapping[Role, frozenset[Need]]] = {
    Role.PREDICT: _PREDICT,
    Role.VIEWER: _VIEWER,
    Role.OPERATOR: _VIEWER | {Need.OPERATOR},
    Role.ADMIN: _PREDICT | _VIEWER | {Need.OPERATOR, Need.ADMIN},
}
"""What each role may."""

DATA_PLANE: Final = frozenset({Need.PREDICT, Need.FEEDBACK, Need.LOOK, Need.LIST, Need.ANY})
"""What callers of models need, and people who run the gateway do not."""

ASKED: Final[Mapping[Need, str]] = {
    Need.ANY: "any key",
    Need.PREDICT: "`predict`",
    Need.FEEDBACK: "`predict`",
    Need.LOOK: "`predict` or `viewer`",
    Need.LIST: "`viewer`, or `predict` for all models",
    Need.METRICS: "`viewer`",
    Need.VIEWER: "`viewer`",
    Need.OPERATOR: "`operator`",
    Need.ADMIN: "`admin`",
    Need.INTERNAL: "to be one of Serin's own processes",
    Need.OPEN: "nothing",
}
"""The same in words: the least role that has it."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the file. `models`: those that it may ask, None for all. `expires_at`: seconds since 1970, None for
    never. `requests_per_second`: 0 for no limit; `burst`: how many may come at once."""

    id: str
    name: str
    digest: bytes
    roles: frozenset[Role]
    models: frozenset[str] | None = None
    expires_at: float | None = None
    requests_per_second: float = 0.0
    burst: float = 0.0
    note: str = ""

    @property
    def needs(self) -> frozenset[Need]:
        """Everything that its roles may."""
        granted = frozenset[Need]().union(*(GRANTS[role] for role in self.roles))
        return granted if self.models is None else granted - {Need.LIST}


Text = Annotated[str, Meta(max_length=256)]
Positive = Annotated[float, Meta(gt=0, le=1e9)]


class _Row(msgspec.Struct, forbid_unknown_fields=True):
    id: Annotated[str, Meta(pattern="^[a-z0-9]{8,32}$")]
    name: Annotated[str, Meta(max_length=64)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    roles: Annotated[list[Text], Meta(min_length=1, max_length=8)]
    models: Annotated[list[Text], Meta(min_length=1, max_length=10_000)] | None = None
    expires: datetime | None = None
    note: Text = ""
    requests_per_second: Positive | None = None
    burst: Annotated[float, Meta(ge=1, le=1e9)] | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    key: Annotated[list[_Row], Meta(max_length=MAX_KEYS)] = []


def read_keys(text: str) -> dict[str, Key]:
    """Keys by id, of a file's text. Raises InvalidArgument that says which key is wrong and never quotes a value."""
    try:
        decoder(_File)  # so that what it is made of is known, whoever else is at it
        rows = msgspec.convert(tomllib.loads(text), _File).key
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgument(f"not valid TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise InvalidArgument(_said(error)) from None
    found: dict[str, Key] = {}
    for number, row in enumerate(rows):
        key = _key(row, f"key[{number}]")
        if key.id in found:
            raise InvalidArgument(f"key[{number}].id: is there twice")
        found[key.id] = key
    return found


def digest_of(sent: bytes) -> bytes:
    """What is kept of a key."""
    return sha256(sent).digest()


NOBODY: Final = Key("", "", bytes(32), frozenset())
"""Stands where an id is not known, so that it is compared all the same."""


def known(keys: Mapping[str, Key], sent: bytes) -> Key | None:
    """The key that was sent, if it is one of these. An id that is unknown and a secret that is wrong take one way."""
    shape = KEY.fullmatch(sent)
    key = keys.get(shape[1].decode() if shape else "", NOBODY)
    same = hmac.compare_digest(digest_of(sent), key.digest)
    return key if same and key is not NOBODY else None


def sent_key(authorization: bytes | None, api_key: bytes | None) -> bytes | None:
    """The key in `Authorization: Bearer KEY` or in `X-API-Key: KEY`; None without one, or with two."""
    if authorization is None or api_key is not None:
        return api_key if authorization is None else None
    scheme, _, key = authorization.partition(b" ")
    return key if scheme.lower() == b"bearer" else None


def may(needs: frozenset[Need], models: frozenset[str] | None, need: Need, model: str | None) -> bool:
    """Whether who has these may do this, to this model if one is named."""
    return need in needs and (models is None or model is None or model in models)


def key_rows(key: Key) -> dict[str, Any]:
    """A key as people see it: nothing of it can be used to get in."""
    expires = None if key.expires_at is None else datetime.fromtimestamp(key.expires_at, UTC).isoformat()
    return {
        "id": key.id,
        "name": key.name,
        "roles": [role for role in Role if role in key.roles],
        "models": None if key.models is None else sorted(key.models),
        "expires": expires,
        "requests_per_second": key.requests_per_second or None,
        "burst": key.burst or None,
        "note": key.note,
    }


def _key(row: _Row, place: str) -> Key:
    if not is_actor(row.name):
        raise InvalidArgument(f"{place}.name: must be 1 to 64 letters, digits or any of . _ - @")
    if not set(row.roles) <= set(Role):
        raise InvalidArgument(f"{place}.roles: may hold {', '.join(Role)}")
    roles = frozenset(Role(role) for role in row.roles)
    if row.models is not None and roles != {Role.PREDICT}:
        raise InvalidArgument(f"{place}.models: goes with the role predict alone; make another key for other roles")
    if not all(is_name(model) for model in row.models or ()):
        raise InvalidArgument(f"{place}.models: holds what cannot be the name of a model")
    if row.burst is not None and row.requests_per_second is None:
        raise InvalidArgument(f"{place}.burst: needs requests_per_second beside it")
    if row.expires is not None and row.expires.tzinfo is None:
        raise InvalidArgument(f"{place}.expires: needs a time zone, such as 2027-01-31T00:00:00Z")
    rate = row.requests_per_second or 0.0
    return Key(
        id=row.id,
        name=row.name,
        digest=bytes.fromhex(row.sha256),
        roles=roles,
        models=None if row.models is None else frozenset(row.models),
        expires_at=None if row.expires is None else row.expires.timestamp(),
        requests_per_second=rate,
        burst=row.burst or (max(1.0, rate) if rate else 0.0),
        note=row.note,
    )


_ACTOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def is_actor(name: str) -> bool:
    """Whether a key may have this name, which stands in the history as who acted."""
    return _ACTOR.fullmatch(name) is not None


def _said(error: msgspec.ValidationError) -> str:
    """Where and what; msgspec names what it expected and not what it found."""
    said, _, place = str(error).rpartition(" - at ")
    return f"{place.strip('`').removeprefix('$.')}: {said}" if said else str(error)
