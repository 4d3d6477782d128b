"""The one shape of an error answer on the public port."""

import orjson

from router.access import CHALLENGE
from router.errors import Kind, PayloadTooLarge, SerinError


def error_body(error: SerinError, request_id: str) -> bytes:
    """`{"error": text, "code": kind, "request_id": id}`; `error` stays a string because V2 clients read it as one."""
    return orjson.dumps({"error": error.message, "code": error.kind.value, "request_id": request_id})


def error_headers(error: SerinError) -> list[tuple[bytes, bytes]]:
    """Headers that an error adds: `Retry-After` in whole seconds, rounded up, where waiting helps; or how to say who
    asks."""
    if error.kind is Kind.UNAUTHENTICATED:
        return [(b"www-authenticate", CHALLENGE.encode())]
    if error.retry_after_seconds is None:
        return []
    return [(b"retry-after", str(max(1, -int(-error.retry_after_seconds // 1))).encode())]


def too_large(limit: int) -> PayloadTooLarge:
    """The refusal of a body above the limit."""
    return PayloadTooLarge(f"the body is above the limit of {limit} bytes (the setting max_body_bytes)")
