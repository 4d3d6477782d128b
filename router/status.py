"""Error kind -> HTTP status and gRPC code: one table each, for all front ends."""

from collections.abc import Mapping

from router.errors import Kind, SerinError, ShedReason

STATUS: Mapping[Kind, int] = {
    Kind.INVALID_ARGUMENT: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.PERMISSION_DENIED: 403,
    Kind.NOT_FOUND: 404,
    Kind.REQUEST_TIMEOUT: 408,
    Kind.ALREADY_EXISTS: 409,
    Kind.FAILED_PRECONDITION: 409,
    Kind.ABORTED: 412,
    Kind.PAYLOAD_TOO_LARGE: 413,
    Kind.UNSUPPORTED_MEDIA_TYPE: 415,
    Kind.RESOURCE_EXHAUSTED: 429,
    Kind.HEAD_TOO_LARGE: 431,
    Kind.CANCELLED: 499,
    Kind.INTERNAL: 500,
    Kind.UNIMPLEMENTED: 501,
    Kind.UNAVAILABLE: 503,
    Kind.DEADLINE_EXCEEDED: 504,
}

GRPC_CODE: Mapping[Kind, str] = {
    **{kind: kind.value for kind in Kind},
    Kind.REQUEST_TIMEOUT: "DEADLINE_EXCEEDED",
    Kind.PAYLOAD_TOO_LARGE: "RESOURCE_EXHAUSTED",
    Kind.HEAD_TOO_LARGE: "RESOURCE_EXHAUSTED",
    Kind.UNSUPPORTED_MEDIA_TYPE: "INVALID_ARGUMENT",
}
"""gRPC's name for it: the kind's own, but for the shades that only HTTP knows."""

REJECTION: Mapping[Kind, str] = {
    Kind.INVALID_ARGUMENT: "bad_request",
    Kind.NOT_FOUND: "not_found",
    Kind.PAYLOAD_TOO_LARGE: "too_large",
    Kind.UNSUPPORTED_MEDIA_TYPE: "unsupported_media_type",
    Kind.REQUEST_TIMEOUT: "timeout",
    Kind.UNAVAILABLE: "overloaded",
    Kind.UNIMPLEMENTED: "unimplemented",
    Kind.INTERNAL: "internal",
    Kind.UNAUTHENTICATED: "unauthorized",
    Kind.PERMISSION_DENIED: "forbidden",
    Kind.RESOURCE_EXHAUSTED: "rate_limited",
}
"""The word by which a request is counted that was given to no version."""


def rejection(error: SerinError) -> str:
    """The same, of an error that may know more; "other" for what has no word."""
    if error.reason in (ShedReason.NOT_READY, ShedReason.DRAINING):
        return error.reason.value
    return REJECTION.get(error.kind, "other")
