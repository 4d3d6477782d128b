"""No way around authentication: every protected path of every port, in every disguise, in both lanes and over gRPC."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from router.access import Need
from router.needs import ADMIN_PORT
from service.keyfile import Wish, add, make
from service.needs import GRPC_PORT, PUBLIC_PORT
from tests.e2e.conftest import Running, gateway
from tests.hostile.disguises import Keys, Target, behind_a_good_one, request, ways
from tests.unit.service.runtime.tiny import FLOAT, identity, place

SECONDS = 20.0
FILLED = {
    "{model}": "floats", "{version}": "1", "{label}": "stable", "{move}": "abort", "{identity}": "floats-1",
    "{rest:path}": "status",
}  # fmt: skip
WAYS = ways()
LEAST_WAYS = 23

LESSER = {
    Need.ANY: "nobody", Need.PREDICT: "viewer", Need.FEEDBACK: "viewer", Need.LOOK: "foreign", Need.LIST: "foreign",
    Need.METRICS: "caller", Need.VIEWER: "caller", Need.OPERATOR: "viewer", Need.ADMIN: "operator",
    Need.INTERNAL: "good",
}  # fmt: skip
"""Whose key is good for something else than this."""


def filled(template: str) -> str:
    for name, value in FILLED.items():
        template = template.replace(name, value)
    return template


def targets(table: Any) -> list[Target]:
    return [
        Target(method, filled(template), need)
        for template, needs in table.items()
        for method, need in needs.items()
        if need is not Need.OPEN
    ]


@dataclass(frozen=True, slots=True)
class Doors:
    """A gateway whose fast lane is in use, one where uvicorn's way is, and the keys of both."""

    lane: Running
    plain: Running
    keys: Keys
    named: dict[str, str]

    def port(self, door: str) -> int:
        running = self.plain if door == "plain" else self.lane
        return int((running.admin if door == "admin" else running.http).rpartition(":")[2])


def table_of(door: str) -> Any:
    return ADMIN_PORT if door == "admin" else PUBLIC_PORT


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    directory = tmp_path_factory.mktemp("doors")
    file = directory / "keys.toml"
    named = {
        "good": new(file, "admin"),
        "operator": new(file, "operator"),
        "viewer": new(file, "viewer"),
        "caller": new(file, "predict"),
        "foreign": new(file, "predict", models=("others",)),
        "expired": new(file, "admin", expires=datetime(2020, 1, 1, tzinfo=UTC)),
        "nobody": make().key,
        "revoked": make().key,
    }
    keys = Keys(named["good"], {need: named[name] for need, name in LESSER.items()}, named["expired"], named["revoked"])
    with ExitStack() as stack:
        started = []
        for name, flags in (("lane", ()), ("plain", ("--access-log",))):
            place(directory / name / "models", "floats", 1, identity(FLOAT, ("N", "M")))
            fixed = ("--workers", "1", "--keys-file", str(file), "--log-level", "warning")
            started.append(stack.enter_context(gateway(directory / name, *fixed, *flags)))
        yield Doors(started[0], started[1], keys, named)


def new(file: Path, role: str, **more: Any) -> str:
    made = make()
    add(file, made, Wish(role, (role,), **more))
    return made.key


def statuses(port: int, sent: bytes, wanted: int = 1) -> list[int]:
    """What comes back for these bytes: the status of each answer until so many are whole or the connection ends."""
    received, found = b"", list[int]()
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        connection.sendall(sent)
        while len(found) < wanted:
            try:
                chunk = connection.recv(65536)
            except ConnectionError:
                break
            if not chunk:
                break
            received += chunk
            while (line := received.partition(b"\r\n\r\n"))[1] and len(found) < wanted:
                head = line[0].lower()
                length = head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
                size = int(length or 0)
                bodyless = sent.startswith(b"HEAD")
                if not bodyless and len(line[2]) < size:
                    break
                found.append(int(head.split(b" ", 2)[1]))
                received = line[2] if bodyless else line[2][size:]
    return found


def test_there_are_enough_ways_and_enough_to_protect() -> None:
    assert len(WAYS) > 8 * LEAST_WAYS
    assert len(targets(PUBLIC_PORT)) > 40
    assert len(targets(ADMIN_PORT)) > 25


@pytest.mark.parametrize("door", ["lane", "plain", "admin"])
def test_with_its_key_each_path_answers(doors: Doors, door: str) -> None:
    """So that what is refused below is refused for want of a key."""
    for target in targets(table_of(door)):
        [status] = statuses(doors.port(door), request(target, f"Authorization: Bearer {doors.keys.good}"))
        expected = {403} if target.need is Need.INTERNAL else set(range(200, 600)) - {401, 403, 405}
        assert status in expected, (target, status)


@pytest.mark.parametrize("door", ["lane", pytest.param("plain", marks=pytest.mark.slow), "admin"])
@pytest.mark.parametrize("way", WAYS)
def test_no_disguise_gets_in(doors: Doors, door: str, way: str) -> None:
    port, passed = doors.port(door), []
    for target in targets(table_of(door)):
        found = statuses(port, WAYS[way](target, doors.keys))
        # A connection that is closed without a word lets nobody in; all that is answered is a refusal.
        if any(not (300 <= status < 500 or status in (501, 505)) for status in found):
            passed.append((target, found))
    assert not passed


@pytest.mark.parametrize("door", ["lane", "plain", "admin"])
def test_a_request_without_a_key_behind_a_good_one_gets_nothing(doors: Doors, door: str) -> None:
    good = "/api/v1/status" if door == "admin" else "/v2/models"
    for target in targets(table_of(door)):
        if target.method == "HEAD":
            continue
        first, *others = statuses(doors.port(door), behind_a_good_one(target, doors.keys, good), 2)
        assert first == 200
        assert others in ([401], []), target


