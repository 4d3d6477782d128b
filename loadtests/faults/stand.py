"""Where an experiment takes place: a directory with models and state, and gateways that are started on it."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any, TypeVar

import httpx

from loadtests.faults.counting import MODEL, place
from loadtests.processes import Server, gateway
from loadtests.tour.scrape import Scrape

T = TypeVar("T")

COMMAND_SECONDS = 60.0
SETTLED_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Stand:
    """`models` and `state` of one experiment."""

    folder: Path

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @contextmanager
    def gateway(self, flags: Mapping[str, object] | None = None, *, workers: int = 2) -> Iterator["Gateway"]:
        """A gateway on these models and this state; `flags` as `{"max-queue": 8}`. Call it again to start again."""
        told: dict[str, object] = {"scan-interval-seconds": 0.2, "drain-delay-seconds": 0.1, "log-level": "info"}
        with gateway(self.models, self.state, workers=workers, more=told | dict(flags or {})) as server:
            yield Gateway(server, self.state)


@cache
def http() -> httpx.Client:
    """Making one reads all certificates there are, which would hold up the callers in this process."""
    kept = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(timeout=COMMAND_SECONDS, trust_env=False, verify=False, limits=kept)


@contextmanager
def stand(*versions: int) -> Iterator[Stand]:
    """A new directory with these versions of the model `count`, gone at the end. Traffic starts on the lowest."""
    with TemporaryDirectory(prefix="serin-faults-") as name:
        found = Stand(Path(name))
        found.models.mkdir()
        for version in versions or (1, 2):
            place(found.models, version)
        (found.models / MODEL / "model.toml").write_text(f"default_version = {min(versions or (1,))}\n")
        yield found


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway and what its admin API says."""

    server: Server
    state: Path

    @property
    def address(self) -> tuple[str, int]:
        return self.server.address

    @property
    def pid(self) -> int:
        return self.server.pid

    def signal(self, number: int) -> None:
        """Send a signal to the supervisor."""
        os.kill(self.pid, number)

    def exit_code(self, seconds: float) -> int:
        """Wait for the supervisor's end: its exit code, negative for a signal. Raises TimeoutError."""

        def ended() -> os.waitid_result | None:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)

        found = eventually(ended, seconds)
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def is_ready(self) -> bool:
        """Whether /v2/health/ready says so."""
        url = f"{self.server.http}/v2/health/ready"
        return http().get(url).status_code == 200

    def admin_answers(self) -> bool:
        """Whether there is a controller."""
        try:
            return bool(self.ask("/api/v1/routes"))
        except httpx.HTTPError:
            return False

    def ask(self, path: str) -> Any:
        """A document of the admin API. Raises httpx.HTTPError."""
        answer = http().get(f"{self.server.admin}{path}")
        answer.raise_for_status()
        return answer.json()

    def route(self, **weights: float) -> httpx.Response:
        """Set the route of `count` to these percentages, as `route(v1=90, v2=10)`."""
        variants = [{"version": int(name[1:]), "weight": weight} for name, weight in weights.items()]
        url = f"{self.server.admin}/api/v1/routes/{MODEL}"
        return http().put(url, json={"variants": variants})

    def rollout(self) -> dict[str, Any] | None:
        """The last rollout of `count`, if there was one. Raises httpx.HTTPError."""
        url = f"{self.server.admin}/api/v1/models/{MODEL}/rollout"
        answer = http().get(url)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        return dict(answer.json())

    def say(self, word: str, body: Mapping[str, Any]) -> httpx.Response:
        """Say a word to the rollout of `count`; "" begins one."""
        url = f"{self.server.admin}/api/v1/models/{MODEL}/rollout{f'/{word}' if word else ''}"
        return http().post(url, json=dict(body))

    def states(self) -> dict[int, str]:
        """The state of each version of `count`."""
        told = self.ask(f"/api/v1/models/{MODEL}")["versions"]
        return {one["version"]: one["state"] for one in told}

    def scrape(self) -> Scrape:
        """The metrics once nothing is in flight. Raises TimeoutError."""

        def still() -> Scrape | None:
            found = Scrape.of(self.server.http)
            return found if not found.total("serin_requests_in_flight") else None

        return eventually(still, SETTLED_SECONDS)


def eventually(check: Callable[[], T | None], seconds: float, every: float = 0.02) -> T:
    """The first true result of `check`; errors of a gateway that is not there are no answer. Raises TimeoutError."""
    until, last = monotonic() + seconds, ""
    while monotonic() < until:
        try:
            if found := check():
                return found
        except (httpx.HTTPError, OSError, LookupError) as error:
            last = repr(error)
        sleep(every)
    raise TimeoutError(f"not within {seconds:g} s {last}".rstrip())
