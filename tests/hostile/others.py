"""The same over the routes of other protocols: KServe's and TensorFlow Serving's V1, and MLflow's."""

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

from tests.hostile.case import ANY_4XX, MARK, Case, case
from tests.hostile.wire import head, post

ROUTES = {"v1": "/v1/models/floats:predict", "mlflow": "/invocations"}
MEMBERS = {"v1": ("instances", "inputs"), "mlflow": ("dataframe_split", "dataframe_records", "instances", "inputs")}
WRONG: dict[str, Any] = {
    "null": None,
    "true": True,
    "number": 1,
    "text": MARK,
    "empty_text": "",
    "object": {},
    "list_of_null": [None],
    "list_of_text": [MARK],
    "objects": [{MARK: 1}],
    "ragged": [[1, 2], [3]],
    "mixed": [[1, 2], {"x": [1, 2]}],
    "b64": [[{"b64": "%%%"}, {"b64": MARK}]],
    "deep_lists": [[[[[[1]]]]]],
    "columns": {"columns": [MARK], "data": [[1], [2, 3]]},
    "no_data": {"columns": ["x"]},
}
FINE = ("list_of_null", "a_million_nulls", "a_million_lists", "no_rows", "many_columns", "dataframe_records-objects")
"""Odd, and no mistake here: null is NaN, tables may have no rows, and a table of one tensor any names of columns."""

BODIES = {
    "nothing": b"",
    "list": b"[]",
    "text": b'"' + MARK.encode() + b'"',
    "deep_arrays": b"[" * 200_000,
    "deep_objects": b'{"a":' * 200_000,
    "deep_inside": b'{"instances":' + b"[" * 200_000,
    "deep_and_closed": b'{"instances":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a_million_objects": b'{"instances":[' + b"{}," * 999_999 + b"{}]}",
    "a_million_lists": b'{"instances":[' + b"[]," * 999_999 + b"[]]}",
    "a_million_nulls": b'{"instances":[' + b"null," * 999_999 + b"null]}",
    "many_members": json.dumps({f"m{number}": 1 for number in range(100_000)}).encode(),
    "both": json.dumps({"instances": [[1, 2]], "inputs": [[1, 2]]}).encode(),
    "not_utf_8": b'{"instances":[["\xff"]]}',
    "cut_short": b'{"instances":[[1,2]]',
    "trailing": b'{"instances":[[1,2]]}}',
    "pickle": b"cos\nsystem\n(S'true'\ntR.",
    "long_number": b'{"instances":[[' + b"9" * 1_000_000 + b",1]]}",
}
CSV = {
    "no_rows": b"x\n",
    "ragged": b"a,b\n1\n1,2,3\n",
    "quote_without_end": b'a,b\n"' + MARK.encode() + b"\n",
    "many_columns": b",".join(b"c%d" % number for number in range(200_000)) + b"\n",
    "many_lines": b"\n" * 1_000_000,
    "nul": b"a,b\n\x00,\x00\n",
    "formula": b"a,b\n=cmd|'/c calc'!A1,1\n",
    "not_utf_8": b"\xff\xfe\n\xff\n",
}


def cases() -> Iterator[Case]:
    for where, path in ROUTES.items():
        for member, (kind, value) in product(MEMBERS[where], WRONG.items()):
            content = post(path, json.dumps({member: value}).encode(), "Content-Type: application/json")
            yield case(f"{where}-{member}-{kind}", "B12", content, _statuses(f"{member}-{kind}"))
        for name, body in BODIES.items():
            yield _large(f"{where}-body-{name}", "B11" if "deep" in name else "B12", path, body)
        content = head("POST", path, "Content-Length: 1099511627776", "Content-Type: application/json")
        yield case(f"{where}-declared_too_large", "B9", content, ANY_4XX)
    for name, body in CSV.items():
        yield case(f"mlflow-csv-{name}", "B12", post("/invocations", body, "Content-Type: text/csv"), _statuses(name))
    for name in ("..%2f..%2fetc%2fpasswd", "%2e%2e", "floats%00", "%3CZw9kQ%3E", "a" * 5000, "floats%0d%0aa"):
        for what in (":predict", ":classify", ":nothing", "/versions/1:predict", "/labels/a:predict"):
            yield case(f"v1-name-{name[:12]}{what}", "B17", post(f"/v1/models/{name}{what}", b"{}"), ANY_4XX | {501})
        yield case(f"v1-status-{name[:12]}", "B17", head("GET", f"/v1/models/{name}"), ANY_4XX)
        yield case(f"v1-label-{name[:12]}", "B17", head("GET", f"/v1/models/floats/labels/{name}"), ANY_4XX)


def _large(name: str, row: str, path: str, body: bytes) -> Case:
    return Case(name, row, lambda: (post(path, body, "Content-Type: application/json"),), _statuses(name))


def _statuses(name: str) -> frozenset[int]:
    return ANY_4XX | {200} if name.endswith(FINE) else ANY_4XX
