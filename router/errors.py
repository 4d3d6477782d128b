"""The tree of errors that people and clients meet: a kind for the front ends, and a text with a way out."""

from enum import StrEnum
from typing import ClassVar


class Kind(StrEnum):
    """What went wrong, in gRPC's canonical words; the last four are shades that only HTTP knows."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"
    CANCELLED = "CANCELLED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
    HEAD_TOO_LARGE = "HEAD_TOO_LARGE"


class ShedReason(StrEnum):
    """Why a request was not run. Counters hold them in this order: new ones come last."""

    QUEUE_FULL = "queue_full"
    LONG_WAIT = "long_wait"
    DEADLINE = "deadline"
    """It would have had to wait for too much of its time."""
    NOT_READY = "not_ready"
    UPSTREAM = "upstream"
    LATE = "late"
    """Its time was over, or too short to be run, when its turn came."""
    RESTING = "resting"
    """Its version has killed workers again and again."""
    POISON = "poison"
    DRAINING = "draining"


class SerinError(Exception):
    """Base of all errors that are answered to a caller. `message` is shown as it is: no paths, no tracebacks in it.

    `reason`: of those that say that a request was not run, though it could be another time or elsewhere.
    """

    kind: ClassVar[Kind] = Kind.INTERNAL

    def __init__(
        self, message: str, *, retry_after_seconds: float | None = None, reason: "ShedReason | None" = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        self.reason = reason


class InvalidArgument(SerinError):
    """The caller said something that can never be right."""

    kind = Kind.INVALID_ARGUMENT


class NotFound(SerinError):
    """There is no such model, version, alias or route."""

    kind = Kind.NOT_FOUND


class AlreadyExists(SerinError):
    """What was to be created is there."""

    kind = Kind.ALREADY_EXISTS


class FailedPrecondition(SerinError):
    """Right in itself, but not in the present state; nothing was changed."""

    kind = Kind.FAILED_PRECONDITION


class Conflict(SerinError):
    """Someone else changed it first (`If-Match`, compare-and-swap); read again and decide again."""

    kind = Kind.ABORTED


class ResourceExhausted(SerinError):
    """A queue, a limit or a budget is full."""

    kind = Kind.RESOURCE_EXHAUSTED


class Unavailable(SerinError):
    """Not now; the same call may succeed later."""

    kind = Kind.UNAVAILABLE


class DeadlineExceeded(SerinError):
    """It was not done in the time that was given."""

    kind = Kind.DEADLINE_EXCEEDED


class NotBegun(DeadlineExceeded):
    """The time was over, or too short, before anything was run."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason=ShedReason.LATE)


class Unimplemented(SerinError):
    """Known, and not offered here."""

    kind = Kind.UNIMPLEMENTED


class Internal(SerinError):
    """Ours to mend."""

    kind = Kind.INTERNAL


class Cancelled(SerinError):
    """The caller went away."""

    kind = Kind.CANCELLED


class PermissionDenied(SerinError):
    """Known caller, not allowed."""

    kind = Kind.PERMISSION_DENIED


class Unauthenticated(SerinError):
    """Unknown caller."""

    kind = Kind.UNAUTHENTICATED


class PayloadTooLarge(SerinError):
    """The body is above the limit."""

    kind = Kind.PAYLOAD_TOO_LARGE


class UnsupportedMediaType(SerinError):
    """A content type or encoding that is not understood."""

    kind = Kind.UNSUPPORTED_MEDIA_TYPE


class HeadTooLarge(SerinError):
    """The request line and headers are above the limit."""

    kind = Kind.HEAD_TOO_LARGE


class RequestTimeout(SerinError):
    """The caller did not send the request in time."""

    kind = Kind.REQUEST_TIMEOUT


CLASSES: tuple[type[SerinError], ...] = (
    InvalidArgument,
    NotFound,
    AlreadyExists,
    FailedPrecondition,
    Conflict,
    ResourceExhausted,
    Unavailable,
    DeadlineExceeded,
    Unimplemented,
    Internal,
    Cancelled,
    PermissionDenied,
    Unauthenticated,
    PayloadTooLarge,
    UnsupportedMediaType,
    RequestTimeout,
    HeadTooLarge,
)


def error_of(kind: str, message: str) -> SerinError:
    """The error that a `code` in an error body stands for; an unknown code is `Internal`."""
    for error in CLASSES:
        if error.kind == kind:
            return error(message)
    return Internal(message)
