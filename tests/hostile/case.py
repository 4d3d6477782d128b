"""A hostile request, and what must become of it."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.hostile.wire import post

INFER = "/v2/models/floats/infer"
WORDS = "/v2/models/words/infer"
INDEX = "/v2/repository/index"

MARK = "<Zw9kQ>"
"""Stands in requests where a careless server would repeat it; no answer may hold it."""

BAD = frozenset({400})
ANY_4XX = frozenset(range(400, 500))


@dataclass(frozen=True, slots=True)
class Case:
    """`make`: the bytes, in pieces; a function, so that the large ones live only while they are sent. `closes`: the
    connection must end with the answer. `row`: of the table in docs/security.md."""

    name: str
    row: str
    make: Callable[[], Iterable[bytes]]
    statuses: frozenset[int] = BAD
    closes: bool = False
    slow: bool = False
    bodyless: bool = False


def case(name: str, row: str, content: bytes, statuses: Iterable[int] = BAD, closes: bool = False) -> Case:
    """One that is short enough to be kept."""
    return Case(name, row, lambda: (content,), frozenset(statuses), closes)


def posted(name: str, row: str, body: bytes, statuses: Iterable[int] = BAD, path: str = INFER) -> Case:
    """A well-framed request whose body is hostile."""
    return case(name, row, post(path, body), statuses)


TENSOR: dict[str, Any] = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}


def text(**members: Any) -> bytes:
    """The JSON of a good request but for these members."""
    return json.dumps({"inputs": [TENSOR], **members}).encode()


def tensor(**members: Any) -> bytes:
    """The JSON of a request whose only input is good but for these members."""
    return text(inputs=[{**TENSOR, **members}])


def sized(size: Any, **members: Any) -> bytes:
    """The JSON part of a request whose only input follows in binary, of `size` bytes as it says."""
    described = {key: value for key, value in TENSOR.items() if key != "data"}
    return text(inputs=[{**described, **members, "parameters": {"binary_data_size": size}}])
