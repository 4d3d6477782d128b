"""What of a request is read before anybody looks at it: the body within its bounds, and fields that were repeated."""

from starlette.types import Receive

from router.errors import PayloadTooLarge
from service.http.replies import Headers


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body. Raises PayloadTooLarge as soon as it is above `limit` bytes."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Left
    first: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(first) <= limit:
        return first
    whole = bytearray(first)
    while message.get("more_body", False) and len(whole) <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Left
        whole += message.get("body", b"")
    if len(whole) > limit:
        raise too_large(limit)
    return bytes(whole)


def joined(fields: Headers) -> dict[bytes, bytes]:
    """Fields that were sent more than once as one list (RFC 9110, section 5.3; a cookie's by RFC 9113, 8.2.3).

    Which of two lengths is meant is not for us to guess: their list is no number.
    """
    whole: dict[bytes, bytes] = {}
    for name, value in fields:
        separator = b"; " if name == b"cookie" else b", "
        whole[name] = whole[name] + separator + value if name in whole else value
    return whole


def too_large(limit: int) -> PayloadTooLarge:
    """The refusal of a body above the limit."""
    return PayloadTooLarge(f"the body is above the limit of {limit} bytes (the setting max_body_bytes)")


class Left(Exception):
    """The caller closed the connection before the request was whole."""
