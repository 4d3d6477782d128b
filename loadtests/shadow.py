"""`python -m loadtests.shadow`: what a shadow costs the callers: p99 at half load with and without it, in turns.

All requests are also run on a candidate that takes ten times as long. The gateway is one worker on one core, the load
comes at a fixed rate from another. The exit code is 1 when the median of the rounds is more than `--most` above 1.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
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
class Pair:
    """One round: the same load without the shadow and with it."""

    alone: Measured
    shadowed: Measured

    @property
    def ratio(self) -> float:
        """Of the two p99."""
        return self.shadowed.p99_ms / self.alone.p99_ms


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

    def round(self, per_second: float, seconds: float) -> Pair:
        """Without, then with."""
        alone = self._paced(per_second, seconds)
        document = {"to": 2, "strategy": "shadow", "checks": [], "shadow": {"share": 100, "requests": 100_000_000}}
        self._admin.start_rollout(MODEL, document)
        self._until_followed()
        shadowed = self._paced(per_second, seconds)
        self._admin.move_rollout(MODEL, "abort", "measured")
        return Pair(alone, shadowed)

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


def report(pairs: Sequence[Pair]) -> float:
    """Print the rounds; the median ratio."""
    for number, pair in enumerate(pairs, 1):
        alone, shadowed = pair.alone, pair.shadowed
        print(
            f"  round {number}: p50 {alone.p50_ms:.3f} -> {shadowed.p50_ms:.3f} ms, "
            f"p99 {alone.p99_ms:.3f} -> {shadowed.p99_ms:.3f} ms ({pair.ratio:.3f}), failed {shadowed.failed}"
        )
    return median(pair.ratio for pair in pairs)


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
                pairs = [experiment.round(rate, options.seconds) for _ in range(options.rounds)]
                print(dropped(server))
    except (NotStarted, LoadFailed, SerinError, subprocess.TimeoutExpired) as error:
        print(f"shadow: {error}", file=sys.stderr)
        return 2
    found = report(pairs)
    lost = sum(pair.alone.failed + pair.shadowed.failed for pair in pairs)
    print(
        f"median of {len(pairs)} rounds: the p99 with the shadow is {found:.3f} of the one without "
        f"(at most {options.most:g})"
    )
    return 1 if found > options.most or lost else 0


def parser() -> argparse.ArgumentParser:
    """The words after `python -m loadtests.shadow`."""
    found = argparse.ArgumentParser(prog="loadtests.shadow", description="What a shadow costs the callers.")
    found.add_argument("--seconds", type=float, default=8.0, help="of one half of a round [8]")
    found.add_argument("--rounds", type=int, default=5, help="[5]")
    found.add_argument("--share", type=float, default=0.5, help="of what the gateway can do at most [0.5]")
    found.add_argument("--most", type=float, default=1.10, help="the ratio of the p99 may be [1.10]")
    return found


if __name__ == "__main__":
    sys.exit(main())
