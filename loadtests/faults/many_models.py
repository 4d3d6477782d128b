"""Thousands of models: how long a start takes, what each costs, how soon the index and the metrics answer."""

from pathlib import Path
from time import monotonic

from loadtests.faults.callers import Callers
from loadtests.faults.counting import document, place
from loadtests.faults.judging import failed, liveness, readiness, wrong
from loadtests.faults.outcome import Outcome, exactly, shown, soon
from loadtests.faults.stand import eventually, http, stand
from loadtests.observed import cpu_seconds, family, memory, workers

ROW = "C21"
MODELS, LONG_MODELS, RATE = 500, 10_000, 50.0
REST_SECONDS, REST_SHARE, INDEX_SECONDS, LOAD_SECONDS = 10.0, 0.05, 1.0, 900.0
SCAN_SECONDS = 2.0
SETTLE_SECONDS = 15.0
"""After the last one has come: memory is tidied, and files are trusted that have looked alike for a while."""

ASKED_FOR = 1000
"""Models a second of waiting between two looks: the index of thousands is work for the gateway too."""
KIB = 1 << 10


def run(long: bool) -> Outcome:
    """500 models beside the one that is asked, or 10,000; the scan interval is the default one."""
    count = LONG_MODELS if long else MODELS
    with stand(1) as at, at.gateway({"scan-interval-seconds": SCAN_SECONDS}, workers=1) as gateway:
        alone = memory(workers(gateway.pid)).private
        with Callers(gateway.address, RATE) as callers:
            many(at.models, count)
            begun = monotonic()
            eventually(lambda: loaded(gateway.server.http) > count or None, LOAD_SECONDS, every=count / ASKED_FOR)
            took = monotonic() - begun
            callers.stop()
        each = (memory(workers(gateway.pid)).private - alone) / count
        callers.wait(SETTLE_SECONDS)
        used, begun = cpu_seconds(family(gateway.pid)), monotonic()
        callers.wait(REST_SECONDS)
        rest = (cpu_seconds(family(gateway.pid)) - used) / (monotonic() - begun)
        index = timed(f"{gateway.server.http}/v2/models", "GET")
        repository = timed(f"{gateway.server.http}/v2/repository/index", "POST")
        metrics = timed(f"{gateway.server.http}/metrics", "GET")
        begun = monotonic()
        place(at.models, 2)
        eventually(lambda: gateway.states().get(2) == "READY" or None, 60.0)
        one = monotonic() - begun
    return Outcome(
        [
            shown("models", count),
            shown("seconds until all are loaded while requests flow", took),
            shown("private memory of a worker for each, KiB", each / KIB),
            soon("processor share at rest", rest, REST_SHARE),
            soon("list of models, seconds", index[0], INDEX_SECONDS),
            soon("repository index, seconds", repository[0], INDEX_SECONDS),
            shown("metrics, seconds", metrics[0]),
            shown("metrics, KiB", metrics[1] / KIB),
            shown("seconds until a new version of one is READY", one),
            exactly("requests failed", len(failed(callers.sent))),
            exactly("wrong answers", len(wrong(callers.sent))),
            liveness(callers.looks),
            readiness(callers.looks),
        ]
    )


def many(models: Path, count: int) -> None:
    """So many models, alike but for their names."""
    content = document(1)
    for number in range(count):
        folder = models / f"many-{number}" / "1"
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(content)


def loaded(url: str) -> int:
    """How many models are READY in the worker that answers."""
    answer = http().post(f"{url}/v2/repository/index", json={"ready": True})
    return len(answer.json())


def timed(url: str, method: str) -> tuple[float, int]:
    """Seconds and bytes of one answer."""
    answer = http().request(method, url)
    answer.raise_for_status()
    return answer.elapsed.total_seconds(), len(answer.content)
