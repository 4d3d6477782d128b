"""`python -m loadtests.raw`: how much of a model's own speed is left behind the gateway, for tensors of 600 kB.

One round of each, in turn, on the server's core: the model alone in a process of its own, its inputs ready
(`session.run`) or read from the same JSON each time, and the gateway, by one connection and by sixteen. Beside rates it
says what part of the processor time is the model's: that changes less when other programs run.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Literal

from loadtests import machine
from loadtests.bench import with_cores
from loadtests.load import LoadFailed, Round, generator
from loadtests.measured import Measured, summary
from loadtests.processes import ROOT, NotStarted, Server, child_setup, end_with_the_run, environment, gateway
from loadtests.requests import Target, build, json_request
from loadtests.subjects import file_of, input_of, prepare
from service.protocol.check import bind
from service.protocol.codec import decode
from service.runtime.seats import Feeds
from service.runtime.session import Session, SessionOptions

MODEL = "image"
SPARE_SECONDS = 30.0

Alone = Literal["run", "decode and run"]
Encoding = Literal["json", "binary"]


@dataclass(frozen=True, slots=True)
class Way:
    """A load on the gateway, and what of it is the model's. `floor`: the part of that which is to be left."""

    encoding: Encoding
    connections: int
    alone: Alone
    floor: float

    @property
    def name(self) -> str:
        return f"{self.encoding}, c = {self.connections}, against {self.alone}"


WAYS = (Way("binary", 1, "run", 0.85), Way("binary", 16, "run", 0.78), Way("json", 1, "decode and run", 0.80))
"""With the floors of issue 5."""

Rounds = Sequence[Mapping[str, Measured]]
"""By the name of a way, or of what is done alone."""


def alone(what: Alone, file: Path, seconds: float) -> Measured:
    """The model in this process, on the same row each time."""
    session = Session(str(file), SessionOptions(threads=1))
    body = json_request(Target(MODEL), input_of(MODEL), 0).partition(b"\r\n\r\n")[2]

    def read() -> Feeds:
        return bind(decode(body), session.signature)

    ready = read()
    session.run(ready)
    latencies: list[float] = []
    begun, busy = perf_counter(), process_time()
    while (now := perf_counter()) - begun < seconds:
        session.run(ready if what == "run" else read())
        latencies.append(perf_counter() - now)
    took, busy = perf_counter() - begun, process_time() - busy
    return replace(summary(latencies, took, {}), core_micros=busy / len(latencies) * 1e6)


class Experiment:
    """Rounds on one gateway. `round` raises LoadFailed."""

    def __init__(self, server: Server, folder: Path, cores: machine.Cores) -> None:
        self._server, self._folder, self._cores = server, folder, cores
        self._load = generator(folder)

    def round(self, seconds: float) -> dict[str, Measured]:
        """All of it, for so long each."""
        found: dict[str, Measured] = {}
        for way in WAYS:
            if way.alone not in found:
                found[way.alone] = self._alone(way.alone, seconds)
            found[way.name] = self._loaded(way, seconds)
        return found

    def _loaded(self, way: Way, seconds: float) -> Measured:
        requests = build(Target(MODEL), input_of(MODEL), encoding=way.encoding, keys=[None] * 4)
        given = Round(requests, way.connections, seconds, self._cores.client)
        measured = with_cores(self._server, lambda: self._load(self._server.address, given))
        if measured.failed:
            raise LoadFailed(f"{way.name}: {measured.errors}")
        return measured

    def _alone(self, what: Alone, seconds: float) -> Measured:
        file = file_of(MODEL, None, self._folder / "models")
        command = [sys.executable, "-m", "loadtests.raw", "--alone", what, str(file), "--seconds", str(seconds)]
        return Measured(**json.loads(_said(command, seconds + SPARE_SECONDS, self._cores.server)))


def _said(command: Sequence[str], seconds: float, cores: Collection[int] | None) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(os.environ),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        preexec_fn=child_setup(cores),
    )
    if done.returncode:
        raise LoadFailed(f"{' '.join(command)}: {done.stderr[-500:]}")
    return done.stdout


def left(rounds: Rounds) -> dict[str, tuple[float, float]]:
    """Of each way, the part of the model's own rate, and the model's part of the processor time: medians."""
    return {
        way.name: (
            median(one[way.name].per_second / one[way.alone].per_second for one in rounds),
            median(one[way.alone].core_micros / one[way.name].core_micros for one in rounds),
        )
        for way in WAYS
    }


def report(rounds: Rounds) -> None:
    """Print what is left of the model's speed, beside the floor."""
    parts = left(rounds)
    for way in WAYS:
        own, rate = (median(one[name].per_second for one in rounds) for name in (way.alone, way.name))
        speed, processor = parts[way.name]
        told = (
            f"{rate:6.1f} of {own:6.1f} a second: {speed:.0%}, floor {way.floor:.0%}; {processor:.0%} of its core time"
        )
        print(f"  {way.name:36} {told}")


def main() -> int:
    """0, or 2 when nothing could be measured."""
    options = parser().parse_args()
    if options.alone:
        what, file = options.alone
        print(json.dumps(asdict(alone(what, Path(file), options.seconds))))
        return 0
    end_with_the_run()
    cores = machine.share_cores(machine.usable_cores(), 1)
    print(machine.facts()["load"])
    try:
        with TemporaryDirectory(prefix="serin-raw-") as name:
            folder = Path(name)
            prepare(MODEL, folder / "models")
            with gateway(folder / "models", folder / "state", cores=cores.server) as server:
                experiment = Experiment(server, folder, cores)
                experiment.round(1.0)  # warm
                rounds = [experiment.round(options.seconds) for _ in range(options.rounds)]
    except (NotStarted, LoadFailed, subprocess.TimeoutExpired) as error:
        print(f"raw: {error}", file=sys.stderr)
        return 2
    report(rounds)
    return 0


def parser() -> argparse.ArgumentParser:
    """The words after `python -m loadtests.raw`."""
    found = argparse.ArgumentParser(prog="loadtests.raw", description="The gateway beside its model alone.")
    found.add_argument("--seconds", type=float, default=2.0, help="of one round [2]")
    found.add_argument("--rounds", type=int, default=5, help="of each, alternating [5]")
    found.add_argument("--alone", nargs=2, metavar=("WHAT", "FILE"), help="the model alone, in this process")
    return found


if __name__ == "__main__":
    sys.exit(main())
