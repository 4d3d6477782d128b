"""An inference request and its answer in memory, the same for every front end. Immutable; data stays as it came."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from service.protocol.tensors import Array, Signature

Parameter = str | int | float | bool
NO_PARAMETERS: Mapping[str, Parameter] = {}
_NONE: frozenset[str] = frozenset()


class InputTensor(msgspec.Struct, frozen=True):
    """One input. `data` is turned into an array by `bind`, after the model has agreed to datatype and shape.

    It is JSON text (`Raw`), a view of the binary part, or an array that is ready. `elements` is the product of `shape`.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    elements: int
    data: msgspec.Raw | memoryview | Array
    base64: bool = False


class RequestedOutput(msgspec.Struct, frozen=True):
    """One output that the client asks for. `binary` None: as the request says. `classification`: how many classes
    are wanted in place of the numbers."""

    name: str
    binary: bool | None = None
    classification: int | None = None


class Form(Protocol):
    """Inputs in the form of another protocol: which tensors they are is known when the model is."""

    def feeds(self, signature: Signature) -> dict[str, Array]:
        """The arrays by input name. Raises BadRequest."""


class InferRequest(msgspec.Struct, frozen=True):
    """One request. `outputs` None: all, in the model's order.

    `raw` is the whole body of a raw binary request, which has no inputs by name; `bind` finds out what it is. `form`:
    the same for the body of another protocol.
    """

    inputs: Mapping[str, InputTensor]
    id: str | None = None
    parameters: Mapping[str, Parameter] = NO_PARAMETERS
    outputs: tuple[RequestedOutput, ...] | None = None
    binary_output: bool = False
    raw: memoryview | None = None
    form: Form | None = None

    @property
    def is_text(self) -> bool:
        """Whether there is JSON yet to be parsed by `bind`."""
        return self.form is not None or any(isinstance(t.data, msgspec.Raw) for t in self.inputs.values())

    @property
    def is_binary(self) -> bool:
        """Whether any tensor, here or in the answer, is to be in the binary layout."""
        return (
            self.raw is not None
            or self.binary_output
            or any(isinstance(tensor.data, memoryview) for tensor in self.inputs.values())
            or any(output.binary for output in self.outputs or ())
        )

    @property
    def output_names(self) -> list[str] | None:
        """The names asked for, in order; None for all. What `Session.run` wants to hear."""
        return None if self.outputs is None else [output.name for output in self.outputs]

    def binary_outputs(self, names: Iterable[str]) -> frozenset[str]:
        """Which of these outputs go out in binary; the flag of an output wins over that of the request."""
        if self.outputs is None:
            return frozenset(names) if self.binary_output else _NONE
        flags = {output.name: output.binary for output in self.outputs}
        return frozenset(name for name in names if (self.binary_output if flags.get(name) is None else flags[name]))


class OutputTensor(msgspec.Struct, frozen=True):
    """One output; `array` has the dtype that `datatype` stands for (BYTES: an object array of `bytes` or `str`)."""

    name: str
    datatype: str
    array: Array


class InferResponse(msgspec.Struct, frozen=True):
    """One answer, its outputs in the order in which they are written."""

    model_name: str
    model_version: str
    outputs: Sequence[OutputTensor]
    id: str | None = None
    parameters: Mapping[str, Parameter] = NO_PARAMETERS
