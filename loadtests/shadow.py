"""`python -m loadtests.shadow`: what a shadow costs the callers: p99 at half load with and without it, in turns.

All requests are also run on a candidate that takes ten times as long. The gateway is one worker on one core, the load
comes at a fixed rate from another. Each half with the shadow is compared with the halves before and after it, and these
with each other: that ratio says what the machine does by itself. The exit code is 1 when the median of the rounds is
above `--most`.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from time import monotonic, sleep

import httpx
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from loadtests import machine
from loadtests.load import LoadFailed, Open, Round, generator
from loadtests.measured import Measured
from loadtests.processes import NotStarted, Server, end_with_the_run, gateway
from loadtests.requests import Input, Target, build
from router.client import AdminClient
from router.errors import SerinError

MODEL = "tenfold"
WIDTH, ROWS = 128, 16
DEPTH = {1: 8, 2: 80}
CONNECTIONS, PACED_CONNECTIONS = 16, 64
CAPACITY_SECONDS = 3.0
FOLLOW_SECONDS = 30.0
OPSET, IR_VERSION, SEED = 17, 8, 7


@dataclass(frozen=True, slots=True)
class Turn:
    """One round: the same load without the shadow, with it, and without it again."""

    before: Measured
    shadowed: Measured
    after: Measured

    @property
    def ratio(self) -> float:
        """The p99 with the shadow by the mean of those without."""
        return self.shadowed.p99_ms / mean((self.before.p99_ms, self.after.p99_ms))

    @property
    def noise(self) -> float:
        """The two p99 without, the higher by the lower."""
        alone = (self.before.p99_ms, self.after.p99_ms)
        return max(alone) / min(alone)


def prepare(folder: Path) -> None:
    """Two versions of one model; the second is ten times as deep. Weights are shared, so that both fit into caches."""
    for version, depth in DEPTH.items():
        path = folder / MODEL / str(version)
        path.mkdir(parents=True)
        onnx.save(_deep(depth), path / "model.onnx")
    (folder / MODEL / "model.toml").write_text("default_version = 1\n")


def _deep(depth: int) -> onnx.ModelProto:
    weights = np.linalg.qr(np.random.default_rng(SEED).normal(size=(WIDTH, WIDTH)))[0].astype(np.float32)
    nodes = []
    for layer in range(depth):
        source = f"seen{layer - 1}" if layer else "x"
        nodes += [helper.make_node("MatMul", [source, "weights"], [f"mixed{layer}"])]
        nodes += [helper.make_node("Tanh", [f"mixed{layer}"], [f"seen{layer}"])]
    nodes += [helper.make_node("Softmax", [f"seen{depth - 1}"], ["probabilities"], axis=1)]
    shape = [None, WIDTH]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "probabilities")]
    graph = helper.make_graph(nodes, MODEL, ends[:1], ends[1:], [numpy_helper.from_array(weights, "weights")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


class Experiment:
    """Rounds on one gateway."""

    def __init__(self, server: Server, cores: Collection[int] | None, folder: Path) -> None:
        rows = np.random.default_rng(SEED).normal(size=(ROWS, WIDTH)).astype(np.float32)
        self._requests = tuple(build(Target(MODEL), Input("x", rows), encoding="binary", keys=[None] * ROWS))
        self._server = server
        self._cores = cores
        self._load = generator(folder)
        self._admin = AdminClient.at(server.admin, "loadtests.shadow")

    def capacity(self) -> float:
        """Requests in a second that the gateway answers when it does nothing else."""
        given = Round(self._requests, CONNECTIONS, CAPACITY_SECONDS, self._cores)
        return self._load(self._server.address, given).per_second

    def rounds(self, number: int, per_second: float, seconds: float) -> list[Turn]:
        """So many, each beginning with the half that ended the last one."""
        before, turns = self._paced(per_second, seconds), []
        for _ in range(number):
            shadowed = self._shadowed(per_second, seconds)
            after = self._paced(per_second, seconds)
            turns.append(Turn(before, shadowed, after))
            before = after
        return turns

    def _shadowed(self, per_second: float, seconds: float) -> Measured:
        document = {"to": 2, "strategy": "shadow", "checks": [], "shadow": {"share": 100, "requests": 100_000_000}}
        self._admin.start_rollout(MODEL, document)
        self._until_followed()
        try:
            return self._paced(per_second, seconds)
        finally:
            self._admin.move_rollout(MODEL, "abort", "measured")

    def _until_followed(self) -> None:
        until = monotonic() + FOLLOW_SECONDS
        while monotonic() < until:
            found = self._admin.rollout(MODEL)
            if found["step_number"] == 1 and found["followed"]:
                return
            sleep(0.05)
        raise LoadFailed("the shadow step did not begin")

    def _paced(self, per_second: float, seconds: float) -> Measured:
        given = Round(self._requests, PACED_CONNECTIONS, seconds, self._cores)
        return Open()(self._server.address, given, per_second).whole


def dropped(server: Server) -> str:
    """How much of the shadow's work was done, and how much was dropped first, for the last lines of a run."""
    page = httpx.get(f"{server.http}/metrics", timeout=10).text
    lines = [line for line in page.splitlines() if line.startswith("serin_mirror_") and "_bucket" not in line]
    wanted = ("serin_mirror_requests_total", "serin_mirror_dropped_total")
    return "\n".join(line for line in lines if line.startswith(wanted))


