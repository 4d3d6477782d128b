"""Ways around authentication (B10): how a request to a protected path may be dressed up by who has no key for it."""

import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from router.access import Need

OPEN_PATH = "/v2/health/live"
LONG = 60_000


@dataclass(frozen=True, slots=True)
class Keys:
    """`good` opens everything. The others open nothing of what they are sent to: `lesser` is of a role below, `foreign`
    for another model, `expired` and `revoked` were of the role `admin`."""

    good: str
    lesser: dict[Need, str]
    expired: str
    revoked: str


@dataclass(frozen=True, slots=True)
class Target:
    """A protected route, with a path that leads to it."""

    method: str
    path: str
    need: Need

    @property
    def body(self) -> bytes:
        return b"{}" if self.method in ("POST", "PUT", "PATCH") else b""


Disguise = Callable[[Target, Keys], bytes]


def request(target: Target, *fields: str, **other: str) -> bytes:
    """A request that the path would answer if it came with a key; `method`, `path`, `version`, `host` may be others."""
    method, path = other.get("method", target.method), other.get("path", target.path)
    lines = [f"{method} {path} {other.get('version', 'HTTP/1.1')}", *fields]
    if "host" not in other:
        lines.insert(1, "Host: localhost")
    elif other["host"]:
        lines.insert(1, f"Host: {other['host']}")
    if target.body:
        lines.append(f"Content-Length: {len(target.body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + target.body


def ways() -> dict[str, Disguise]:
    """Every disguise by its name."""
    found: dict[str, Disguise] = {}
    for part in (_methods, _paths, _fields, _hosts, _credentials, _framings):
        for name, way in part():
            assert name not in found, name
            found[name] = way
    return found


def _methods() -> Iterator[tuple[str, Disguise]]:
    yield "plain", lambda target, keys: request(target)
    yield "method_lower", lambda target, keys: request(target, method=target.method.lower())
    yield "method_mixed", lambda target, keys: request(target, method=target.method.capitalize())
    for method in ("HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "GET", "POST", "PUT", "PATCH", "DELETE"):
        yield f"method_{method}_", lambda target, keys, m=method: request(target, method=m)  # type: ignore[misc]
    for field in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        for sent in ("GET", "POST", "HEAD"):
            yield (
                f"override_{field}_{sent}",
                lambda target, keys, f=field, m=sent: request(target, f"{f}: {target.method}", method=m),  # type: ignore[misc]
            )
    yield "override_query", lambda t, keys: request(t, method="POST", path=f"{t.path}?_method={t.method}")


def _paths() -> Iterator[tuple[str, Disguise]]:
    forms: dict[str, Callable[[str], str]] = {
        "upper": str.upper,
        "title": str.title,
        "one_letter_up": lambda path: path[:1] + path[1:].capitalize(),
        "letter_encoded": lambda path: f"/%{ord(path[1]):02x}{path[2:]}" if len(path) > 1 else "/%2f",
        "all_encoded": lambda path: "/" + "".join(f"%{ord(c):02X}" for c in path[1:]),
        "slashes_encoded": lambda path: "/" + path[1:].replace("/", "%2f"),
        "twice_encoded": lambda path: "/" + path[1:].replace("/", "%252f"),
        "letter_twice_encoded": lambda path: f"/%25{ord(path[1]):02x}{path[2:]}",
        "overlong_slash": lambda path: "/" + path[1:].replace("/", "%c0%af"),
        "fullwidth": lambda path: f"/%ef%bd%{0x61 + ord(path[1]) % 26:02x}{path[2:]}",
        "dot": lambda path: f"/.{path}",
        "dots": lambda path: f"/x/..{path}",
        "dots_from_open": lambda path: f"{OPEN_PATH}/../../..{path}",
        "dots_encoded": lambda path: f"/x/%2e%2e{path}",
        "dots_twice_encoded": lambda path: f"/x/%252e%252e{path}",
        "dots_behind": lambda path: f"{path}/x/..",
        "dot_behind": lambda path: f"{path}/.",
        "open_behind": lambda path: f"{path}/..{OPEN_PATH}",
        "semicolon": lambda path: f"{path};",
        "semicolon_session": lambda path: f"{path};jsessionid=1",
        "semicolon_before": lambda path: f"/;{path}",
        "semicolon_dots": lambda path: f"/..;{path}",
        "semicolon_open": lambda path: f"{OPEN_PATH};/../../..{path}",
        "slash_behind": lambda path: f"{path}/",
        "slashes_behind": lambda path: f"{path}//",
        "slashes_before": lambda path: f"/{path}",
        "slashes_within": lambda path: path.replace("/", "//"),
        "slash_encoded_behind": lambda path: f"{path}%2f",
        "null_behind": lambda path: f"{path}%00",
        "null_and_open": lambda path: f"{path}%00{OPEN_PATH}",
        "newline_behind": lambda path: f"{path}%0a",
        "return_behind": lambda path: f"{path}%0d%0a",
        "space_behind": lambda path: f"{path}%20",
        "tab_behind": lambda path: f"{path}%09",
        "hash_behind": lambda path: f"{path}%23",
        "question_encoded": lambda path: f"{path}%3f",
        "dot_json": lambda path: f"{path}.json",
        "dot_css": lambda path: f"{path}/x.css",
        "tilde": lambda path: f"{path}~",
        "query": lambda path: f"{path}?",
        "query_open": lambda path: f"{path}?{OPEN_PATH}",
        "query_path": lambda path: f"{OPEN_PATH}x?path={path}",
        "fragment": lambda path: f"{path}#{OPEN_PATH}",
        "backslash_before": lambda path: f"/\\{path[1:]}",
        "backslashes": lambda path: path.replace("/", "\\"),
        "backslash_encoded": lambda path: f"/%5c..{path}",
        "backslash_dots": lambda path: f"{OPEN_PATH}\\..\\..\\..{path}",
        "absolute": lambda path: f"http://localhost{path}",
        "absolute_other": lambda path: f"http://127.0.0.1:1{path}",
        "absolute_userinfo": lambda path: f"http://admin:admin@localhost{path}",
        "absolute_open_host": lambda path: f"http://localhost{OPEN_PATH}@x{path}",
        "absolute_https": lambda path: f"https://localhost{path}",
        "without_slash": lambda path: path[1:],
        "star": lambda path: "*",
    }  # fmt: skip
    for name, form in forms.items():
        yield f"path_{name}", lambda target, keys, f=form: request(target, path=f(target.path))  # type: ignore[misc]


def _fields() -> Iterator[tuple[str, Disguise]]:
    names = (
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Forwarded-Uri",
        "X-Forwarded-Path",
        "X-Original-URI",
        "X-Script-Name",
    )
    for name in names:
        yield f"{name}_open", lambda target, keys, n=name: request(target, f"{n}: {OPEN_PATH}")  # type: ignore[misc]
        yield (
            f"{name}_protected",
            lambda target, keys, n=name: request(target, f"{n}: {target.path}", path="/nothing"),  # type: ignore[misc]
        )
    trusted = {
        "X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "X-Client-IP": "127.0.0.1", "Client-IP": "127.0.0.1",
        "Forwarded": "for=127.0.0.1;host=localhost;proto=https", "X-Forwarded-Host": "localhost",
        "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": OPEN_PATH, "X-Forwarded-User": "admin",
        "X-Remote-User": "admin", "Remote-User": "admin", "X-Authenticated-User": "admin", "X-User-Role": "admin",
        "Serin-Actor": "good", "Serin-Token": "x" * 43, "Via": "1.1 localhost", "X-Internal": "true",
        "Origin": "http://localhost", "Referer": "http://localhost/", "X-Serin-Role": "admin",
    }  # fmt: skip
    for name, value in trusted.items():
        yield f"trusted_{name}", lambda t, keys, n=name, v=value: request(t, f"{n}: {v}")  # type: ignore[misc]


def _hosts() -> Iterator[tuple[str, Disguise]]:
    hosts = (
        "a?",
        "a#",
        f"localhost{OPEN_PATH}?",
        "localhost/..",
        "127.0.0.1@localhost",
        "[::1]",
        "localhost:0",
        "\\",
        "",
    )
    for number, host in enumerate(hosts):
        yield f"host_{number}", lambda target, keys, h=host: request(target, host=h)  # type: ignore[misc]
    yield "host_twice", lambda target, keys: request(target, "Host: 127.0.0.1")
    yield "http_1_0", lambda target, keys: request(target, version="HTTP/1.0", host="")
    yield "http_0_9", lambda target, keys: f"{target.method} {target.path}\r\n\r\n".encode()
    yield "http_2", lambda target, keys: request(target, version="HTTP/2.0")
    yield "h2_preface", lambda target, keys: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def _credentials() -> Iterator[tuple[str, Disguise]]:
    values: dict[str, Callable[[str], str]] = {
        "empty": lambda key: "",
        "bearer_alone": lambda key: "Bearer",
        "bearer_space": lambda key: "Bearer ",
        "bearer_null": lambda key: "Bearer null",
        "bearer_star": lambda key: "Bearer *",
        "null_byte": lambda key: "Bearer \0",
        "key_and_null": lambda key: f"Bearer {key}\0",
        "tab": lambda key: f"Bearer\t{key}",
        "two_spaces": lambda key: f"Bearer  {key}",
        "no_scheme": lambda key: key,
        "basic": lambda key: "Basic " + base64.b64encode(f"admin:{key}".encode()).decode(),
        "basic_key": lambda key: f"Basic {key}",
        "digest": lambda key: f'Digest username="admin", response="{key}"',
        "token": lambda key: f"Token {key}",
        "apikey": lambda key: f"ApiKey {key}",
        "quoted": lambda key: f'Bearer "{key}"',
        "listed": lambda key: f"Bearer {key}, Bearer {key}",
        "parameter": lambda key: f"Bearer token={key}",
        "prefix_of_key": lambda key: f"Bearer {key[:-1]}",
        "longer_key": lambda key: f"Bearer {key}A",
        "upper_key": lambda key: f"Bearer {key.upper()}",
        "swapped_case": lambda key: f"Bearer {key.swapcase()}",
        "reversed": lambda key: f"Bearer {key[::-1]}",
        "id_alone": lambda key: f"Bearer {key.rsplit('_', 1)[0]}",
        "id_and_other_secret": lambda key: f"Bearer serin_{key.split('_')[1]}_{'A' * 43}",
        "other_id": lambda key: f"Bearer serin_{'a' * 12}_{key.split('_', 2)[2]}",
        "hash_of_key": lambda key: f"Bearer {hashlib.sha256(key.encode()).hexdigest()}",
        "id_and_hash": lambda key: f"Bearer serin_{key.split('_')[1]}_{hashlib.sha256(key.encode()).hexdigest()}",
        "very_long": lambda key: f"Bearer {key}{'A' * LONG}",
        "long_scheme": lambda key: f"{'Bearer' * 1000} {key}",
        "fullwidth": lambda key: "Bearer ｓerin_".encode().decode("latin-1") + key[6:],
        "latin_nbsp": lambda key: f"Bearer\xa0{key}",
        "json": lambda key: f'Bearer {{"key":"{key}"}}',
        "injection": lambda key: "Bearer ' OR '1'='1",
        "none_algorithm": lambda key: "Bearer eyJhbGciOiJub25lIn0.eyJyb2xlIjoiYWRtaW4ifQ.",
    }  # fmt: skip
    for name, value in values.items():
        yield f"authorization_{name}", lambda t, k, v=value: request(t, f"Authorization: {v(k.good)}")  # type: ignore[misc]
    for name in (
        "empty",
        "bearer_null",
        "key_and_null",
        "prefix_of_key",
        "upper_key",
        "id_alone",
        "hash_of_key",
        "listed",
    ):
        bare = values[name]
        yield (
            f"x_api_key_{name}",
            lambda t, k, v=bare: request(t, f"X-API-Key: {v(k.good).removeprefix('Bearer ')}"),  # type: ignore[misc]
        )
    yield "x_api_key_bearer", lambda t, k: request(t, f"X-API-Key: Bearer {k.good}")
    wrong = f"Bearer serin_{'a' * 12}_{'A' * 43}"
    yield "wrong_then_good", lambda t, k: request(t, f"Authorization: {wrong}", f"Authorization: Bearer {k.good}")
    yield "good_then_wrong", lambda t, k: request(t, f"Authorization: Bearer {k.good}", f"Authorization: {wrong}")
    yield "good_twice", lambda t, k: request(t, *[f"Authorization: Bearer {k.good}"] * 2)
    yield "good_in_both", lambda t, k: request(t, f"Authorization: Bearer {k.good}", f"X-API-Key: {k.good}")
    yield "empty_then_good", lambda t, k: request(t, "X-API-Key:", f"Authorization: Bearer {k.good}")
    elsewhere = (
        "Proxy-Authorization: Bearer {}", "Cookie: authorization=Bearer {}", "Cookie: x-api-key={}", "X-Auth-Token: {}",
        "X_API_KEY: {}", "X-API-Keys: {}", "Api-Key: {}", "Authorization-: Bearer {}", "X-Authorization: Bearer {}",
        "Authorization : Bearer {}", "Sec-WebSocket-Protocol: bearer, {}", "Serin-Token: {}", "From: {}",
        "X-Pad: 1\r\n Authorization: Bearer {}", "WWW-Authenticate: Bearer {}",
    )  # fmt: skip
    for number, field in enumerate(elsewhere):
        yield f"key_elsewhere_{number}", lambda t, k, f=field: request(t, f.format(k.good))  # type: ignore[misc]
    for name in ("api_key", "key", "token", "access_token", "authorization", "x-api-key"):
        yield f"key_in_query_{name}", lambda t, k, n=name: request(t, path=f"{t.path}?{n}={k.good}")  # type: ignore[misc]
    yield "key_in_path", lambda t, k: request(t, path=f"/{k.good}{t.path}")
    yield "key_in_userinfo", lambda t, k: request(t, path=f"http://{k.good}@localhost{t.path}")
    yield "lesser_role", lambda t, k: request(t, f"Authorization: Bearer {k.lesser[t.need]}")
    yield "lesser_role_by_x_api_key", lambda t, k: request(t, f"X-API-Key: {k.lesser[t.need]}")
    yield "lesser_role_claims", lambda t, k: request(t, f"X-API-Key: {k.lesser[t.need]}", "Serin-Actor: admin")
    yield "expired", lambda t, k: request(t, f"Authorization: Bearer {k.expired}")
    yield "revoked", lambda t, k: request(t, f"Authorization: Bearer {k.revoked}")


def _framings() -> Iterator[tuple[str, Disguise]]:
    yield (
        "chunked",
        lambda t, k: request(Target(t.method, t.path, Need.OPEN), "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    )
    yield (
        "chunked_and_length",
        lambda t, k: request(t, "Transfer-Encoding: chunked", "Content-Length: 5") + b"0\r\n\r\n",
    )
    yield "trailer", _in_a_trailer
    yield (
        "upgrade_h2c",
        lambda t, k: request(t, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA"),
    )
    yield "upgrade_websocket", lambda t, k: request(
        t, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA=="
    )  # fmt: skip
    yield "expect", lambda t, k: request(t, "Expect: 100-continue")
    yield "spaces_before_the_path", lambda t, k: request(t, path=f"  {t.path}")
    yield "spaces_after_the_path", lambda t, k: request(t, path=f"{t.path}  ")
    yield "spaces_and_an_open_path", lambda t, k: request(t, path=f"{OPEN_PATH}  {t.path}")


def _in_a_trailer(target: Target, keys: Keys) -> bytes:
    bare = Target(target.method if target.body else "POST", target.path, target.need)
    head = request(bare, "Transfer-Encoding: chunked", "Trailer: Authorization").partition(b"Content-Length")[0]
    return head + f"\r\n0\r\nAuthorization: Bearer {keys.good}\r\n\r\n".encode()


def behind_a_good_one(target: Target, keys: Keys, good_path: str) -> bytes:
    """Two requests in one piece on one connection; the first has a key."""
    good = request(Target("GET", good_path, Need.OPEN), f"Authorization: Bearer {keys.good}")
    return good + request(target)
