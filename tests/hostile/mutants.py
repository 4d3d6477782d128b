"""Damaged model files, each made from a sound one by a seeded accident: what a publisher may put into the directory.

Half of the accidents know nothing of the format (bits, bytes, cuts), some know protobuf (fields lost, doubled, lengths
that lie), some know ONNX (dimensions, versions, cycles, types, other operators, huge numbers, text that is not UTF-8).
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import AttributeProto, TensorProto, helper

from tests.unit.service.runtime.tiny import FLOAT, STRING, counting, identity, model, times, value

ROOT = Path(__file__).resolve().parents[2]
INT64 = TensorProto.INT64
EXTREMES = (0, -1, 1, 2, 7, 127, 2**16, 2**31 - 1, 2**31, -(2**31), 2**32, 2**40, 2**62, 2**63 - 1, -(2**63))
NOT_TEXT = b"\xff\xfe\xc3\x28"
OPERATORS = (
    *("Add", "ArgMax", "Cast", "Clip", "Concat", "ConstantOfShape", "Conv", "CumSum", "DepthToSpace", "Einsum"),
    *("Expand", "EyeLike", "Flatten", "Gather", "GatherElements", "GatherND", "Gemm", "Identity", "If", "LSTM", "Loop"),
    *("MatMul", "MaxPool", "Mod", "NonZero", "OneHot", "Pad", "Range", "ReduceSum", "Reshape", "Resize", "Scan"),
    *("ScatterElements", "ScatterND", "Shape", "Slice", "Softmax", "Split", "Squeeze", "Tile", "TopK", "Transpose"),
    *("Unsqueeze", "Where", "NoSuchOperator"),
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """`accident`: what befell which model."""

    accident: str
    content: bytes


def mutants(seed: int, count: int) -> Iterator[Mutant]:
    """So many of them; the same for the same seed and libraries."""
    rng = random.Random(seed)
    sound = list(sound_models().items())
    for _ in range(count):
        name, content = rng.choice(sound)
        accident = rng.choice(ACCIDENTS)
        yield Mutant(f"{accident.__name__.strip('_')} of {name}", accident(content, rng))


# ---- what is damaged ----


def sound_models() -> dict[str, bytes]:
    """The sample models, and small ones whose operators compute sizes, places and loops from numbers in the file."""
    samples = sorted(ROOT.glob("models/*/*/model.onnx"))
    return {f"{file.parts[-3]}-{file.parts[-2]}": file.read_bytes() for file in samples} | _small_models()


def _small_models() -> dict[str, bytes]:
    x, y = [value("x")], [value("y", FLOAT, None)]

    def of(*nodes: onnx.NodeProto, **constants: Sequence[float]) -> bytes:
        kinds = {name: FLOAT if any(isinstance(n, float) for n in row) else INT64 for name, row in constants.items()}
        held = [helper.make_tensor(name, kinds[name], [len(row)], row) for name, row in constants.items()]
        return model(list(nodes), x, y, initializer=held)

    node = helper.make_node
    image = [value("x", FLOAT, ["N", 1, 8, 8])]
    weights = helper.make_tensor("w", FLOAT, [2, 1, 3, 3], [0.1] * 18)
    pool = node("MaxPool", ["c"], ["y"], kernel_shape=[2, 2], strides=[2, 2])
    lstm = [
        helper.make_tensor("w", FLOAT, [1, 8, 2], [0.1] * 16),
        helper.make_tensor("r", FLOAT, [1, 8, 2], [0.1] * 16),
    ]
    return {
        "identity": identity(),
        "text": identity(STRING),
        "times": times(2.0),
        "loop": counting(10),
        "conv": model([node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), pool], image, y, initializer=[weights]),
        "lstm": model(
            [node("LSTM", ["x", "w", "r"], ["y"], hidden_size=2)],
            [value("x", FLOAT, ["N", 1, 2])],
            y,
            initializer=lstm,
        ),
        "gather": of(node("Gather", ["x", "i"], ["y"], axis=1), i=[0, 1]),
        "reshape": of(node("Reshape", ["x", "s"], ["y"]), s=[-1, 1, 2]),
        "expand": of(node("Expand", ["x", "s"], ["y"]), s=[2, 1, 2]),
        "tile": of(node("Tile", ["x", "s"], ["y"]), s=[2, 3]),
        "pad": of(node("Pad", ["x", "s"], ["y"]), s=[0, 1, 0, 1]),
        "slice": of(node("Slice", ["x", "a", "b"], ["y"]), a=[0, 0], b=[1, 1]),
        "top": of(node("TopK", ["x", "k"], ["y", "i"]), k=[1]),
        "filled": of(node("ConstantOfShape", ["s"], ["f"]), node("Add", ["f", "x"], ["y"]), s=[1, 2]),
        "scatter": of(node("ScatterElements", ["x", "i", "u"], ["y"], axis=0), i=[0], u=[1.0]),
        "resize": of(node("Resize", ["x", "", "s"], ["y"]), s=[1.0, 2.0]),
        "sum": of(node("ReduceSum", ["x", "a"], ["y"]), a=[1]),
        "split": of(node("Split", ["x", "s"], ["y", "z"], axis=1), s=[1, 1]),
        "softmax": of(node("Einsum", ["x", "x"], ["e"], equation="ij,kj->ik"), node("Softmax", ["e"], ["y"])),
    }


# ---- accidents that know nothing of the format ----


def _bits(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _bytes(content: bytes, rng: random.Random) -> bytes:
    at, size = rng.randrange(len(content)), rng.choice((1, 4, 16))
    return content[:at] + rng.choice((rng.randbytes(size), b"\0" * size, b"\xff" * size)) + content[at + size :]


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(1, len(content))]


def _hole(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + content[at + rng.choice((1, 2, 4, 8, 100)) :]


def _echo(content: bytes, rng: random.Random) -> bytes:
    at, size = rng.randrange(len(content)), rng.choice((1, 2, 8, 100))
    return content[:at] + content[at : at + size] * 2 + content[at + size :]


# ---- accidents of protobuf ----


@dataclass(frozen=True, slots=True)
class _Field:
    """`start`: of its key; `value`: of what follows it (its length, where it has one); `end`; `kind`: of the wire."""

    start: int
    value: int
    end: int
    kind: int


def _varint(content: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = content[at]
        at, number, shift = at + 1, number | (byte & 127) << shift, shift + 7
        if byte < 128:
            return number, at


def _written(number: int) -> bytes:
    number &= 2**64 - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def _fields(content: bytes, start: int, end: int) -> list[_Field]:
    """Of the message at these places; nothing where there is none. Only what is whole counts as a message."""
    found, at = [], start
    try:
        while at < end:
            key, after = _varint(content, at)
            kind = key & 7
            if kind == 0:
                stop = _varint(content, after)[1]
            elif kind == 2:
                length, begin = _varint(content, after)
                stop = begin + length
            else:
                stop = after + {1: 8, 5: 4}[kind]
            if stop > end or not key >> 3:
                return []
            found.append(_Field(at, after, stop, kind))
            at = stop
    except (IndexError, KeyError):
        return []
    return found


def _somewhere(content: bytes, rng: random.Random) -> _Field:
    """A field at any depth."""
    start, end = 0, len(content)
    while True:
        chosen = rng.choice(_fields(content, start, end))
        if chosen.kind == 2 and rng.random() < 0.8:
            inner = _varint(content, chosen.value)[1]
            if _fields(content, inner, chosen.end):
                start, end = inner, chosen.end
                continue
        return chosen


def _field_lost(content: bytes, rng: random.Random) -> bytes:
    field = _somewhere(content, rng)
    return _replaced(content, field, b"")


def _field_twice(content: bytes, rng: random.Random) -> bytes:
    field = _somewhere(content, rng)
    return _replaced(content, field, content[field.start : field.end] * rng.choice((2, 2, 3, 100)))


def _field_number(content: bytes, rng: random.Random) -> bytes:
    field = _somewhere(content, rng)
    key = _written(rng.randrange(1, 30) << 3 | field.kind)
    return _replaced(content, field, key + content[field.value : field.end])


def _number(content: bytes, rng: random.Random) -> bytes:
    for _ in range(50):
        field = _somewhere(content, rng)
        if field.kind == 0:
            return _replaced(content, field, content[field.start : field.value] + _written(rng.choice(EXTREMES)))
    return _bits(content, rng)


def _length_lies(content: bytes, rng: random.Random) -> bytes:
    for _ in range(50):
        field = _somewhere(content, rng)
        if field.kind == 2:
            length, begin = _varint(content, field.value)
            told = rng.choice((0, max(0, length - 1), length + 1, length * 2, 2**31, 2**63))
            return content[: field.value] + _written(told) + content[begin:]
    return _bits(content, rng)


def _not_text(content: bytes, rng: random.Random) -> bytes:
    for _ in range(50):
        field = _somewhere(content, rng)
        if field.kind == 2:
            key = content[field.start : field.value]
            return _replaced(content, field, key + _written(len(NOT_TEXT)) + NOT_TEXT)
    return _bits(content, rng)


def _replaced(content: bytes, field: _Field, new: bytes, start: int = 0, end: int | None = None) -> bytes:
    """With other bytes in place of a field, and the lengths of all messages around it made to fit."""
    end = len(content) if end is None else end
    for outer in _fields(content, start, end):
        if outer.start == field.start:
            return content[start : field.start] + new + content[field.end : end]
        if outer.kind == 2 and outer.start < field.start < outer.end:
            inner = _varint(content, outer.value)[1]
            whole = _replaced(content, field, new, inner, outer.end)
            return content[start : outer.value] + _written(len(whole)) + whole + content[outer.end : end]
    return content[start:end]


# ---- accidents of ONNX ----

Change = Callable[[onnx.ModelProto, random.Random], None]


def _onnx(change: Change) -> Callable[[bytes, random.Random], bytes]:
    def accident(content: bytes, rng: random.Random) -> bytes:
        loaded = onnx.load_model_from_string(content)
        change(loaded, rng)
        changed: bytes = loaded.SerializeToString()
        return changed

    accident.__name__ = change.__name__
    return accident


def _tensors(loaded: onnx.ModelProto) -> list[TensorProto]:
    held = [a.t for node in loaded.graph.node for a in node.attribute if a.type == AttributeProto.TENSOR]
    return [*loaded.graph.initializer, *held]


def _dimensions(loaded: onnx.ModelProto, rng: random.Random) -> None:
    if not (tensors := _tensors(loaded)):
        return
    tensor = rng.choice(tensors)
    dims = list(tensor.dims) or [1]
    dims[rng.randrange(len(dims))] = rng.choice(EXTREMES)
    if rng.random() < 0.5:
        rng.shuffle(dims)
    del tensor.dims[:]
    tensor.dims.extend(dims * rng.choice((1, 1, 1, 20)))


def _numbers(loaded: onnx.ModelProto, rng: random.Random) -> None:
    """Other sizes, places and counts in what the operators read."""
    tensors = [t for t in _tensors(loaded) if t.data_type == INT64 and not t.raw_data]
    if not tensors:
        return _attribute(loaded, rng)
    tensor = rng.choice(tensors)
    for place in range(len(tensor.int64_data)):
        if rng.random() < 0.6:
            tensor.int64_data[place] = rng.choice(EXTREMES)
    return None


def _attribute(loaded: onnx.ModelProto, rng: random.Random) -> None:
    attributes = [a for node in loaded.graph.node for a in node.attribute]
    if not attributes:
        return
    chosen = rng.choice(attributes)
    if chosen.type == AttributeProto.INT:
        chosen.i = rng.choice(EXTREMES)
    elif chosen.type == AttributeProto.INTS and chosen.ints:
        chosen.ints[rng.randrange(len(chosen.ints))] = rng.choice(EXTREMES)
    elif chosen.type == AttributeProto.FLOATS and chosen.floats:
        del chosen.floats[rng.randrange(len(chosen.floats)) :]
    else:
        chosen.type = rng.randrange(15)


def _kind_of_tensor(loaded: onnx.ModelProto, rng: random.Random) -> None:
    if tensors := _tensors(loaded):
        rng.choice(tensors).data_type = rng.choice((*range(25), 1000, -1))


def _versions(loaded: onnx.ModelProto, rng: random.Random) -> None:
    loaded.ir_version = rng.choice((loaded.ir_version, *EXTREMES))
    for opset in loaded.opset_import:
        opset.version = rng.choice((1, 6, 9, 13, 21, 30, *EXTREMES))
        opset.domain = rng.choice((opset.domain, opset.domain, "ai.onnx.ml", "com.microsoft", "nowhere"))


def _operator(loaded: onnx.ModelProto, rng: random.Random) -> None:
    rng.choice(loaded.graph.node).op_type = rng.choice(OPERATORS)


def _cycle(loaded: onnx.ModelProto, rng: random.Random) -> None:
    nodes = loaded.graph.node
    node, other = rng.choice(nodes), rng.choice(nodes)
    if node.input and other.output:
        node.input[rng.randrange(len(node.input))] = rng.choice(other.output)


def _wires(loaded: onnx.ModelProto, rng: random.Random) -> None:
    """Inputs exchanged, repeated, left out."""
    node = rng.choice(loaded.graph.node)
    names = [*node.input, "", "nowhere", *(i.name for i in loaded.graph.initializer), "x"]
    wires = [rng.choice(names) for _ in range(rng.choice((0, 1, len(node.input), 2, 40)))]
    del node.input[:]
    node.input.extend(wires)


def _order(loaded: onnx.ModelProto, rng: random.Random) -> None:
    nodes = list(loaded.graph.node)
    rng.shuffle(nodes)
    del loaded.graph.node[:]
    loaded.graph.node.extend(nodes * rng.choice((1, 2)))


def _interface(loaded: onnx.ModelProto, rng: random.Random) -> None:
    """What the model says of its inputs and outputs."""
    chosen = rng.choice([*loaded.graph.input, *loaded.graph.output])
    tensor = chosen.type.tensor_type
    if rng.random() < 0.4:
        tensor.elem_type = rng.choice((*range(25), 1000))
    elif tensor.shape.dim:
        rng.choice(tensor.shape.dim).dim_value = rng.choice(EXTREMES)
    else:
        chosen.name = rng.choice(("", "x", "y", "a" * 100_000, "\n\x1b[31m", "../../etc/passwd"))


def _outside(loaded: onnx.ModelProto, rng: random.Random) -> None:
    """Weights that are said to lie in another file."""
    if tensors := _tensors(loaded):
        tensor = rng.choice(tensors)
        tensor.data_location = TensorProto.EXTERNAL
        places = ("/etc/passwd", "../../../etc/passwd", "/dev/zero", "model.onnx", "nowhere", "", "a\0b")
        for key, word in (("location", rng.choice(places)), ("offset", "-1"), ("length", str(rng.choice(EXTREMES)))):
            tensor.external_data.add(key=key, value=word)


def _functions(loaded: onnx.ModelProto, rng: random.Random) -> None:
    """A function that calls itself, in place of an operator."""
    opset = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    inner = helper.make_node("Again", ["a"], ["b"], domain="own")
    loaded.functions.append(helper.make_function("own", "Again", ["a"], ["b"], [inner], opset))
    loaded.opset_import.append(opset[1])
    node = rng.choice(loaded.graph.node)
    node.domain, node.op_type = "own", "Again"


def _nested(content: bytes, rng: random.Random) -> bytes:
    """Branches within branches. Written by hand, since the library refuses to go so deep."""
    leaf = helper.make_graph([helper.make_node("Constant", [], ["r"], value_float=1.0)], "leaf", [], [value("r")])
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    first = _member(1, helper.make_node("Constant", [], ["c"], value=yes).SerializeToString())
    last = _member(2, b"branch") + _member(12, value("r").SerializeToString())
    branch = helper.make_node("If", ["c"], ["r"]).SerializeToString()
    kind = _written(20 << 3) + _written(AttributeProto.GRAPH)
    graph = leaf.SerializeToString()
    for _ in range(rng.choice((5, 20, 32, 100, 1000))):
        both = [_member(5, _member(1, name) + _member(6, graph) + kind) for name in (b"then_branch", b"else_branch")]
        graph = (
            first + _member(1, branch + b"".join(both[: rng.choice((1, 1, 1, 2)) if len(graph) < 500 else 1])) + last
        )
    return content + _member(7, graph)  # a second graph is joined to the first


def _member(number: int, content: bytes) -> bytes:
    return _written(number << 3 | 2) + _written(len(content)) + content


ACCIDENTS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(_bits, _bits, _bytes, _bytes, _cut, _hole, _echo),
    *(_field_lost, _field_twice, _field_number, _number, _number, _length_lies, _not_text),
    *map(_onnx, (_dimensions, _numbers, _attribute, _kind_of_tensor, _versions, _operator, _cycle, _wires)),
    *map(_onnx, (_order, _interface, _outside, _functions)),
    _nested,
)
