"""Two gateways behind haproxy, and behind nginx; each is restarted again and again, and nobody notices."""

import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from loadtests.faults.callers import Callers, Sent
from loadtests.faults.judging import failed, why, wrong
from loadtests.faults.outcome import Figure, Outcome, exactly, shown
from loadtests.faults.stand import Stand, eventually, stand
from loadtests.processes import started

ROW = "C5"
RESTARTS, LONG_RESTARTS, RATE = 2, 20, 150.0
PROXIES = ("haproxy", "nginx")
DRAIN_DELAY_SECONDS = 1.0

HAPROXY = """
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout check 2s
  retries 3
  option redispatch
frontend callers
  bind 127.0.0.1:{port}
  default_backend gateways
backend gateways
  option httpchk GET /v2/health/ready
  http-check expect status 200
  default-server check inter 100ms fall 1 rise 1
{servers}
"""
NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream gateways {{ {servers} }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://gateways; proxy_connect_timeout 2s; proxy_next_upstream error; }}
  }}
}}
"""


def run(long: bool) -> Outcome:
    """Each gateway restarts twice, or 20 times, behind each proxy that is installed."""
    restarts = LONG_RESTARTS if long else RESTARTS
    figures, notes = [], []
    for name in PROXIES:
        program = shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/bin")
        if program is None:
            notes.append(f"{name} is not installed: not tried")
            continue
        sent = restarted(name, program, restarts)
        figures += judged(name, sent)
        notes.append(f"failed behind {name}: {why(sent)}")
    return Outcome([shown("restarts of each gateway", restarts), *figures], notes)


def judged(name: str, sent: Sequence[Sent]) -> list[Figure]:
    """Behind one proxy."""
    return [
        shown(f"{name}: requests", len(sent)),
        exactly(f"{name}: failed", len(failed(sent))),
        exactly(f"{name}: wrong answers", len(wrong(sent))),
    ]


def restarted(name: str, program: str, restarts: int) -> list[Sent]:
    """What callers of the proxy got."""
    ports = free_ports(3)
    with ExitStack() as stack:
        stands = [stack.enter_context(stand(1)) for _ in range(2)]
        running = [stack.enter_context(ExitStack()) for _ in stands]
        for at, port, held in zip(stands, ports, running, strict=False):
            held.enter_context(at.gateway(flags(port), workers=1))
        stack.enter_context(proxy(name, program, stands[0].folder, ports))
        callers = stack.enter_context(Callers(("127.0.0.1", ports[2]), RATE, health=False))
        callers.wait(1.0)
        for _ in range(restarts):
            for number, held in enumerate(running):
                restart(held, stands[number], ports[number])
                callers.wait(1.0)
        return callers.stop()


def restart(held: ExitStack, at: Stand, port: int) -> None:
    """End one gateway with SIGTERM, and start it again on its port."""
    held.close()
    held.enter_context(at.gateway(flags(port), workers=1))


def flags(port: int) -> dict[str, object]:
    """As in production, but for the port."""
    return {"http-port": port, "drain-delay-seconds": DRAIN_DELAY_SECONDS, "drain-limit-seconds": 6, "grpc": "off"}


@contextmanager
def proxy(name: str, program: str, folder: Path, ports: Sequence[int]) -> Iterator[None]:
    """A proxy on the last port, in front of the others."""
    file, addresses = folder / f"{name}.conf", [f"127.0.0.1:{port}" for port in ports[:-1]]
    if name == "haproxy":
        servers = "\n".join(f"  server s{number} {address}" for number, address in enumerate(addresses))
        file.write_text(HAPROXY.format(port=ports[-1], servers=servers))
        command = [program, "-db", "-f", str(file)]
    else:
        servers = " ".join(f"server {address} max_fails=1 fail_timeout=1s;" for address in addresses)
        file.write_text(NGINX.format(port=ports[-1], servers=servers, folder=folder))
        command = [program, "-p", str(folder), "-c", str(file)]
    with TemporaryFile() as errors, started(command, None, errors):
        eventually(lambda: connects(ports[-1]) or None, 10.0)
        yield


def connects(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True


def free_ports(count: int) -> list[int]:
    """Ports that nobody had just now."""
    with ExitStack() as stack:
        bound = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in bound:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in bound]
