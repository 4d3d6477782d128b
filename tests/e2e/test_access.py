"""Keys and roles on the ports of a real gateway: who gets in, who does not, and what is written down."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.e2e.conftest import Running, clean_environment, eventually, gateway

ROW = {"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": [0.0] * 64}]}
INFER = "/v2/models/digits/infer"
SERVICE = "/inference.GRPCInferenceService/"


def new_key(file: Path, name: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "key", "new", "--keys-file", str(file), "--name", name, *words],
        env=clean_environment(), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout.strip()


class Keyed:
    """A gateway that asks for keys, and one key of each kind."""

    def __init__(self, running: Running, keys: dict[str, str], file: Path) -> None:
        self.running, self.keys, self.file = running, keys, file

    def ask(self, who: str, path: str, method: str = "GET", **how: object) -> httpx.Response:
        """To the admin port if the path begins with /api, else to the public one."""
        base = self.running.admin if path.startswith(("/api", "/healthz")) else self.running.http
        headers = {"Authorization": f"Bearer {self.keys[who]}"} if who else {}
        headers |= how.pop("headers", {})  # type: ignore[arg-type]
        return httpx.request(method, base + path, headers=headers, timeout=60, **how)  # type: ignore[arg-type]

    def call(self, who: str, method: str, request: object, answer: object) -> object:
        metadata = (("authorization", f"Bearer {self.keys[who]}"),) if who else ()
        with grpc.insecure_channel(self.running.seen["grpc"]) as channel:
            unary = channel.unary_unary(
                SERVICE + method,
                type(request).SerializeToString,
                answer.FromString,  # type: ignore[attr-defined]
            )
            return unary(request, metadata=metadata, timeout=60)

    def code(self, who: str, method: str, request: object, answer: object) -> grpc.StatusCode:
        """Of a call that succeeds, or pytest shows why it did not."""
        self.call(who, method, request, answer)
        return grpc.StatusCode.OK

    def refusal(self, who: str, method: str, request: object, answer: object) -> grpc.StatusCode:
        with pytest.raises(grpc.RpcError) as raised:
            self.call(who, method, request, answer)
        found: grpc.StatusCode = raised.value.code()
        return found


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    directory = tmp_path_factory.mktemp("keyed")
    file = directory / "keys.toml"
    keys = {
        "app": new_key(file, "app", "--role", "predict", "--model", "digits"),
        "other": new_key(file, "other", "--role", "predict", "--model", "churn"),
        "seer": new_key(file, "seer", "--role", "viewer"),
        "ci": new_key(file, "ci", "--role", "operator"),
        "boss": new_key(file, "boss", "--role", "admin"),
        "slow": new_key(file, "slow", "--role", "predict", "--rate", "0.01", "--burst", "2"),
    }
    flags = ("--keys-file", str(file), "--workers", "2")
    with gateway(directory, *flags, models=("digits",)) as running:
        yield Keyed(running, keys, file)


@pytest.mark.parametrize(
    ("who", "statuses"),
    [
        ("", (401, 401, 401, 401, 401, 401, 401)),
        ("app", (200, 200, 403, 403, 403, 403, 403)),
        ("other", (403, 403, 403, 403, 403, 403, 403)),
        ("seer", (403, 200, 200, 200, 403, 403, 403)),
        ("ci", (403, 200, 200, 200, 200, 200, 403)),
        ("boss", (200, 200, 200, 200, 200, 200, 200)),
    ],
)
def test_each_role_may_what_the_table_says(keyed: Keyed, who: str, statuses: tuple[int, ...]) -> None:
    answers = (
        keyed.ask(who, INFER, "POST", json=ROW),
        keyed.ask(who, "/v2/models/digits"),
        keyed.ask(who, "/metrics"),
        keyed.ask(who, "/api/v1/status"),
        keyed.ask(who, "/v2/repository/models/digits/load", "POST"),
        keyed.ask(who, "/api/v1/models/rescan", "POST"),
        keyed.ask(who, "/api/v1/keys"),
    )
    assert tuple(min(answer.status_code, 403 if answer.status_code > 401 else 401) if answer.status_code >= 400 else 200
                 for answer in answers) == statuses  # fmt: skip
    for answer in answers:
        if answer.status_code == 401:
            assert answer.headers["www-authenticate"] == 'Bearer realm="serin"'
            assert answer.json()["code"] == "UNAUTHENTICATED"


def test_probes_need_no_key(keyed: Keyed) -> None:
    paths = ("/v2/health/live", "/v2/health/ready", "/ping", "/", "/healthz")
    assert [keyed.ask("", path).status_code for path in paths] == [200] * len(paths)
    assert keyed.code("", "ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse) is grpc.StatusCode.OK


@pytest.mark.parametrize("path", [INFER, "/v1/models/digits:predict", "/invocations", "/v2/models/digits/feedback"])
def test_every_protocol_of_inference_asks_for_the_same(keyed: Keyed, path: str) -> None:
    body = ROW if path == INFER else {"instances": [[0.0] * 64]}
    assert keyed.ask("", path, "POST", json=body).status_code == 401
    assert keyed.ask("seer", path, "POST", json=body).status_code == 403
    assert keyed.ask("app", path, "POST", json=body).status_code in (200, 400)


def test_grpc_asks_for_the_same(keyed: Keyed) -> None:
    infer = pb.ModelInferRequest(model_name="digits", inputs=[{"name": "pixels", "datatype": "FP32", "shape": [1, 64]}])
    infer.raw_input_contents.append(bytes(256))
    asked = ("ModelInfer", infer, pb.ModelInferResponse)
    load = ("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="digits"), pb.RepositoryModelLoadResponse)
    assert keyed.refusal("", *asked) is grpc.StatusCode.UNAUTHENTICATED
    assert keyed.refusal("seer", *asked) is grpc.StatusCode.PERMISSION_DENIED
    assert keyed.refusal("other", *asked) is grpc.StatusCode.PERMISSION_DENIED
    assert keyed.code("app", *asked) is grpc.StatusCode.OK
    assert keyed.refusal("app", *load) is grpc.StatusCode.PERMISSION_DENIED
    assert keyed.code("ci", *load) is grpc.StatusCode.OK
    metadata = ("ModelMetadata", pb.ModelMetadataRequest(name="digits"), pb.ModelMetadataResponse)
    assert keyed.refusal("other", *metadata) is grpc.StatusCode.PERMISSION_DENIED
    assert keyed.code("app", *metadata) is grpc.StatusCode.OK
    statistics = ("ModelStatistics", pb.ModelStatisticsRequest(), pb.ModelStatisticsResponse)
    assert keyed.refusal("app", *statistics) is grpc.StatusCode.PERMISSION_DENIED
    assert keyed.code("seer", *statistics) is grpc.StatusCode.OK


def test_the_history_names_the_key_and_keeps_the_claim_beside_it(keyed: Keyed) -> None:
    claim = {"Serin-Actor": "somebody else"}
    document = {"variants": [{"version": 2, "weight": 100}]}
    assert keyed.ask("ci", "/api/v1/routes/digits", "PUT", json=document, headers=claim).status_code == 200
    for word in ("unload", "load"):
        done = keyed.ask("boss", f"/v2/repository/models/digits/versions/3/{word}", "POST", headers=claim)
        assert done.status_code == 200

    events = keyed.ask("seer", "/api/v1/events").json()["events"]

    route = [event for event in events if event["kind"].startswith("route.")][-1]
    assert (route["actor"], route["claimed"]) == ("ci", "somebody else")
    loads = [event for event in events if "load" in event["kind"]]
    assert loads[-1]["actor"] == "boss"
    assert "somebody else" not in {event["actor"] for event in events}


def test_a_rate_is_answered_with_429_and_when_to_come_again(keyed: Keyed) -> None:
    answers = [keyed.ask("slow", INFER, "POST", json=ROW) for _ in range(6)]
    late = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert len(late) >= 3
    assert int(late[0].headers["retry-after"]) > 0
    assert late[0].json()["code"] == "RESOURCE_EXHAUSTED"


def test_a_new_key_is_taken_up_and_one_that_is_taken_back_is_not_let_in(keyed: Keyed) -> None:
    keyed.keys["new"] = new_key(keyed.file, "new", "--role", "viewer")
    identity = keyed.keys["new"].split("_")[1]
    for path in ("/v2/models", "/api/v1/status"):
        eventually(lambda path=path: keyed.ask("new", path).status_code == 200)  # type: ignore[misc]

    with httpx.Client(base_url=keyed.running.http, headers={"X-API-Key": keyed.keys["new"]}) as kept:
        assert kept.get("/v2/models").status_code == 200
        command = [sys.executable, "-m", "service.cli", "key", "revoke", identity, "--keys-file", str(keyed.file)]
        subprocess.run(command, env=clean_environment(), capture_output=True, timeout=60, check=True)
        eventually(lambda: kept.get("/v2/models").status_code == 401)
    eventually(lambda: keyed.ask("new", "/api/v1/status").status_code == 401)


def test_an_event_stream_ends_when_its_key_is_taken_back(keyed: Keyed) -> None:
    key = new_key(keyed.file, "reader", "--role", "viewer")
    headers = {"X-API-Key": key}
    eventually(lambda: httpx.get(f"{keyed.running.admin}/api/v1/status", headers=headers).status_code == 200)
    with httpx.stream("GET", f"{keyed.running.admin}/api/v1/events/stream", headers=headers, timeout=40) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "retry: 1000"
        command = [sys.executable, "-m", "service.cli", "key", "revoke", key.split("_")[1]]
        subprocess.run(
            [*command, "--keys-file", str(keyed.file)],
            env=clean_environment(),
            capture_output=True,
            timeout=60,
            check=True,
        )
        eventually(lambda: httpx.get(f"{keyed.running.admin}/api/v1/status", headers=headers).status_code == 401)
        for word in ("unload", "load"):  # both are told as events
            done = keyed.ask("ci", f"/v2/repository/models/digits/versions/3/{word}", "POST")
            assert done.status_code == 200
        assert not [line for line in lines if line.startswith("data:")]


def test_who_is_turned_away_from_the_admin_port_is_counted(keyed: Keyed) -> None:
    def refused() -> float:
        page = httpx.get(f"{keyed.running.admin}/metrics", headers={"X-API-Key": keyed.keys["seer"]})
        name = 'serin_admin_refused_requests_total{reason="unauthorized"} '
        return sum(float(line.removeprefix(name)) for line in page.text.splitlines() if line.startswith(name))

    before = refused()
    assert httpx.get(f"{keyed.running.admin}/api/v1/status").status_code == 401
    assert refused() == before + 1


def test_a_file_that_is_wrong_changes_nothing_and_is_told(keyed: Keyed) -> None:
    good = keyed.file.read_text()
    keyed.file.write_text("nonsense")
    url = f"{keyed.running.admin}/metrics"
    headers = {"X-API-Key": keyed.keys["seer"]}
    eventually(lambda: "serin_api_keys_file_unusable 1.0" in httpx.get(url, headers=headers).text)
    assert keyed.ask("app", INFER, "POST", json=ROW).status_code == 200
    workers = keyed.running.workers()
    os.kill(workers[0], signal.SIGKILL)  # whoever takes its place has the old keys too
    eventually(lambda: len(set(keyed.running.workers()) - set(workers)) == 1)
    eventually(lambda: [keyed.ask("app", INFER, "POST", json=ROW).status_code for _ in range(8)] == [200] * 8)
    keyed.file.write_text(good)
    eventually(lambda: "serin_api_keys_file_unusable 0.0" in httpx.get(url, headers=headers).text)
    assert "the old keys stay" in keyed.running.log()


def test_commands_send_the_key_from_a_file_or_the_environment(keyed: Keyed, tmp_path: Path) -> None:
    file = tmp_path / "my.key"
    file.write_text(keyed.keys["boss"] + "\n")
    assert "a valid key is needed" in keyed.running.says("models", "list", expect=1)
    assert "digits" in keyed.running.serin("models", "list", "--api-key-file", str(file))
    (tmp_path / "row.json").write_text(json.dumps(ROW))
    command = [sys.executable, "-m", "service.cli", "infer", "digits", "--json", str(tmp_path / "row.json")]
    done = subprocess.run(
        [*command, "--url", keyed.running.http], env=clean_environment(SERIN_API_KEY=keyed.keys["boss"]),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (tmp_path / "bad.key").write_text("not a key\n")
    said = keyed.running.says("models", "list", "--api-key-file", str(tmp_path / "bad.key"), expect=2)
    assert "not a key" not in said


def test_no_key_is_in_the_state_the_log_the_answers_or_the_arguments(keyed: Keyed) -> None:
    secrets = [key.split("_", 2)[2] for key in keyed.keys.values()]
    assert min(map(len, secrets)) >= 20
    texts = [path.read_bytes() for path in keyed.running.state.rglob("*") if path.is_file()]
    texts.append(keyed.running.log().encode())
    texts.append(keyed.file.read_bytes())
    texts += [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (keyed.running.pid, *keyed.running.children())]
    texts += [
        keyed.ask("boss", path).content for path in ("/api/v1/keys", "/api/v1/status", "/api/v1/events", "/metrics")
    ]
    texts.append(keyed.ask("", "/v2/models", headers={"X-API-Key": secrets[0]}).content)
    for secret in secrets:
        parts = (secret.encode(), secret[:16].encode())
        assert not [text[:100] for text in texts if any(part in text for part in parts)]


def test_the_token_of_our_own_processes_cannot_be_guessed_and_a_key_is_none(keyed: Keyed) -> None:
    for headers in ({}, {"Serin-Token": ""}, {"Serin-Token": "x" * 43}, {"Serin-Token": keyed.keys["boss"]}):
        for path in ("/internal/v1/follow", "/internal/v1/inventory", "/internal/v1/supervise"):
            answer = httpx.post(keyed.running.admin + path, headers=headers, json={})
            assert answer.status_code == 401
        claimed = {**headers, "Serin-Actor": "boss"}
        assert httpx.get(f"{keyed.running.admin}/api/v1/status", headers=claimed).status_code == 401
    boss = {"X-API-Key": keyed.keys["boss"]}
    assert httpx.post(f"{keyed.running.admin}/internal/v1/supervise", headers=boss, json={}).status_code == 403


def refused(tmp_path: Path, *flags: str) -> str:
    """What a gateway says that does not start; its exit code is 2."""
    (tmp_path / "models").mkdir(exist_ok=True)
    ports = ("--http-port", "0", "--admin-port", "0", "--grpc-port", "0")
    fixed = ("--models", str(tmp_path / "models"), "--state", str(tmp_path / "state"), *ports)
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "serve", *fixed, *flags],
        env=clean_environment(), cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert not (tmp_path / "state").exists()
    return done.stderr


@pytest.mark.parametrize(
    ("flags", "way_out"),
    [
        (("--host", "0.0.0.0"), "insecure_open_models"),
        (("--host", "::"), "insecure_open_models"),
        (("--host", "0.0.0.0", "--insecure-open-admin"), "insecure_open_models"),
        (("--admin-host", "0.0.0.0"), "insecure_open_admin"),
        (("--host", "0.0.0.0", "--admin-host", "0.0.0.0", "--insecure-open-models"), "insecure_open_admin"),
        (("--host", "0.0.0.0", "--keys-file", "keys.toml", "--keys-for", "admin"), "insecure_open_models"),
    ],
)
def test_an_address_that_others_reach_is_refused_without_keys(
    tmp_path: Path, flags: tuple[str, ...], way_out: str
) -> None:
    new_key(tmp_path / "keys.toml", "ci", "--role", "operator")
    said = refused(tmp_path, *flags)
    assert said.count("\n") == 1
    assert way_out in said
    assert "keys_file" in said


@pytest.mark.parametrize(
    ("text", "why"), [(None, "No such file"), ("[[key]]", "missing required field"), ("x = [", "not valid TOML")]
)
def test_a_file_of_keys_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path, text: str | None, why: str) -> None:
    if text is not None:
        (tmp_path / "keys.toml").write_text(text)
    assert re.search(why, refused(tmp_path, "--keys-file", "keys.toml"))


def test_keys_for_operators_alone_leave_the_models_open_and_nothing_else(tmp_path: Path) -> None:
    key = new_key(tmp_path / "keys.toml", "ci", "--role", "operator")
    flags = ("--keys-file", str(tmp_path / "keys.toml"), "--keys-for", "admin", "--insecure-open-models")
    with gateway(tmp_path, "--host", "0.0.0.0", *flags, "--open-metrics", "--workers", "1") as running:
        assert httpx.post(running.http + INFER, json=ROW).status_code == 200
        assert httpx.get(f"{running.http}/metrics").status_code == 200
        load = f"{running.http}/v2/repository/models/digits/load"
        assert httpx.post(load).status_code == 401
        assert httpx.post(load, headers={"X-API-Key": key}, timeout=60).status_code == 200
        assert httpx.get(f"{running.admin}/api/v1/status").status_code == 401
        assert "NEEDS NO KEY" in running.log()


def test_a_page_of_somebody_else_unloads_nothing_where_nobody_is_asked(tmp_path: Path) -> None:
    with gateway(tmp_path, "--workers", "1", "--public-names", "localhost,127.0.0.1") as running:
        unload = f"{running.http}/v2/repository/models/digits/unload"
        for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example", "Origin": "http://evil.example"}):
            assert httpx.post(unload, headers=headers).status_code == 403
        assert httpx.post(running.http + INFER, json=ROW, headers={"Host": "evil.example"}).status_code == 403
        assert httpx.get(f"{running.http}/v2/models", headers={"Host": "evil.example"}).status_code == 403
        assert httpx.get(f"{running.http}/v2/health/live", headers={"Host": "10.0.0.7"}).status_code == 200
        assert httpx.post(running.http + INFER, json=ROW).status_code == 200
