"""Everything that reads what others have written, on documents that were good before a few pieces were exchanged.

None may raise anything but our own refusals: any other exception is an answer 500, or a process that does not start.
More by command: python -m pytest --hypothesis-profile=long tests/hostile/test_readers.py
"""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from router.errors import SerinError
from router.jsonpath import parse_path
from router.routes import decode_table, percent_to_ppm
from router.spec import parse_spec
from router.tokens import read_token
from service.pb.messages import ModelInferRequest
from service.protocol import bodies, check, codec, proto_codec, rows_codec, table_codec
from service.protocol.limits import Limits
from service.protocol.tensors import Signature, TensorSpec
from service.runtime.golden import parse_golden
from service.runtime.manifest import parse_manifest
from tests.hostile.case import sized, tensor, text

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits()
KINDS = ("FP32", "INT64", "BOOL", "BYTES", "FP16")
SIGNATURES = [
    Signature((TensorSpec("x", kind, shape),), (TensorSpec("y", kind, shape),))
    for kind in KINDS
    for shape in ((-1, -1), (1, 2), (), None)
]

TOKENS = [
    *(
        b"null",
        b"true",
        b"-1",
        b"1.5",
        b"1e999",
        b"NaN",
        b"-Infinity",
        b"9" * 400,
        b'"x"',
        b'""',
        b"[]",
        b"{}",
        b"[[]]",
    ),
    *(b"\xff", b"\x00", b'"\\ud800"', b"\xef\xbb\xbf", b",", b":", b"[", b"}", b'"', b"\n", b"\r", b";", b"%"),
    b"18446744073709551616",
    *(
        b'"FP32"',
        b'"BYTES"',
        b'"BOOL"',
        b'"FP16"',
        b'"parameters":{"binary_data_size":8},',
        b'"b64":"AA"',
        b"0x1",
        b"'",
    ),
]
"""What stands in other places of such documents, or should not stand anywhere."""

Edit = tuple[str, int, int, bytes]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["put", "exchange", "lose", "double"]),
        st.integers(0, 1 << 16),
        st.integers(1, 12),
        st.sampled_from(TOKENS) | st.binary(max_size=4),
    ),
    max_size=4,
)


def edited(content: bytes, edits: list[Edit]) -> bytes:
    """The content after these accidents, at places counted round its length."""
    for what, place, size, token in edits:
        at = place % (len(content) + 1)
        piece = content[at : at + size]
        new = {"put": token + piece, "exchange": token, "lose": b"", "double": piece * 2}[what]
        content = content[:at] + new + content[at + size :]
    return content


# ---- who reads ----


def bound(request: codec.InferRequest) -> None:
    """What every version would make of it."""
    for signature in SIGNATURES:
        try:
            arrays = check.bind(request, signature)
        except SerinError:
            continue
        assert list(arrays) == ["x"]
        assert signature.inputs[0].takes(arrays["x"].shape)


def read_v2(content: bytes) -> None:
    bound(codec.decode(content, None, LIMITS))


def read_binary(content: bytes) -> None:
    head = bodies.header_length(content[:3].strip() or b"0", len(content) - 3) if content[:1].isdigit() else 20
    bound(codec.decode(content[3:], head, LIMITS))


def read_message(content: bytes) -> None:
    bound(proto_codec.decode(proto_codec.parse(content, LIMITS), LIMITS))


def read_rows(content: bytes) -> None:
    bound(rows_codec.read_v1(content, LIMITS).request)


def read_table(content: bytes) -> None:
    bound(table_codec.read_invocation(content, LIMITS, {"x": {"a": 0, "b": 1}}).request)


def read_csv(content: bytes) -> None:
    bound(table_codec.read_csv(content, LIMITS, {"x": {"a": 0, "b": 1}}).request)


def read_rollout(content: bytes) -> None:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return  # the admin port's own reader says so
    parse_spec(document)


def read_words(content: bytes) -> None:
    word = content.decode("utf-8", "replace")
    for reader in (lambda: percent_to_ppm(word), lambda: parse_path(word), lambda: read_token(b"k" * 32, word)):
        try:
            reader()
        except SerinError:
            continue


def read_manifest(content: bytes) -> None:
    parse_manifest(content)