def report(turns: Sequence[Turn]) -> float:
    """Print the rounds and what the machine does by itself; the median ratio."""
    for number, turn in enumerate(turns, 1):
        halves = (turn.before, turn.shadowed, turn.after)
        p50, p99 = (
            " ".join(f"{value:.3f}" for value in values)
            for values in ([one.p50_ms for one in halves], [one.p99_ms for one in halves])
        )
        print(f"  round {number}: p50 {p50} ms, p99 {p99} ms ({turn.ratio:.3f}, without {turn.noise:.3f})")
    print(f"two halves without a shadow differ by a factor of {median(turn.noise for turn in turns):.3f} (median)")
    return median(turn.ratio for turn in turns)


def main() -> int:
    """0, 1 when the shadow costs more than it may or a request failed, 2 when nothing could be measured."""
    options = parser().parse_args()
    end_with_the_run()
    cores = machine.share_cores(machine.usable_cores(), 1)
    try:
        with tempfile.TemporaryDirectory(prefix="serin-shadow-") as name:
            folder = Path(name)
            prepare(folder / "models")
            with gateway(folder / "models", folder / "state", cores=cores.server) as server:
                experiment = Experiment(server, cores.client, folder)
                rate = options.share * experiment.capacity()
                print(f"{machine.facts()['load']}; {rate:.0f} requests/s, {options.share:.0%} of what it can do")
                turns = experiment.rounds(options.rounds, rate, options.seconds)
                print(dropped(server))
    except (NotStarted, LoadFailed, SerinError, subprocess.TimeoutExpired) as error:
        print(f"shadow: {error}", file=sys.stderr)
        return 2
    found = report(turns)
    lost = sum(turn.before.failed + turn.shadowed.failed + turn.after.failed for turn in turns)
    print(
        f"median of {len(turns)} rounds: the p99 with the shadow is {found:.3f} of the one without "
        f"(at most {options.most:g}), {lost} requests failed"
    )
    return 1 if found > options.most or lost else 0


def parser() -> argparse.ArgumentParser:
    """The words after `python -m loadtests.shadow`."""
    found = argparse.ArgumentParser(prog="loadtests.shadow", description="What a shadow costs the callers.")
    found.add_argument("--seconds", type=float, default=8.0, help="of each part of a round [8]")
    found.add_argument("--rounds", type=int, default=5, help="[5]")
    found.add_argument("--share", type=float, default=0.5, help="of what the gateway can do at most [0.5]")
    found.add_argument("--most", type=float, default=1.10, help="the ratio of the p99 may be [1.10]")
    return found


if __name__ == "__main__":
    sys.exit(main())
