"""What each stage of a request costs, in this process, without sockets: `python -m loadtests.hotpath`.

Every pass times a fixed pure-Python loop, the yardstick, and then each stage. A stage's ratio to the yardstick says
more than its microseconds when two machines, or two days on one, are compared.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import random
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter_ns, time
from timeit import Timer

import numpy as np

from loadtests.requests import Target, binary_request, json_request
from loadtests.subjects import SAMPLES, input_of
from router.counters import Segment
from router.routes import PPM, Route, Variant
from router.split import choose
from router.telemetry import How, Outcome, Recorder, SeriesName, VariantSeries
from router.tokens import Given
from service.feedback import Feedback, Options, Stamp
from service.protocol.check import bind
from service.protocol.codec import decode, encode
from service.protocol.messages import InferRequest, InferResponse, OutputTensor
from service.protocol.tensors import Signature
from service.runtime.manifest import Manifest, parse_manifest
from service.runtime.session import Session, SessionOptions
from service.sampling import Rate, Sampler
from service.virtual import VirtualArm
from service.watch import OutputMeaning, Watch, compile_watch

PASSES = 9
PASS_MICROS = 20_000
MODEL = "digits"
TOGETHER = 32
"""Requests of a run."""

YARDSTICK = "the yardstick"
RUN = "run the model (ONNX Runtime)"

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Stage:
    """`micros`: of one call, in the quietest pass. `ratio`: to one turn of the yardstick, the median of all passes."""

    name: str
    micros: float
    ratio: float


def yardstick() -> int:
    """Arithmetic, a list and a dictionary: what Python code spends its time on."""
    seen: dict[int, int] = {}
    numbers = [0] * 32
    state = 12345
    for turn in range(100):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        numbers[turn & 31] = state
        seen[state & 63] = turn
    return len(seen) + numbers[0]


def measure(calls: dict[str, Call], *, passes: int = PASSES, pass_micros: float = PASS_MICROS) -> list[Stage]:
    """Time each call, one after the other, `passes` times over."""
    timed = {YARDSTICK: yardstick, **calls}
    loops = {name: _loops(call, pass_micros) for name, call in timed.items()}
    gc.collect()
    found = [{name: _micros(call, loops[name]) for name, call in timed.items()} for _ in range(passes)]
    return [
        Stage(name, min(seen[name] for seen in found), median(seen[name] / seen[YARDSTICK] for seen in found))
        for name in timed
    ]


def stages(folder: Path, *, passes: int = PASSES, pass_micros: float = PASS_MICROS) -> list[Stage]:
    """The stages of requests to the sample model. `folder`: for a counter segment, which is left there."""
    with calls(folder) as known:
        found = measure(known, passes=passes, pass_micros=pass_micros)
    return [*found, own_duties(found)]


@contextmanager
def calls(folder: Path) -> Iterator[dict[str, Call]]:
    """Each stage as a call. `folder`: for a counter segment, which is left there."""
    subject = Subject.of(MODEL)
    segment = Segment.open(folder, 0)
    try:
        recorder = Recorder(segment)
        yield {**subject.wire(), **subject.answer(recorder), **_choices(), **subject.sampling(recorder)}
    finally:
        segment.close()


def own_duties(found: Sequence[Stage]) -> Stage:
    """What the gateway adds to the model for a keyed JSON request of one row."""
    names = {"decode JSON", "check and bind JSON", "choose of two, by key", "watch", "observe", "token", "encode JSON"}
    mine = [stage for stage in found if stage.name in names]
    assert len(mine) == len(names)
    total = "all but the model (JSON, key, two variants)"
    return Stage(total, sum(stage.micros for stage in mine), sum(stage.ratio for stage in mine))


@dataclass(frozen=True, slots=True)
class Subject:
    """One request to one model, at every stage of its way."""

    session: Session
    manifest: Manifest
    watch: Watch
    json_body: bytes
    binary_body: bytes
    header_length: int

    @classmethod
    def of(cls, model: str) -> "Subject":
        folder, given = SAMPLES / model, input_of(model)
        session = Session(str(folder / "1" / "model.onnx"), SessionOptions())
        manifest = parse_manifest((folder / "model.toml").read_bytes())
        told = [OutputMeaning(one.name, one.kind, one.labels, one.edges) for one in manifest.meanings()]
        binary = _body(binary_request(Target(model), given, 0))
        length = binary.index(b'"binary_data_output"') + len(b'"binary_data_output":true}}')
        watch = compile_watch(told, session.signature)
        return cls(session, manifest, watch, _body(json_request(Target(model), given, 0)), binary, length)

    @property
    def signature(self) -> Signature:
        return self.session.signature

    def wire(self) -> dict[str, Call]:
        """From bytes to arrays, and the model."""
        text, blob, length = self.json_body, self.binary_body, self.header_length
        signature, session = self.session.signature, self.session
        from_text, from_blob = decode(text), decode(blob, length)
        feeds = bind(from_text, signature)
        return {
            "decode JSON": lambda: decode(text),
            "decode binary": lambda: decode(blob, length),
            "check and bind JSON": lambda: bind(from_text, signature),
            "check and bind binary": lambda: bind(from_blob, signature),
            RUN: lambda: session.run(feeds),
        }

    def answer(self, recorder: Recorder) -> dict[str, Call]:
        """From the model's outputs to counts and bytes."""
        request, signature = decode(self.json_body), self.session.signature
        arrays = self.session.run(bind(request, signature))
        specs = zip(signature.outputs, arrays, strict=True)
        response = InferResponse(MODEL, "1", [OutputTensor(spec.name, spec.datatype, array) for spec, array in specs])
        outputs = {output.name: output.array for output in response.outputs}
        series = recorder.variant(SeriesName(MODEL, 1, "1"), self.watch.families, perf_counter_ns())
        cells, _ = self.watch.cells(outputs)
        virtual = VirtualArm(
            recorder.virtual(SeriesName(MODEL, 1, "1"), self.watch.families, perf_counter_ns()), random
        )
        watch, binary, stamp = self.watch, _binary(request), self._stamp(recorder)
        cells_of_rows = watch.cells_of_rows([output.name for output in signature.outputs])
        together = [np.concatenate([array] * TOGETHER) for array in arrays]
        rows = [(61_000 + 9_000 * row, 9_000, 1_000, 5_000, cells) for row in range(TOGETHER)]
        return {
            "watch": lambda: watch.cells(outputs),
            "observe": lambda: _observe(series, cells),
            "watch, of a run": lambda: cells_of_rows(together, TOGETHER),
            "observe, of a run": lambda: series.observe_run(12_000, rows),
            "token, of a run": lambda: stamp.run([cells] * TOGETHER),
            "self-check": lambda: _drawn(virtual, cells),
            "token": lambda: stamp.one(cells),
            "encode JSON": lambda: encode(response, request),
            "encode binary": lambda: encode(response, binary),
        }

    def _stamp(self, recorder: Recorder) -> Stamp:
        """What signs an answer, so that feedback can come back for it."""
        segment = recorder.segment
        feedback = Feedback(segment, segment.directory, Options(86_400, 4096), time, lambda model, version: ())
        stamp = feedback.stamp(Given(MODEL, 1, "1", 0, "split"), self.watch)
        assert stamp is not None
        return stamp

    def sampling(self, recorder: Recorder) -> dict[str, Call]:
        """What the loop does for a request whose inputs may be looked at; the thread that counts them stands still."""
        feeds = bind(decode(self.json_body), self.session.signature)
        sampler, size = _Standing(recorder, 0, 1), len(self.json_body)
        tap = sampler.tap(SeriesName(MODEL, 1, "1"), MODEL, self)
        assert tap is not None
        (rate,) = sampler.rates()

        def offer(share: float) -> None:
            rate.share = share
            tap(feeds, size, _no_key)

        def drawn() -> None:
            offer(1.0)
            sampler.forget()

        return {
            "sample, not drawn": lambda: offer(1e-12),
            "sample, drawn": drawn,
        }


