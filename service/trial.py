"""One worker's part of a trial of `serin tune`, as a process: `python -m service.trial`, a request in JSON on one line.

The version is loaded and run as a worker does it, by callers that each wait for their answer; nothing listens and no
HTTP is read, since that part of a request does not depend on what is tuned. Prints one line when it is ready, waits for
one, loads for a while, and prints what came of it.
"""

import asyncio
import sys
from itertools import cycle
from pathlib import Path
from time import perf_counter_ns

import msgspec

from router.decoding import decoder
from router.errors import FailedPrecondition, InvalidArgument, SerinError
from router.routes import Wanted
from service.protocol.check import bind
from service.protocol.codec import decode
from service.protocol.tensors import Signature
from service.runtime import repository
from service.runtime.engine import Engine
from service.runtime.executor import Limits
from service.runtime.golden import parse_golden
from service.runtime.loaded import Loaded
from service.runtime.loading import Loader
from service.runtime.manifest import Execution, Manifest
from service.runtime.pool import NoMarks, Pool
from service.runtime.profile import blank_feeds
from service.runtime.seats import Feeds
from service.runtime.session import SessionOptions

QUANTILES = 1000
MAX_INPUTS = 1000
FAR_NS = 60 * 10**9


class Asked(msgspec.Struct, frozen=True):
    """What to try. `inputs`: a file of V2 request bodies, one a line; "" takes the golden rows, else zeros."""

    models: str
    model: str
    version: int
    threads: int
    execution: dict[str, str | int | float]
    callers: int
    seconds: float
    inputs: str = ""


class Tried(msgspec.Struct, frozen=True):
    """`latencies_ms`: quantiles, evenly spaced from the least to the most. `inputs`: where the rows came from."""

    requests: int
    failed: int
    seconds: float
    latencies_ms: list[float]
    inputs: str = ""


class Trial:
    """A loaded version and its inputs."""

    def __init__(self, asked: Asked, loaded: Loaded, feeds: list[Feeds]) -> None:
        self._asked = asked
        self._loaded = loaded
        self._feeds = cycle(feeds)
        self._latencies: list[int] = []
        self._failed = 0

    async def run(self) -> Tried:
        """Load it for a while with all callers at once."""
        begun = perf_counter_ns()
        until = begun + int(self._asked.seconds * 1e9)
        await asyncio.gather(*(self._call(until) for _ in range(self._asked.callers)))
        seconds = (perf_counter_ns() - begun) / 1e9
        return Tried(len(self._latencies), self._failed, seconds, quantiles(self._latencies))

    async def _call(self, until: int) -> None:
        names = self._loaded.output_names
        way = self._loaded.batcher.run if self._loaded.batcher is not None else self._loaded.executor.run_anyhow
        while (begun := perf_counter_ns()) < until:
            try:
                await way(next(self._feeds), names, begun + FAR_NS)
                self._latencies.append(perf_counter_ns() - begun)
            except SerinError:
                self._failed += 1
            await asyncio.sleep(0)  # a run on the loop does not wait for anything, and others have their turn too


def quantiles(latencies_ns: list[int]) -> list[float]:
    """At most QUANTILES of them, in milliseconds."""
    ordered = sorted(latencies_ns)
    if len(ordered) > QUANTILES:
        last = len(ordered) - 1
        ordered = [ordered[round(number * last / (QUANTILES - 1))] for number in range(QUANTILES)]
    return [latency / 1e6 for latency in ordered]


def inputs_of(asked: Asked, loaded: Loaded) -> tuple[list[Feeds], str]:
    """Rows to try it on, and where they came from. Raises InvalidArgument, FailedPrecondition."""
    if asked.inputs:
        return recorded(Path(asked.inputs), loaded.signature), "recorded"
    if golden := golden_feeds(asked, loaded.manifest):
        return golden, "golden"
    blank = blank_feeds(loaded.signature, 1)
    if blank is None:
        raise FailedPrecondition("it has no golden rows, and zeros for it would be very large; give --inputs FILE")
    return [blank], "zeros"


def recorded(file: Path, signature: Signature) -> list[Feeds]:
    """The bodies of a file, one a line. Raises InvalidArgument that names the line."""
    found: list[Feeds] = []
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip() and len(found) < MAX_INPUTS:
                    found.append(_body(line, number, file, signature))
    except OSError as error:
        raise InvalidArgument(f"{file}: cannot be read: {error.strerror}") from error
    if not found:
        raise InvalidArgument(f"{file}: holds no request")
    return found


def golden_feeds(asked: Asked, manifest: Manifest) -> list[Feeds]:
    """The golden rows of the version; none where it has none."""
    if manifest.golden is None:
        return []
    content = repository.read_beside(asked.models, asked.model, manifest.golden.file)
    return [case.feeds for case in parse_golden(content, asked.version)] if content is not None else []


def _body(line: bytes, number: int, file: Path, signature: Signature) -> Feeds:
    try:
        return bind(decode(line), signature)
    except SerinError as error:
        raise InvalidArgument(f"{file}: line {number}: {error.message}") from error


async def _serve(asked: Asked) -> None:
    # A request finds room in the queue however many callers there are: what is refused at once is not quick.
    execution = Execution.model_validate({"max_queue": 10 * asked.callers, **asked.execution})
    loader = Loader(Path(asked.models), SessionOptions(), Limits(), execution=execution, threads=asked.threads)
    pool = Pool(max(2, 2 * Limits().max_concurrency), NoMarks())
    engine = Engine(loader, pool, lambda: None)
    try:
        engine.follow({asked.model: {asked.version: Wanted("", "")}})
        await engine.settled()
        loaded = engine.acquire(asked.model, asked.version)
        feeds, source = inputs_of(asked, loaded)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        tried = await Trial(asked, loaded, feeds).run()
        sys.stdout.buffer.write(msgspec.json.encode(msgspec.structs.replace(tried, inputs=source)) + b"\n")
        sys.stdout.flush()
    finally:
        await engine.close()
        pool.close()


def main() -> None:
    """The exit code: 0, or 1 with a line on standard error that says why it cannot be tried."""
    asked = decoder(Asked).decode(sys.stdin.readline())
    try:
        asyncio.run(_serve(asked))
    except SerinError as error:
        sys.exit(error.message)


if __name__ == "__main__":
    main()
