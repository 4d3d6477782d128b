"""Rows (`instances`) and columns (`inputs`): the bodies of KServe's V1, of TensorFlow Serving and of MLflow."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from service.protocol import nested_json, nesting
from service.protocol.codec import Encoded
from service.protocol.errors import BadRequest, quoted
from service.protocol.json_codec import ABSENT, NonFinite
from service.protocol.limits import Limits
from service.protocol.messages import InferRequest, InferResponse
from service.protocol.non_finite import quote_non_finite
from service.protocol.structure import check_structure
from service.protocol.tensors import Array, Signature

SIGNATURE = "serving_default"
"""The one signature that a model has here."""

_RECORDS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_BY_NAME = msgspec.json.Decoder(dict[str, msgspec.Raw])

Write = Callable[[InferResponse, InferRequest, NonFinite], Encoded]


class Spoken(msgspec.Struct, frozen=True):
    """A request in another protocol, and how its answer is written."""

    request: InferRequest
    write: Write


class Body(msgspec.Struct):
    """A body as it came; exactly one of the two is there."""

    instances: msgspec.Raw = ABSENT
    inputs: msgspec.Raw = ABSENT
    signature_name: str | None = None


_BODY = msgspec.json.Decoder(Body)


class Named(msgspec.Struct, frozen=True):
    """The JSON of each input, by name."""

    texts: Mapping[str, bytes]
    limits: Limits

    def feeds(self, signature: Signature) -> dict[str, Array]:
        """See `messages.Form`."""
        specs = signature.inputs_by_name
        for name in self.texts:
            if name not in specs:
                raise BadRequest(f"the model has no input {quoted(name)}; it has {', '.join(map(quoted, specs))}")
        for name in specs:
            if name not in self.texts:
                raise BadRequest(f"missing: input {quoted(name)}")
        return {name: nesting.tensor(specs[name], text, self.limits) for name, text in self.texts.items()}


class Sole(msgspec.Struct, frozen=True):
    """The JSON of the only input, without its name."""

    text: bytes
    limits: Limits

    def feeds(self, signature: Signature) -> dict[str, Array]:
        """See `messages.Form`."""
        if len(signature.inputs) != 1:
            names = ", ".join(quoted(spec.name) for spec in signature.inputs)
            raise BadRequest(f"the model has {len(signature.inputs)} inputs ({names}); give each value by its name")
        [spec] = signature.inputs
        return {spec.name: nesting.tensor(spec, self.text, self.limits)}


def read_v1(text: bytes, limits: Limits) -> Spoken:
    """A body of `:predict`. Raises BadRequest."""
    body = read(text, limits, _BODY)
    if (body.instances is ABSENT) == (body.inputs is ABSENT):
        raise BadRequest("the body must be a JSON object with either `instances` (rows) or `inputs` (columns)")
    if body.signature_name not in (None, "", SIGNATURE):
        raise BadRequest(f"Serving signature name: {quoted(body.signature_name)} not found; there is {SIGNATURE}")
    if body.instances is not ABSENT:
        return Spoken(InferRequest({}, form=by_rows(bytes(body.instances), limits)), writer("predictions", True))
    return Spoken(InferRequest({}, form=by_columns(bytes(body.inputs), limits)), writer("outputs", False))


def writer(key: str, as_rows: bool, default: NonFinite = "token") -> Write:
    """Writes the outputs under `key`. `default`: how NaN and infinities are written where the model says `null`."""

    def write(response: InferResponse, _request: InferRequest, policy: NonFinite) -> Encoded:
        told = nested_json.records if as_rows else nested_json.columns
        outputs = list(response.outputs)
        return Encoded(nested_json.write({key: told(outputs, default if policy == "null" else policy)}))

    return write


def read(text: bytes, limits: Limits, decoder: "msgspec.json.Decoder[Any]") -> Any:
    """The outer members of a body; what they hold stays text. NaN and infinities may be bare words in it."""
    check_structure(text, limits.max_json_depth, limits.max_strings)
    try:
        try:
            return decoder.decode(text)
        except msgspec.ValidationError:
            raise
        except ValueError:
            if b"NaN" not in text and b"Infinity" not in text:
                raise
            return decoder.decode(quote_non_finite(text))
    except msgspec.ValidationError as error:
        raise BadRequest(f"the body: {error}") from error
    except UnicodeDecodeError as error:
        raise BadRequest("the JSON is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"not valid JSON: {error}") from error


def by_rows(text: bytes, limits: Limits) -> Named | Sole:
    """`instances`: values of the only input, or objects with a value for each."""
    if not text.startswith(b"["):
        raise BadRequest("`instances` must be a list with an entry for each row")
    if not text[1:].lstrip().startswith(b"{"):
        return Sole(text, limits)
    found = records(text, limits)
    if all(list(row) == ["b64"] for row in found):
        return Sole(text, limits)
    names = list(found[0])
    if any(len(row) != len(names) or not row.keys() >= set(names) for row in found):
        raise BadRequest(
            f"`instances`: each row must give the same inputs as the first ({', '.join(map(quoted, names))})"
        )
    return Named({name: listed([row[name] for row in found]) for name in names}, limits)


def by_columns(text: bytes, limits: Limits) -> Named | Sole:
    """`inputs`: the tensor of the only input, or an object with each by its name."""
    if not text.startswith(b"{"):
        return Sole(text, limits)
    check_values(text, limits)
    found = _BY_NAME.decode(text)
    if list(found) == ["b64"]:
        return Sole(text, limits)
    return Named({name: bytes(raw) for name, raw in found.items()}, limits)


def records(text: bytes, limits: Limits) -> list[dict[str, msgspec.Raw]]:
    """A list of objects, their values as text. Raises BadRequest."""
    check_values(text, limits)
    try:
        return _RECORDS.decode(text)
    except ValueError as error:
        raise BadRequest("rows must be objects, all of them, with a value for each name") from error


def check_values(text: bytes, limits: Limits, mark: bytes = b":") -> None:
    """Refuse a text of which a parser would make too many objects; marks in strings are counted too."""
    if text.count(mark) > limits.max_strings:
        raise BadRequest(f"more than {limits.max_strings} single values; send whole tensors as `inputs`")


def listed(values: Sequence[msgspec.Raw | bytes]) -> bytes:
    """The JSON list of texts."""
    return b"[" + b",".join(map(bytes, values)) + b"]"
