"""Error kind -> HTTP status and gRPC code: one table each, for all front ends."""

from collections.abc import Mapping

from router.errors import Kind

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
