"""What the headers of an admin request say: who asks, why, and on which condition."""

from typing import Protocol

from starlette.datastructures import Headers
from starlette.requests import Request

from router.commands import Match
from router.doorman import Principal
from router.names import number_of
from router.state import Who


class Reasoned(Protocol):
    """A body that may say why."""

    @property
    def reason(self) -> str | None:
        """Why, in the caller's words."""


def who_asks(request: Request, body: Reasoned | None) -> Who:
    """The name of the key, or without keys `Serin-Actor`, which beside a key is a claim; and the body's reason or
    `Serin-Reason`."""
    said = _line(request.headers.get("serin-actor", ""), 128)
    reason = _line((body.reason if body is not None else None) or request.headers.get("serin-reason", ""), 1024)
    principal: Principal | None = getattr(request.state, "principal", None)
    if principal is not None and principal.name:
        return Who(principal.name, reason, said if said != principal.name else "")
    return Who(said or "anonymous", reason)


def _line(text: str, longest: int) -> str:
    """One printable line: it ends in logs and terminals."""
    return "".join(sign if sign.isprintable() else " " for sign in text[:longest]).strip()


def match_of(request: Request) -> Match:
    """The conditions in `If-Match` and `If-None-Match` (RFC 9110, section 13.1)."""
    wanted, unwanted = request.headers.get("if-match"), request.headers.get("if-none-match")
    absent = unwanted is not None and "*" in tags_of(unwanted)
    if wanted is None:
        return Match(must_be_absent=absent)
    tags = tags_of(wanted)
    if "*" in tags:
        return Match(must_exist=True, must_be_absent=absent)
    # A weak or foreign tag matches nothing (RFC 9110, section 13.1.1: strong comparison).
    numbers = (number_of(tag[1:-1]) for tag in tags if tag.startswith('"') and tag.endswith('"'))
    return Match(frozenset(number for number in numbers if number is not None), must_be_absent=absent)


def tags_of(header: str) -> list[str]:
    """The entity tags of a header."""
    return [tag.strip() for tag in header.split(",")]


def is_packed(headers: Headers) -> bool:
    """Whether a Content-Encoding says that the body is not as it came."""
    return any(coding.strip().lower() not in ("", "identity") for coding in headers.getlist("content-encoding"))
