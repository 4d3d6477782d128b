"""Paths, names, methods and fields that try to reach what they must not."""

import json
from collections.abc import Iterator
from itertools import product

from tests.hostile.case import ANY_4XX, INFER, MARK, Case, case, text
from tests.hostile.wire import head, post

NAMES = {
    "dots": "..%2f..%2f..%2fetc%2fpasswd",
    "dots_twice_encoded": "..%252f..%252fetc%252fpasswd",
    "backslashes": "..%5c..%5cwindows%5cwin.ini",
    "overlong": "..%c0%af..%c0%afetc%c0%afpasswd",
    "parent": "%2e%2e",
    "here": "%2e",
    "hidden": ".ssh",
    "nul": "floats%00.onnx",
    "line": "floats%0d%0aSet-Cookie:%20a=b",
    "escape": "%1b%5b2J%1b%5b31m",
    "shell": "$(touch%20x)",
    "backticks": "%60id%60",
    "template": "%7b%7b7*7%7d%7d",
    "format": "%25s%25n%7b0.__class__%7d",
    "sql": "'%20or%201=1%20--",
    "script": "%3Cscript%3E",
    "mark": "%3CZw9kQ%3E",
    "url": "http:%2f%2f127.0.0.1:1%2fx",
    "file_url": "file:%2f%2f%2fetc%2fpasswd",
    "fragment": "floats%23",
    "semicolon": "floats;a=b",
    "space_after": "floats%20",
    "capitals": "FLOATS",
    "prototype": "__proto__",
    "long": "a" * 5000,
    "unicode": "%ef%bc%8e%ef%bc%8e",
    "not_utf_8": "%ff%fe",
    "right_to_left": "%e2%80%aetxt.exe",
}
ROUTES = {
    "metadata": ("GET", "/v2/models/{}"),
    "ready": ("GET", "/v2/models/{}/ready"),
    "infer": ("POST", "/v2/models/{}/infer"),
    "version": ("GET", "/v2/models/floats/versions/{}"),
    "version_infer": ("POST", "/v2/models/floats/versions/{}/infer"),
    "config": ("GET", "/v2/models/{}/config"),
    "stats": ("GET", "/v2/models/{}/stats"),
    "load": ("POST", "/v2/repository/models/{}/load"),
    "unload": ("POST", "/v2/repository/models/{}/unload"),
    "version_load": ("POST", "/v2/repository/models/floats/versions/{}/load"),
    "feedback": ("POST", "/v2/models/{}/feedback"),
    "trace": ("POST", "/v2/models/{}/trace/setting"),
}
ABSENT = {
    "admin": "/admin/routes",
    "api": "/api/v1/models",
    "console": "/console/",
    "static": "/static/../../etc/passwd",
    "dots": "/../../../../etc/passwd",
    "dots_inside": "/v2/models/../../etc/passwd",
    "environment": "/.env",
    "git": "/.git/config",
    "encoded_slash": "/v2%2fmodels",
    "encoded_dots": "/%2e%2e/%2e%2e/etc/passwd",
    "two_slashes": "//v2/models",
    "slash_after": "/v2/models/",
    "capitals": "/V2/MODELS",
    "seldon": "/api/v0.1/predictions",
    "torchserve": "/predictions/floats",
    "torchserve_load": "/models?url=http://127.0.0.1:1/x.mar",
    "bento": "/predict",
    "debug": "/debug/pprof/",
    "shared_memory": "/v2/systemsharedmemory/region/a/register",
    "cuda": "/v2/cudasharedmemory/region/a/register",
    "query": "/v2?/../../etc/passwd",
    "parameters": "/v2/models;a=b",
}

SAME = ("query", "encoded_slash")
"""Other spellings of paths that there are: routes go by the decoded path, and so must whatever guards them."""


def cases() -> Iterator[Case]:
    for (what, (method, path)), (name, word) in product(ROUTES.items(), NAMES.items()):
        target = path.format(word)
        content = head(method, target) if method == "GET" else post(target, b"{}")
        yield case(f"name-{what}-{name}", "B36" if name in ("line", "escape") else "B17", content, ANY_4XX)
    for (name, path), method in product(ABSENT.items(), ("GET", "POST")):
        found = {200, 405} if name in SAME else {404, 405, 501}
        yield case(f"absent-{method}-{name}", "B34", head(method, path, "Content-Length: 0"), found)
    yield from _methods()
    yield from _fields()
    yield from _settings()
    yield from _feedback()


def _methods() -> Iterator[Case]:
    paths = {"infer": INFER, "metrics": "/metrics", "live": "/v2/health/live", "models": "/v2/models"}
    for method, (where, path) in product(("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"), paths.items()):
        yield case(f"method-{where}-{method}", "B10", head(method, path, "Content-Length: 0"), {405})
    yield case("method-infer-GET", "B10", head("GET", INFER), {405})
    yield case("method-connect", "B10", head("CONNECT", "127.0.0.1:22"), ANY_4XX)
    yield case("method-overridden", "B10", head("GET", INFER, "X-HTTP-Method-Override: POST"), {405})
    yield Case("method-infer-HEAD", "B10", lambda: (head("HEAD", INFER),), frozenset({405}), bodyless=True)