def read_golden(content: bytes) -> None:
    parse_golden(content, 1)


def read_routes(content: bytes) -> None:
    decode_table(content)


# ---- what is good ----


def message(**more: object) -> bytes:
    made = ModelInferRequest(
        model_name="m", inputs=[{"name": "x", "datatype": "FP32", "shape": [1, 2], **more}], outputs=[{"name": "y"}]
    )
    if not more:
        made.raw_input_contents.append(bytes(8))
    content: bytes = made.SerializeToString()
    return content


def framed(document: bytes, blob: bytes) -> bytes:
    """With its own length before it, in three digits."""
    return b"%3d" % len(document) + document + blob


def dumped(*documents: object) -> list[bytes]:
    return [json.dumps(document).encode() for document in documents]


GOLDEN = {
    "inputs": {"x": {"datatype": "FP32", "shape": [1, 2], "data": [1, 2]}},
    "outputs": {"1": {"y": {"data": [1]}}},
}
ROUTE = {"model": "m", "variants": [{"name": "a", "version": 1, "weight_ppm": 1_000_000}], "aliases": {"stable": 1}}
GOOD: dict[Callable[[bytes], None], list[bytes]] = {
    read_v2: [
        text(),
        tensor(data=[[1, 2]]),
        tensor(datatype="BYTES", data=["a", "b"]),
        tensor(datatype="BOOL", data=[True, False], shape=[2]),
        tensor(shape=[], data=[1]),
        text(id="7", outputs=[{"name": "y", "parameters": {"binary_data": False}}], parameters={"priority": 1}),
    ],
    read_binary: [
        framed(sized(8), bytes(8)),
        framed(sized(9, datatype="BYTES"), b"\1\0\0\0a\0\0\0\0"),
        b"0  " + bytes(8),
    ],
    read_message: [message(), message(contents={"fp32_contents": [1, 2]})],
    read_rows: dumped(
        {"instances": [[1, 2], [3, 4]]},
        {"instances": [{"x": [1, 2]}, {"x": [3, 4]}]},
        {"inputs": {"x": [[1, 2]]}, "signature_name": "serving_default"},
        {"instances": [{"b64": "AAAA"}, {"b64": "AA=="}]},
    ),
    read_table: dumped(
        {"dataframe_split": {"columns": ["a", "b"], "index": [0], "data": [[1, 2], [3, None]]}},
        {"dataframe_records": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]},
        {"instances": [[1, 2]], "params": {"priority": 1}},
        {"inputs": {"x": [[1, 2]]}},
    ),
    read_csv: [b"a,b\n1,2\n3,4\n", b"0,1\n1,2\n", b'1.5,"x, y"\n2,\n'],
    read_rollout: dumped(
        *(found for file in sorted(ROOT.glob("examples/*.yaml")) for found in yaml.safe_load_all(file.read_text()))
    ),
    read_manifest: [file.read_bytes() for file in sorted(ROOT.glob("models/*/model.toml"))],
    read_golden: dumped({"cases": [GOLDEN]}),
    read_routes: dumped({"revision": 1, "routes": {"m": ROUTE}, "wanted": {"m": {"1": {"digest": "a", "stamp": "b"}}}}),
    read_words: [b"12.5", b"$.a.b[0]", b"m~1~a~0~s~AAAA"],
}


@pytest.mark.parametrize("read", GOOD, ids=lambda read: read.__name__)
def test_what_is_good_is_read(read: Callable[[bytes], None]) -> None:
    for content in GOOD[read]:
        read(content)


@pytest.mark.parametrize("read", GOOD, ids=lambda read: read.__name__)
def test_what_was_good_is_read_or_refused(read: Callable[[bytes], None]) -> None:
    @given(st.sampled_from(GOOD[read]), EDITS)
    def fire(content: bytes, edits: list[Edit]) -> None:
        with suppress(SerinError):
            read(edited(content, edits))

    fire()


@pytest.mark.parametrize("read", GOOD, ids=lambda read: read.__name__)
def test_any_bytes_are_read_or_refused(read: Callable[[bytes], None]) -> None:
    @given(st.binary(max_size=200))
    def fire(content: bytes) -> None:
        with suppress(SerinError):
            read(content)

    fire()
