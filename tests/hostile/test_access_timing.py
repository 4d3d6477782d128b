"""How long a refusal takes tells nothing of why (B31): an id that there is against one that there is not."""

import random
import socket
from pathlib import Path
from statistics import median
from time import perf_counter_ns

import pytest
from scipy.stats import mannwhitneyu

from service.keyfile import Wish, add, make
from tests.e2e.conftest import gateway

EACH = 5000
FEW_NS = 20_000


def ask(connection: socket.socket, sent: bytes) -> int:
    """Nanoseconds until the whole refusal is here."""
    begun = perf_counter_ns()
    connection.sendall(sent)
    received = b""
    while b"\r\n\r\n" not in received or not received.endswith(b"}"):
        received += connection.recv(65536)
    took = perf_counter_ns() - begun
    assert received.startswith(b"HTTP/1.1 401 ")
    return took


def request(path: str, method: str, key: str) -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {key}", "Content-Length: 0")
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "method"), [("/v2/models", "GET"), ("/v2/models/digits/infer", "POST")], ids=["asgi", "lane"]
)
def test_an_unknown_id_and_a_wrong_secret_take_the_same_time(tmp_path: Path, path: str, method: str) -> None:
    file, good = tmp_path / "keys.toml", make()
    add(file, good, Wish("ci", ("predict",)))
    for _ in range(200):
        add(file, make(), Wish("other", ("predict",)))
    known, unknown = f"serin_{good.id}_", f"serin_{make().id}_"
    rng, took = random.Random(1), {known: list[int](), unknown: list[int]()}
    order = [known, unknown] * EACH
    rng.shuffle(order)
    flags = ("--workers", "1", "--keys-file", str(file), "--log-level", "warning")
    with gateway(tmp_path, *flags, models=("digits/1",)) as running:
        port = int(running.http.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            for start in order[:500] + order:
                secret = "".join(rng.choices("abcdefghijklmnop", k=43))
                took[start].append(ask(connection, request(path, method, start + secret)))
    one, other = took[known][-EACH:], took[unknown][-EACH:]
    p_value = mannwhitneyu(one, other).pvalue
    apart = abs(median(one) - median(other))
    print(f"medians {median(one) / 1000:.1f} and {median(other) / 1000:.1f} us, p = {p_value:.3f}")
    assert p_value > 0.01 or apart < FEW_NS