class _Standing(Sampler):
    """A sampler whose thread ends at once; `forget` makes room for the next sample."""

    def rates(self) -> "list[Rate]":
        return list(self._rates.values())

    def forget(self) -> None:
        self._queue.get_nowait()
        self._out, self._bytes_out = self._in, self._bytes_in

    def _work(self) -> None:
        return None


def _drawn(virtual: VirtualArm, cells: tuple[int, ...]) -> None:
    if virtual.takes(None, 0):
        _observe(virtual.series, cells)


def _no_key() -> None:
    return None


def _observe(series: VariantSeries, cells: tuple[int, ...]) -> None:
    series.assigned(How.SPLIT_KEYED)
    series.observe(Outcome.OK, 61_000, (9_000, 1_000, 12_000, 5_000), cells)


def _choices() -> dict[str, Call]:
    alone = Route(MODEL, (Variant("1", 1, PPM),))
    canary = Route(MODEL, (Variant("1", 1, 900_000), Variant("2", 2, 100_000)))
    keys = cycle([f"user-{number}".encode() for number in range(997)])
    return {
        "choose of one": lambda: choose(alone, b"user-1", 0.0),
        "choose of two, by key": lambda: choose(canary, next(keys), 0.0),
        "choose of two, by draw": lambda: choose(canary, None, random()),
    }


def _binary(request: InferRequest) -> InferRequest:
    return InferRequest(request.inputs, request.id, request.parameters, None, binary_output=True)


def _body(request: bytes) -> bytes:
    return request.partition(b"\r\n\r\n")[2]


def _loops(call: Call, pass_micros: float) -> int:
    _micros(call, 3)  # first calls fill caches
    return max(1, int(pass_micros / max(_micros(call, 10), 0.01)))


def _micros(call: Call, loops: int) -> float:
    """A call in a loop; `Timer` holds the garbage collector meanwhile."""
    return Timer(call, timer=_seconds).timeit(loops) / loops * 1e6


def _seconds() -> float:
    return perf_counter_ns() / 1e9


def main() -> None:
    with TemporaryDirectory(prefix="serin-hotpath-") as folder:
        for stage in stages(Path(folder)):
            print(f"{stage.name:45} {stage.micros:8.2f} µs  × yardstick {stage.ratio:6.3f}")


if __name__ == "__main__":
    main()
