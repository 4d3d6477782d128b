"""The `parameters` of V2: objects whose values are strings, numbers or booleans, of a request and of its tensors."""

from typing import TypeVar

import msgspec

from service.protocol.errors import BadRequest, quoted
from service.protocol.limits import Limits
from service.protocol.messages import Parameter

Known = TypeVar("Known", bound=msgspec.Struct)

_ANY = msgspec.json.Decoder(dict[str, Parameter | None] | None)
_ONE = msgspec.json.Decoder(Parameter | None)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_parameters(data: msgspec.Raw, limits: Limits, whose: str = "") -> dict[str, Parameter]:
    """All of them; null is the same as absent. `whose`: for a message, where they are not the request's own. Raises
    BadRequest."""
    text = bytes(data)
    if len(text) > limits.max_parameters_bytes:
        raise BadRequest(f"{whose}parameters: more than {limits.max_parameters_bytes} bytes")
    try:
        values = _ANY.decode(text) or {}
    except ValueError as error:
        raise BadRequest(f"{whose}parameters: {_what_is_wrong(text)}") from error
    return {name: value for name, value in values.items() if value is not None}


def read_known(data: msgspec.Raw, kind: type[Known], limits: Limits, whose: str) -> Known:
    """Those that `kind` has; of others only the form is looked at. Raises BadRequest."""
    values = read_parameters(data, limits, whose)
    try:
        return msgspec.convert({name: values.get(name) for name in kind.__struct_fields__}, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{whose}parameters: {error}") from error


def _what_is_wrong(text: bytes) -> str:
    """Names the first value that is none of a parameter."""
    try:
        members = _MEMBERS.decode(text)
    except ValueError:
        members = {}
    for name, value in members.items():
        try:
            _ONE.decode(value)
        except ValueError:
            return f"{quoted(name)} must be a string, a number or a boolean"
    return "must be an object whose values are strings, numbers or booleans"
