"""How the answers of a version are written when there are many: forms, and the numbers that go into their places."""

from collections.abc import Sequence
from math import prod

import orjson
from msgspec import Struct

from service.protocol.json_codec import needs_care
from service.protocol.short import answer_head, outputs_form
from service.protocol.tensors import FLOATS, Array
from service.runtime.loaded import Loaded

Row = tuple[bytes, ...]
"""The numbers of one answer, a text for each output."""


class Form(Struct, frozen=True):
    """All of an answer but its numbers. `plain` has a place (`%b`) for those of each output, and so has `outputs`, its
    end; `head` is its beginning, as it is sent."""

    plain: bytes
    head: bytes
    outputs: bytes

    def with_id(self, given: str, row: Row) -> bytes:
        """An answer with the id of its request; without one it is `plain % row`."""
        return b'%b,"id":%b%b' % (self.head, orjson.dumps(given), self.outputs % row)


class Forms:
    """Of one version whose outputs are numbers. `form`: of the numbers that were written last."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._may_be_null = [output.datatype in FLOATS for output in loaded.signature.outputs]
        self._shapes: dict[int, list[tuple[int, ...]]] = {}
        self.form = Form(b"", b"", b"")

    def numbers(self, outputs: Sequence[Array], count: int) -> list[Row] | None:
        """The numbers of so many rows as JSON has them; None where a row has none of its own, or has some that need
        care."""
        shapes = [array.shape for array in outputs]
        if shapes != self._shapes.get(count) and not self._write(shapes, count):
            return None
        columns = []
        for array, may_be_null in zip(outputs, self._may_be_null, strict=True):
            if array.ndim > 2:
                array = array.reshape(count, -1)
            text = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
            if may_be_null and needs_care(text):
                return None
            columns.append(text[1:-1].split(b",") if array.ndim == 1 else text[2:-2].split(b"],["))
        return list(zip(*columns, strict=True))

    def _write(self, shapes: list[tuple[int, ...]], count: int) -> bool:
        """Write the form for outputs of these shapes, if it is another one. False where they are not by row."""
        if any(not shape or shape[0] != count or not prod(shape) for shape in shapes):
            return False
        loaded, known = self._loaded, next(iter(self._shapes.values()), None)
        if known is not None and [shape[1:] for shape in known] == [shape[1:] for shape in shapes]:
            self._shapes[count] = shapes
            return True
        self._shapes = {count: shapes}
        specs = zip(loaded.signature.outputs, shapes, strict=True)
        head = answer_head(loaded.model, str(loaded.version))
        outputs = outputs_form(tuple((spec.name, spec.datatype, (1, *shape[1:])) for spec, shape in specs))
        self.form = Form(head.replace(b"%", b"%%") + outputs, head, outputs)
        return True
