"""TLS and mutual TLS on all three ports of a whole gateway, with real clients, in both lanes; renewed while it runs."""

import errno
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from tests.e2e.authority import Authority
from tests.e2e.conftest import ROOT, Running, clean_environment, gateway
from tests.e2e.conftest import eventually as within
from tests.e2e.test_grpc import request

SAN = "127.0.0.1"
BODY = {"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": [0.0] * 64}]}
LANES = ("fast", "asgi")
eventually = partial(within, seconds=60)


class Site:
    """A gateway with mutual TLS everywhere, and who may come."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority.new(directory / "certs")
        self.server = self.authority.issue("server")
        self.shown = self.authority.issue("operator", "operator.test")
        self.client_ca = directory / "certs" / "clients.pem"
        self.client_ca.write_bytes(self.authority.file.read_bytes())

    def flags(self, *, mutual: bool = True) -> tuple[str, ...]:
        cert, key = map(str, self.server)
        client_ca = ("--tls-client-ca-file", str(self.client_ca)) if mutual else ()
        return ("--tls-cert-file", cert, "--tls-key-file", key, *client_ca)

    def words(self) -> tuple[str, ...]:
        """The flags of a command that trusts the gateway and shows a certificate."""
        config = self.authority.directory / "operator.toml"
        cert, key = map(str, self.shown)
        config.write_text(f'client_cert_file = "{cert}"\nclient_key_file = "{key}"\n')
        return ("--ca-file", str(self.authority.file), "--config", str(config))

    def context(self) -> ssl.SSLContext:
        return self.authority.client(self.shown)


@pytest.fixture(scope="module", params=LANES)
def secured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Running]]:
    directory = tmp_path_factory.mktemp(f"tls-{request.param}")
    site = Site(directory)
    lane = ("--access-log",) if request.param == "asgi" else ()
    with gateway(directory, *site.flags(), *lane) as running:
        yield site, running


def infer(url: str, context: ssl.SSLContext) -> httpx.Response:
    with httpx.Client(base_url=url, verify=context, timeout=20) as http:
        return http.post("/v2/models/digits/infer", json=BODY)


def authority_of(url: str) -> tuple[str, int]:
    host, _, port = url.rpartition("/")[2].rpartition(":")
    return host, int(port)


def address_of(running: Running, port: str) -> tuple[str, int]:
    return authority_of({"http": running.http, "admin": running.admin, "grpc": running.seen["grpc"]}[port])


def grpc_version(site: Site, running: Running, shown: tuple[Path, Path] | None = None) -> str:
    pair = [path.read_bytes() for path in shown or site.shown]
    credentials = grpc.ssl_channel_credentials(site.authority.file.read_bytes(), pair[1], pair[0])
    with grpc.secure_channel(running.seen["grpc"], credentials, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        return str(GRPCInferenceServiceStub(channel).ModelInfer(request(), timeout=20).model_version)


def test_every_port_answers_a_client_that_is_known(secured: tuple[Site, Running]) -> None:
    site, running = secured
    assert running.http.startswith("https://")
    assert running.admin.startswith("https://")
    for _ in range(20):
        answer = infer(running.http, site.context())
        assert answer.json()["outputs"][0]["shape"] == [1]
    with httpx.Client(base_url=running.admin, verify=site.context()) as admin:
        assert admin.get("/api/v1/status").json()["workers"]
    assert grpc_version(site, running) == "1"


def test_commands_work_with_mutual_tls(secured: tuple[Site, Running]) -> None:
    site, running = secured
    assert "listening" in running.serin("status", "--json", *site.words())
    running.serin("route", "set", "digits", "1=100", *site.words())
    file = running.state / "one.json"
    file.write_text(str([[0.0] * 64]))
    asked = [sys.executable, "-m", "service.cli", "infer", "digits", "--json", str(file), "--url", running.http]
    done = subprocess.run([*asked, *site.words()], env=clean_environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "digits:1" in done.stdout


def test_a_probe_that_is_a_command_knows_whether_it_is_ready(secured: tuple[Site, Running]) -> None:
    site, running = secured

    def said(*words: str) -> int:
        command = [sys.executable, "-m", "service.cli", "ready", "--url", running.http, *words]
        return subprocess.run(command, env=clean_environment(), capture_output=True, timeout=60).returncode

    assert said(*site.words()) == 0
    assert said("--ca-file", str(site.authority.file)) == 2


def test_commands_say_what_is_wrong_with_certificates(secured: tuple[Site, Running], tmp_path: Path) -> None:
    site, running = secured
    stranger = Authority.new(tmp_path / "other")
    assert "is not trusted" in running.says("status", "--ca-file", str(stranger.file), expect=2)
    assert "client certificate" in running.says("status", "--ca-file", str(site.authority.file), expect=2)
    missing = running.says("status", "--ca-file", str(tmp_path / "none.pem"), expect=2)
    assert missing == f"serin: --ca-file: {tmp_path}/none.pem: cannot be read\n"


def test_curl_and_triton_clients_are_answered(secured: tuple[Site, Running]) -> None:
    site, running = secured
    cert, key = map(str, site.shown)
    curl = ["curl", "-sS", "--cacert", str(site.authority.file), "--cert", cert, "--key", key]
    done = subprocess.run([*curl, f"{running.http}/v2/health/ready", "-w", "%{http_code}"], capture_output=True)
    assert done.stdout.endswith(b"200"), done.stderr
    options = {"keyfile": key, "certfile": cert, "ca_certs": str(site.authority.file)}
    client = tritonclient.http.InferenceServerClient(
        running.http.removeprefix("https://"), ssl=True, ssl_options=options, insecure=False
    )
    try:
        tensor = tritonclient.http.InferInput("pixels", [1, 64], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 64), np.float32))
        assert client.infer("digits", [tensor]).get_response()["model_version"] == "1"
    finally:
        client.close()
    names = {"root_certificates": str(site.authority.file), "certificate_chain": cert, "private_key": key}
    with tritonclient.grpc.InferenceServerClient(running.seen["grpc"], ssl=True, **names) as over_grpc:
        assert over_grpc.is_server_ready()


@pytest.mark.parametrize("port", ["http", "admin", "grpc"])
@pytest.mark.parametrize("who", ["nobody", "stranger", "expired"])
def test_who_is_not_known_is_refused(secured: tuple[Site, Running], tmp_path: Path, port: str, who: str) -> None:
    site, running = secured
    strangers = Authority.new(tmp_path / "other", "strangers")
    shown = {
        "nobody": None,
        "stranger": strangers.issue("mallory", "operator.test"),
        "expired": site.authority.issue("late", "operator.test", days=-1),
    }[who]
    if port == "grpc":
        pair = (None, None) if shown is None else tuple(path.read_bytes() for path in reversed(shown))
        credentials = grpc.ssl_channel_credentials(site.authority.file.read_bytes(), *pair)
        with grpc.secure_channel(running.seen["grpc"], credentials) as channel, pytest.raises(grpc.RpcError) as refused:
            GRPCInferenceServiceStub(channel).ModelInfer(request(), timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        return
    url = running.http if port == "http" else running.admin
    with pytest.raises(httpx.TransportError, match=r"(?i)certificate|unknown ca|ssl|disconnected|reset"):
        httpx.get(f"{url}/metrics", verify=site.authority.client(shown))


@pytest.mark.parametrize("port", ["http", "admin", "grpc"])
def test_the_gateway_is_refused_by_who_does_not_trust_it(
    secured: tuple[Site, Running], tmp_path: Path, port: str
) -> None:
    site, running = secured
    strangers = Authority.new(tmp_path / "other")
    for context, name in ((strangers.client(site.shown), SAN), (site.context(), "other.test")):
        with (
            socket.create_connection(address_of(running, port), 5) as plain,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            context.wrap_socket(plain, server_hostname=name)


@pytest.mark.parametrize("port", ["http", "admin", "grpc"])
def test_old_tls_is_refused(secured: tuple[Site, Running], port: str) -> None:
    site, running = secured
    context = site.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    plain = socket.create_connection(address_of(running, port), 5)
    with plain, pytest.raises(OSError, match=r"(?i)alert|version|reset|eof"):
        context.wrap_socket(plain, server_hostname=SAN)


NONSENSE = {
    "plain HTTP": b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n",
    "zeros": bytes(4096),
    "noise": bytes(range(256)) * 64,
    "half a hello": bytes.fromhex("16030100ff010000fb0303") + bytes(20),
    "nothing": b"",
}


@pytest.mark.parametrize("port", ["http", "admin", "grpc"])
def test_what_is_not_tls_is_closed_without_a_word_in_the_log(secured: tuple[Site, Running], port: str) -> None:
    site, running = secured
    address = address_of(running, port)
    workers, before = running.workers(), len(running.log())
    for sent in NONSENSE.values():
        with socket.create_connection(address, 5) as raw:
            raw.settimeout(15)
            try:  # it may have been closed before all is sent
                raw.sendall(sent)
                raw.shutdown(socket.SHUT_WR)
                answer = raw.recv(65536)
            except (BrokenPipeError, ConnectionResetError):
                answer = b""
            except OSError as error:
                if error.errno != errno.ENOTCONN:
                    raise
                answer = b""
            assert b"HTTP/1.1 200" not in answer
    assert infer(running.http, site.context()).status_code == 200
    assert running.workers() == workers
    told = running.log()[before:]
    assert '"level": "error"' not in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_handshakes_that_do_not_end_hold_up_nobody(secured: tuple[Site, Running]) -> None:
    """More than may wait at once: the oldest go, good ones are served, and in the end all are closed."""
    site, running = secured
    held = [socket.create_connection(authority_of(running.http), 5) for _ in range(600)]
    others = [socket.create_connection(address_of(running, port), 5) for port in ("admin", "grpc")]
    try:
        for _ in range(5):
            assert infer(running.http, site.context()).status_code == 200
        assert sum(1 for one in held if _is_closed(one)) >= 600 - 2 * 256
        eventually(lambda: all(_is_closed(one) for one in (*held, *others)))
    finally:
        for one in (*held, *others):
            one.close()


def _is_closed(raw: socket.socket) -> bool:
    raw.setblocking(False)
    try:
        return raw.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def serial(address: str, context: ssl.SSLContext) -> bytes:
    """The certificate that a new connection is shown."""
    plain = socket.create_connection(authority_of(address), 5)
    with plain, context.wrap_socket(plain, server_hostname=SAN) as secure:
        return secure.getpeercert(binary_form=True) or b""


def gauge(site: Site, url: str, name: str) -> list[float]:
    page = httpx.get(f"{url}/metrics", verify=site.context()).text
    return [float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(name + "{")]


def test_a_certificate_is_renewed_while_it_runs_and_a_bad_one_is_not(secured: tuple[Site, Running]) -> None:
    site, running = secured
    addresses = (running.http, running.admin, running.seen["grpc"])
    shown = {address: serial(address, site.context()) for address in addresses}
    with httpx.Client(base_url=running.http, verify=site.context()) as kept:
        assert kept.get("/v2/health/live").status_code == 200
        good = site.server[1].read_bytes()
        site.server[1].write_text("not a key")
        for url in (running.http, running.admin):
            eventually(lambda url=url: gauge(site, url, "serin_tls_reload_failed") == [1.0])
        assert {address: serial(address, site.context()) for address in addresses} == shown
        dead = running.workers()[0]
        os.kill(dead, 9)
        os.kill(running.child("service.control"), 9)
        eventually(lambda: dead not in running.workers() and len(running.workers()) == 2)
        for url in (running.http, running.admin):  # whoever took their place shows the old one too
            eventually(lambda url=url: gauge(site, url, "serin_tls_reload_failed") == [1.0])
        assert {address: serial(address, site.context()) for address in addresses} == shown
        assert grpc_version(site, running) == "1"
        site.server[1].write_bytes(good)
        for url in (running.http, running.admin):
            eventually(lambda url=url: gauge(site, url, "serin_tls_reload_failed") == [0.0])
        site.authority.issue("server", days=90)
        for address in addresses:
            eventually(lambda address=address: serial(address, site.context()) != shown[address])
        assert kept.get("/v2/health/live").status_code == 200
    assert grpc_version(site, running) == "1"
    (expiry,) = gauge(site, running.admin, "serin_tls_certificate_expiry_timestamp_seconds")
    assert abs(expiry - time.time() - 90 * 86400) < 86400
    assert "the old one stays" in running.log()


def test_a_certificate_that_has_expired_is_told_of_refused_by_clients_and_renewed_without_a_restart(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    site.authority.issue("server", days=-1)
    with gateway(tmp_path, *site.flags()) as running:
        begun = running.all_children().keys()
        assert running.log().count("THE CERTIFICATE HAS EXPIRED") >= 2  # of the workers and of the controller
        for url in (running.http, running.admin):
            with pytest.raises(httpx.ConnectError, match="certificate has expired"):
                httpx.get(f"{url}/metrics", verify=site.context())
        with pytest.raises(grpc.RpcError) as refused:
            grpc_version(site, running)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "certificate has expired" in running.says("status", *site.words(), expect=2)
        site.authority.issue("server")
        for url in (running.http, running.admin):
            eventually(lambda url=url: httpx.get(f"{url}/metrics", verify=site.context()).status_code == 200)
        eventually(lambda: grpc_version(site, running) == "1")
        assert "listening" in running.serin("status", "--json", *site.words())
        assert running.all_children().keys() == begun


def test_the_cas_of_clients_are_renewed_too(secured: tuple[Site, Running], tmp_path: Path) -> None:
    site, running = secured
    others = Authority.new(tmp_path / "others")
    theirs = others.issue("newcomer", "operator.test")
    trusting = site.authority.client(theirs)
    before = site.authority.file.read_bytes()
    clients = site.client_ca

    def answers(shown: ssl.SSLContext, url: str) -> bool:
        try:
            return httpx.get(f"{url}/metrics", verify=shown).status_code == 200
        except httpx.TransportError:
            return False

    def grpc_answers(shown: tuple[Path, Path]) -> bool:
        try:
            return grpc_version(site, running, shown) == "1"
        except grpc.RpcError:
            return False

    assert not answers(trusting, running.http)
    try:
        clients.write_bytes(others.file.read_bytes())
        for url in (running.http, running.admin):
            eventually(lambda url=url: answers(trusting, url) and not answers(site.context(), url))
        eventually(lambda: grpc_answers(theirs) and not grpc_answers(site.shown))
    finally:
        clients.write_bytes(before)
    for url in (running.http, running.admin):
        eventually(lambda url=url: answers(site.context(), url) and not answers(trusting, url))
    eventually(lambda: grpc_answers(site.shown))


def test_workers_are_replaced_and_models_loaded_by_callers_although_the_admin_port_asks_for_certificates(
    secured: tuple[Site, Running],
) -> None:
    site, running = secured
    first = running.workers()[0]
    os.kill(first, 9)
    eventually(lambda: len(running.workers()) == 2 and first not in running.workers())
    with httpx.Client(base_url=running.http, verify=site.context(), timeout=60) as http:
        assert eventually(lambda: http.post("/v2/repository/models/digits/load").status_code == 200)
    status = running.serin("status", "--json", *site.words())
    assert '"applied"' in status


def test_the_listener_of_our_own_processes_gives_others_nothing(secured: tuple[Site, Running]) -> None:
    _, running = secured
    port = next(port for port in listening_ports(running.pid) if _speaks_plain_http(port))
    for path in ("/api/v1/status", "/metrics", "/healthz", "/internal/v1/follow", "/api/v1/models/digits/load"):
        for method in ("GET", "POST"):
            answer = httpx.request(method, f"http://127.0.0.1:{port}{path}", headers={"Serin-Token": "x"})
            assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")


def _speaks_plain_http(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=3).status_code == 401
    except httpx.TransportError:
        return False


def listening_ports(pid: int) -> list[int]:
    """TCP ports of the sockets that a process holds and that listen."""
    held = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return [int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in held]


def test_the_drain_answers_what_is_in_flight(tmp_path: Path) -> None:
    site = Site(tmp_path)
    found: list[int] = []
    with gateway(tmp_path, *site.flags(), faults="digits:* slow=0.5") as running:
        asking = threading.Thread(target=lambda: found.append(infer(running.http, site.context()).status_code))
        asking.start()
        time.sleep(0.25)
        assert running.stop() == 0
        asking.join(20)
    assert found == [200]


def test_a_start_with_files_that_do_not_belong_together_is_refused_in_one_line(tmp_path: Path) -> None:
    site = Site(tmp_path)
    other = site.authority.issue("other")
    (tmp_path / "models").mkdir()
    flags = ("--tls-cert-file", str(site.server[0]), "--tls-key-file", str(other[1]))
    command = [sys.executable, "-m", "service.cli", "serve", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=tmp_path, env=clean_environment())
    assert done.returncode == 2
    line = f"serin: --tls-key-file: {other[1]}: is not the key of the certificate in {site.server[0]}\n"
    assert (done.stdout, done.stderr) == ("", line)


def test_beside_the_gateway_its_own_certificate_is_trusted_and_no_other(tmp_path: Path) -> None:
    site = Site(tmp_path)
    named = site.authority.issue("named", "gateway.test")  # not the address that commands use
    site.server = named
    with gateway(tmp_path, *site.flags(mutual=False)) as running:
        ports = {"SERIN_HTTP_PORT": running.http, "SERIN_ADMIN_PORT": running.admin}
        settings = {name: url.rpartition(":")[2] for name, url in ports.items()}

        def said(cert: tuple[Path, Path], *words: str) -> tuple[int, str]:
            files = {"SERIN_TLS_CERT_FILE": str(cert[0]), "SERIN_TLS_KEY_FILE": str(cert[1])}
            command = [sys.executable, "-m", "service.cli", *words]
            environment = clean_environment(**settings, **files)
            done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
            return done.returncode, done.stdout + done.stderr

        assert said(named, "ready") == (0, "ready\n")
        assert said(named, "status")[0] == 0
        code, words = said(site.authority.issue("other", "gateway.test"), "ready")
        assert (code, "is not trusted" in words) == (2, True)
        check = json.loads(re.search(r"CMD (\[.*\])", (ROOT / "Dockerfile").read_text())[1])  # type: ignore[index]
        for cert, expected in ({"SERIN_TLS_CERT_FILE": "x"}, 0), ({}, 1):
            environment = clean_environment(SERIN_HTTP_PORT=settings["SERIN_HTTP_PORT"], **cert)
            done = subprocess.run([sys.executable, *check[1:]], env=environment, capture_output=True, timeout=60)
            assert done.returncode == expected
