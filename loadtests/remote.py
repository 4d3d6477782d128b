"""`python -m loadtests.remote`: what a hop costs: a model here, the same one behind a second gateway, and httpx alone.

One connection, one request at a time, so that each side waits for the other and the medians tell the work of all in the
line. The two gateways share one core. `passed on`: bodies go through as they came; `read`: tensors are read and written
again, as for a shadow or a watched output. `httpx`: a client of that library, straight to the model.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import httpx

from loadtests import machine
from loadtests.load import LoadFailed, Round, generator
from loadtests.measured import Measured, summary
from loadtests.processes import NotStarted, Server, end_with_the_run, gateway
from loadtests.requests import Target, build
from loadtests.subjects import input_of, prepare
from router.client import AdminClient
from router.errors import SerinError

MODEL = "tiny"
RENAMED = "again"
LOCAL, PASSED, READ, CLIENT = "local", "passed on", "read", "httpx"
UPSTREAM = "other"

Rounds = Sequence[Mapping[str, Measured]]


def routed(here: Server) -> None:
    """Both ways to the model there. A name of its own here keeps a body from being passed on."""
    admin = AdminClient.at(here.admin, "loadtests.remote")
    for model in (MODEL, RENAMED):
        admin.set_route(model, {"variants": [{"version": f"{UPSTREAM}#{MODEL}", "weight": 100}]})


async def by_httpx(url: str, body: bytes, seconds: float) -> Measured:
    """One request after another by httpx."""
    latencies: list[float] = []
    errors: dict[str, int] = {}
    begun = perf_counter()
    async with httpx.AsyncClient(trust_env=False) as client:
        while perf_counter() - begun < seconds:
            sent = perf_counter()
            answer = await client.post(url, content=body, headers={"content-type": "application/json"})
            latencies.append(perf_counter() - sent)
            if answer.status_code != 200:
                errors["status not 200"] = errors.get("status not 200", 0) + 1
    return summary(latencies, perf_counter() - begun, errors)


class Experiment:
    """Rounds on two gateways."""

    def __init__(self, there: Server, here: Server, cores: machine.Cores, folder: Path) -> None:
        self._there, self._here, self._cores = there, here, cores
        self._load = generator(folder)

    def round(self, seconds: float) -> dict[str, Measured]:
        """Each way for so long."""
        return {
            LOCAL: self._loaded(self._there, MODEL, seconds),
            PASSED: self._loaded(self._here, MODEL, seconds),
            READ: self._loaded(self._here, RENAMED, seconds),
            CLIENT: asyncio.run(by_httpx(self._there.http + Target(MODEL).path, self._body(), seconds)),
        }

    def _loaded(self, server: Server, model: str, seconds: float) -> Measured:
        requests = tuple(build(Target(model), input_of(MODEL), keys=[None] * 16))
        return self._load(server.address, Round(requests, 1, seconds, self._cores.client))

    def _body(self) -> bytes:
        [request] = build(Target(MODEL), input_of(MODEL))
        return request.partition(b"\r\n\r\n")[2]


def report(rounds: Rounds) -> dict[str, float]:
    """Print each way; its median latency as a multiple of the local one, median over the rounds."""
    ratios = {way: median(one[way].p50_ms / one[LOCAL].p50_ms for one in rounds) for way in rounds[0]}
    for way, ratio in ratios.items():
        p50 = median(one[way].p50_ms for one in rounds)
        print(f"  {way:10} p50 {p50:7.3f} ms, {ratio:6.2f} of local; failed {sum(one[way].failed for one in rounds)}")
    return ratios


def main() -> int:
    """0, 1 when a request failed, 2 when nothing could be measured."""
    options = parser().parse_args()
    end_with_the_run()
    cores = machine.share_cores(machine.usable_cores(), 1)
    try:
        with tempfile.TemporaryDirectory(prefix="serin-remote-") as name:
            folder = Path(name)
            prepare(MODEL, folder / "models")
            (folder / "none").mkdir()
            with gateway(folder / "models", folder / "there", cores=cores.server) as there:
                config = folder / "serin.toml"
                config.write_text(f'[upstreams.{UPSTREAM}]\nurl = "{there.http}"\n')
                more = {"config": config}
                with gateway(folder / "none", folder / "here", cores=cores.server, more=more) as here:
                    routed(here)
                    print(machine.facts()["load"])
                    experiment = Experiment(there, here, cores, folder)
                    rounds = [experiment.round(options.seconds) for _ in range(options.rounds)]
    except (NotStarted, LoadFailed, SerinError, httpx.HTTPError, subprocess.TimeoutExpired) as error:
        print(f"remote: {error}", file=sys.stderr)
        return 2
    report(rounds)
    return 1 if any(measured.failed for one in rounds for measured in one.values()) else 0


def parser() -> argparse.ArgumentParser:
    """The words after `python -m loadtests.remote`."""
    found = argparse.ArgumentParser(prog="loadtests.remote", description="What a hop to another server costs.")
    found.add_argument("--seconds", type=float, default=3.0, help="of each way in a round [3]")
    found.add_argument("--rounds", type=int, default=5, help="[5]")
    return found


if __name__ == "__main__":
    sys.exit(main())