def _fields() -> Iterator[Case]:
    """Fields that other servers trip over; here they mean nothing, so the same good answer or refusal comes."""
    for number, host in enumerate(
        (
            "a?",
            "a#",
            "a/../b",
            "evil.example",
            "127.0.0.1:1",
            "[::1]",
            "a@b",
            "a b",
            "",
            MARK,
            "a" * 5000,
            "%00",
            "a:99999",
        )
    ):
        content = f"GET /v2/health/live HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        yield case(f"host-{number}", "B24", content, {200, 400})
    yield case("host-two", "B24", head("GET", "/v2/health/live", "Host: y"))
    yield case("host-none", "B24", b"GET /v2/health/live HTTP/1.1\r\n\r\n")
    yield case("host-absolute", "B24", head("GET", "http://evil.example/v2/models/none"), {400, 404})
    ranges = "Range: bytes=" + ",".join(f"{number}-{number}" for number in range(6000))
    for where, path in {"root": "/", "document": "/openapi.json", "docs": "/docs", "metrics": "/metrics"}.items():
        yield case(f"range-{where}", "B25", head("GET", path, ranges), {200, 404})
    for name, field in {
        "rewrite": "X-Original-URL: /admin",
        "forwarded": "X-Forwarded-For: " + "1.1.1.1," * 2000,
        "prefix": "X-Forwarded-Prefix: /..",
        "origin": "Origin: http://evil.example",
        "upgrade": "Connection: Upgrade\r\nUpgrade: websocket",
        "http_2": "Upgrade: h2c",
        "id": "X-Request-Id: \x1b[31m" + MARK,
        "accept": "Accept: " + "text/html;q=0.1," * 3000,
        "language": "Accept-Language: " + "a," * 20_000,
        "key": "Serin-Routing-Key: " + MARK,
        "expect": "Expect: nothing",
        "cookie": "Cookie: " + "=;" * 20_000,
    }.items():
        yield case(f"field-{name}", "B24", post(INFER, b"{}", field), {400, 417})


def _settings() -> Iterator[Case]:
    """What Triton lets a client set: files to write, URLs to fetch, memory to share."""
    for name, body in {
        "log_file": {"log_file": "/tmp/x"},
        "log_verbose": {"log_verbose_level": 9},
        "unknown": {MARK: 1},
    }.items():
        yield case(f"setting-logging-{name}", "B6", post("/v2/logging", json.dumps(body).encode()), {400, 501})
    body = json.dumps({"trace_file": "/tmp/x", "trace_level": ["TIMESTAMPS"]}).encode()
    yield case("setting-trace", "B6", post("/v2/trace/setting", body), {400, 501})
    for name, value in {
        "uri": {"uri": "file:///etc/passwd"},
        "url": {"url": "http://127.0.0.1:1/x"},
        "model_uri": {"model_uri": "gopher://127.0.0.1:1/"},
        "unc": {"model_uri": "\\\\127.0.0.1\\x"},
        "file": {"file:1/model.onnx": "AAAA"},
        "traversal": {"file:../../x": "AAAA"},
        "config": {"config": '{"backend":"python"}'},
        "mark": {MARK: MARK},
    }.items():
        content = json.dumps({"parameters": value}).encode()
        yield case(f"setting-load-{name}", "B1", post("/v2/repository/models/floats/load", content), {400, 501})
        bare = post("/v2/repository/models/floats/load", json.dumps(value).encode())
        yield case(f"setting-load-bare-{name}", "B1", bare)
    for way in ("load", "unload"):
        padded = post(f"/v2/repository/models/floats/versions/01/{way}", b"")
        yield case(f"setting-{way}-zero_before", "B17", padded, {404})
    for kind, value in {"list": [], "text": MARK, "number": 1, "true": True}.items():
        content = json.dumps({"parameters": value}).encode()
        yield case(f"setting-load-parameters-{kind}", "B5", post("/v2/repository/models/floats/load", content))
        content = json.dumps(value).encode()
        yield case(f"setting-index-{kind}", "B5", post("/v2/repository/index", content))
        if value is not True:
            content = json.dumps({"ready": value}).encode()
            yield case(f"setting-index-ready-{kind}", "B5", post("/v2/repository/index", content))
            content = json.dumps({"parameters": {"unload_dependents": value}}).encode()
            yield case(f"setting-unload-{kind}", "B5", post("/v2/repository/models/floats/unload", content))


def _feedback() -> Iterator[Case]:
    path = "/v2/models/floats/feedback"
    token = "AAAA~AAAA"
    for name, body in {
        "nothing": b"",
        "list": b"[]",
        "no_token": b"{}",
        "number": b'{"assignment":1,"reward":1}',
        "forged": json.dumps({"assignment": token, "reward": 1}).encode(),
        "long_token": json.dumps({"assignment": "a" * 500_000, "reward": 1}).encode(),
        "marked_token": json.dumps({"assignment": MARK, "reward": 1}).encode(),
        "marked_member": json.dumps({"assignment": token, MARK: 1}).encode(),
        "nan": b'{"assignment":"a","reward":NaN}',
        "large": json.dumps({"assignment": token, "reward": 1e308}).encode(),
        "both": json.dumps({"assignment": token, "reward": 1, "label": "a"}).encode(),
        "long_label": json.dumps({"assignment": token, "label": MARK * 10_000}).encode(),
        "too_many": json.dumps({"feedback": [{}] * 1001}).encode(),
        "deep": b"[" * 200_000,
        "deep_objects": b'{"a":' * 200_000,
        "deep_inside": b'{"feedback":[' + b"[" * 200_000,
        "not_utf_8": b'{"assignment":"\xff"}',
        "pickle": b"cos\nsystem\n.",
    }.items():
        yield case(f"feedback-{name}", "B36", post(path, body), {400, 413})
    yield case("feedback-too_large", "B9", post(path, b" " * (2 * 1024 * 1024)), {413})
    yield case("feedback-packed", "B32", post(path, text(), "Content-Encoding: gzip"), {415})
