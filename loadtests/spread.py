"""`python -m loadtests.spread`: how the kernel spreads connections over the workers of one port.

Each worker has a socket of its own on the port (SO_REUSEPORT), and the kernel picks one by a hash of the addresses. So
connections fall like dice: with n of them on w workers the fullest has more than n / w, by the square root of n.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import numpy as np
from rich.table import Table

from loadtests import client, report
from loadtests.observed import connections, workers
from loadtests.processes import NotStarted, Server, end_with_the_run, gateway
from loadtests.subjects import prepare

SIZES = (8, 16, 64, 256)
TIMES = 20
DRAWS = 10_000
LOOK_SECONDS = 0.02
MOST_LOOKS = 500


def dice(connections: int, count: int) -> float:
    """What the fullest of so many workers has on the average, relative to an even share, if each falls at random."""
    drawn = np.random.default_rng(1).multinomial(connections, [1 / count] * count, size=DRAWS)
    return float(drawn.max(axis=1).mean() / (connections / count))


def fullest(counts: Sequence[int]) -> float:
    """What the fullest worker has, relative to an even share."""
    return max(counts) / (sum(counts) / len(counts))


async def spread(server: Server, pids: Sequence[int], wanted: int) -> list[int]:
    """Open so many connections, count them in each worker, close them. Raises TimeoutError."""
    host, port = server.address

    async def settled(sum_of_all: int) -> list[int]:
        for _ in range(MOST_LOOKS):
            counts = [connections(pid, port) for pid in pids]
            if sum(counts) == sum_of_all:
                return counts
            await asyncio.sleep(LOOK_SECONDS)
        raise TimeoutError(f"{sum_of_all} connections were to be open, {sum(counts)} are")

    await settled(0)
    opened = [await client.connect(host, port) for _ in range(wanted)]
    try:
        return await settled(wanted)
    finally:
        for connection in opened:
            connection.close()


async def measure(server: Server, pids: Sequence[int]) -> dict[int, list[float]]:
    """The fullest worker's share of each try, by the number of connections."""
    return {size: [fullest(await spread(server, pids, size)) for _ in range(TIMES)] for size in SIZES}


def table(found: dict[int, list[float]], count: int) -> Table:
    """A line for each number of connections."""
    shown = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("connections", "fullest worker, mean", "worst of the tries", "if they fall like dice"):
        shown.add_column(name, justify="right")
    for size, shares in found.items():
        shown.add_row(str(size), f"{mean(shares):.2f}", f"{max(shares):.2f}", f"{dice(size, count):.2f}")
    return shown


def main() -> int:
    """The exit code: 0, or 2 when it could not be measured."""
    parser = argparse.ArgumentParser(prog="loadtests.spread", description=__doc__)
    parser.add_argument("--workers", type=int, choices=range(2, 9), default=4, metavar="2..8", help="[4]")
    options = parser.parse_args()
    end_with_the_run()
    say = report.console().print
    try:
        with TemporaryDirectory(prefix="serin-spread-") as name:
            folder = Path(name)
            prepare("tiny", folder / "models")
            with gateway(folder / "models", folder / "state", workers=options.workers) as server:
                found = client.run(measure(server, workers(server.pid)))
    except (NotStarted, TimeoutError, OSError) as error:
        say(f"spread: {str(error) or type(error).__name__}", markup=False)
        return 2
    say(
        f"{options.workers} workers, {TIMES} tries each; 1.00 is an even share", table(found, options.workers), sep="\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
