"""What can be wrong with a V2 request, and with an answer that cannot be written."""

from router.errors import Internal, InvalidArgument, PayloadTooLarge, Unimplemented, UnsupportedMediaType
from router.names import shown as quoted

__all__ = ["BadRequest", "NonFiniteOutput", "PayloadTooLarge", "Unimplemented", "UnsupportedMediaType", "quoted"]


class BadRequest(InvalidArgument):
    """The request is not V2, or does not fit the model; the message names the tensor and what was expected."""


class NonFiniteOutput(Internal):
    """The model answered NaN or an infinity, and its policy for JSON is `error`."""