@pytest.mark.parametrize("door", ["lane", "plain"])
def test_a_request_inside_the_body_of_a_good_one_is_none(doors: Doors, door: str) -> None:
    hidden = request(Target("GET", "/v2/models", Need.LIST))
    head = f"POST /v2/models/floats/infer HTTP/1.1\r\nHost: x\r\nX-API-Key: {doors.keys.good}\r\n"
    sent = f"{head}Content-Length: {len(hidden)}\r\n\r\n".encode() + hidden
    after = request(Target("GET", "/v2/models", Need.LIST))
    assert statuses(doors.port(door), sent + after, 2) == [400, 401]


Metadata = Callable[[Doors, Need], list[tuple[str, Any]]]
CALLS: dict[str, Metadata] = {
    "nothing": lambda doors, need: [],
    "empty": lambda doors, need: [("authorization", "")],
    "bearer": lambda doors, need: [("authorization", "Bearer")],
    "wrong": lambda doors, need: [("authorization", f"Bearer {make().key}")],
    "bare": lambda doors, need: [("authorization", doors.keys.good)],
    "longer": lambda doors, need: [("authorization", f"Bearer {doors.keys.good}A")],
    "shorter": lambda doors, need: [("authorization", f"Bearer {doors.keys.good[:-1]}")],
    "twice": lambda doors, need: [("authorization", f"Bearer {doors.keys.good}")] * 2,
    "wrong_then_good": lambda doors, need: [
        ("authorization", "Bearer x"),
        ("authorization", f"Bearer {doors.keys.good}"),
    ],
    "both": lambda doors, need: [("authorization", f"Bearer {doors.keys.good}"), ("x-api-key", doors.keys.good)],
    "binary": lambda doors, need: [("authorization-bin", f"Bearer {doors.keys.good}".encode())],
    "binary_x": lambda doors, need: [("x-api-key-bin", doors.keys.good.encode())],
    "cookie": lambda doors, need: [("cookie", f"x-api-key={doors.keys.good}")],
    "basic": lambda doors, need: [("authorization", f"Basic {doors.keys.good}")],
    "user": lambda doors, need: [("x-forwarded-user", "admin"), ("serin-actor", "admin")],
    "token": lambda doors, need: [("serin-token", doors.keys.good)],
    "expired": lambda doors, need: [("authorization", f"Bearer {doors.keys.expired}")],
    "revoked": lambda doors, need: [("authorization", f"Bearer {doors.keys.revoked}")],
    "lesser": lambda doors, need: [("authorization", f"Bearer {doors.keys.lesser[need]}")],
    "lesser_x": lambda doors, need: [("x-api-key", doors.keys.lesser[need])],
    "path": lambda doors, need: [("x-original-url", "/grpc.health.v1.Health/Check")],
    "authority": lambda doors, need: [("x-forwarded-host", "localhost")],
    "long": lambda doors, need: [("authorization", f"Bearer {'A' * 20_000}")],
}
REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.RESOURCE_EXHAUSTED}
FLOATS = b"\x0a\x06floats"
"""The message of most methods: their first field is the name of a model."""


def code_of(channel: grpc.Channel, method: str, metadata: list[tuple[str, Any]]) -> grpc.StatusCode:
    """How a call ends; a stream sends one message."""
    called = channel.stream_stream(method)(iter([message(method)]), metadata=metadata, timeout=SECONDS)
    try:
        for _ in called:
            return grpc.StatusCode.OK
    except grpc.RpcError as error:
        return error.code()  # type: ignore[no-any-return]
    finally:
        called.cancel()
    return grpc.StatusCode.OK


def message(method: str) -> bytes:
    if method.endswith(("ModelInfer", "ModelStreamInfer", "Metadata", "Ready", "Config", "Statistics")):
        return b"" if "Server" in method else FLOATS
    return b"\x12\x06floats" if method.endswith(("ModelLoad", "ModelUnload")) else b""


@pytest.mark.parametrize("way", CALLS)
def test_no_call_gets_in_over_grpc(doors: Doors, way: str) -> None:
    passed = []
    with grpc.insecure_channel(doors.lane.seen["grpc"]) as channel:
        for method, need in GRPC_PORT.items():
            if need is Need.OPEN:
                continue
            code = code_of(channel, method, CALLS[way](doors, need))
            if code not in REFUSED:
                passed.append((method, code))
    assert not passed


def test_with_its_key_each_method_answers(doors: Doors) -> None:
    with grpc.insecure_channel(doors.lane.seen["grpc"]) as channel:
        for method in GRPC_PORT:
            code = code_of(channel, method, [("authorization", f"Bearer {doors.keys.good}")])
            assert code not in REFUSED, method


@pytest.mark.parametrize("form", ["/{0}", "{0}/", "{0}x", "{0};", "{0}%00", "{1}", "{2}", "//{0}", "{0}?x", "/./{0}"])
def test_another_spelling_of_a_method_is_another_method(doors: Doors, form: str) -> None:
    method = "/inference.GRPCInferenceService/ModelInfer"
    spelt = form.format(method, method.lower(), method.upper())
    with grpc.insecure_channel(doors.lane.seen["grpc"]) as channel:
        assert code_of(channel, spelt, []) in {*REFUSED, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL}


def test_after_all_of_them_the_workers_live_and_no_key_was_written_down(doors: Doors) -> None:
    for running in (doors.lane, doors.plain):
        assert "Traceback" not in running.log()
        assert len(running.workers()) == 1
        # What stands in a path is written down where requests are logged; what stands in a field never is.
        if running is doors.lane:
            assert doors.keys.good.split("_", 2)[2] not in running.log()
