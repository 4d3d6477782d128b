"""What can be wrong with a V2 request, and with an answer that cannot be written."""

from router.errors import Internal, InvalidArgument, PayloadTooLarge, Unimplemented, UnsupportedMediaType

__all__ = ["BadRequest", "NonFiniteOutput", "PayloadTooLarge", "Unimplemented", "UnsupportedMediaType", "quoted"]

SHOWN_NAME_LENGTH = 64


class BadRequest(InvalidArgument):
    """The request is not V2, or does not fit the model; the message names the tensor and what was expected."""


class NonFiniteOutput(Internal):
    """The model answered NaN or an infinity, and its policy for JSON is `error`."""


def quoted(name: str) -> str:
    """A client's own word for an error message: quoted, printable, and never its bulk."""
    if len(name) > SHOWN_NAME_LENGTH:
        name = name[:SHOWN_NAME_LENGTH] + "..."
    return ascii(name)
