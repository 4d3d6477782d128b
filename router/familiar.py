"""The same counts under the names that Triton's and KServe's dashboards ask for, beside Serin's own.

Triton's counters have no `_total`, which prometheus_client gives to every counter; so they are written here, in the
form of the page that they join.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic_ns

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router import telemetry
from router.histograms import Histogram
from router.metrics import KSERVE, TRITON, Familiarity, Labels, MetricName
from router.statistics import VersionStatistics, statistics
from router.tally import BlockCopy, Reader, total
from router.telemetry import PHASES


@dataclass(frozen=True, slots=True, eq=False)
class Familiar(Collector):
    """One reading of the counters under these names; None for a set that is not wanted."""

    versions: Mapping[tuple[str, int], VersionStatistics] | None
    copies: Sequence[BlockCopy] | None

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not read."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """KServe's histograms."""
        if self.copies is not None:
            yield from _histograms(self.copies)

    def text(self, openmetrics: bool) -> bytes:
        """Triton's counters and gauge, as lines of the page."""
        if not self.versions:
            return b""
        values = {key: _values(found) for key, found in sorted(self.versions.items())}
        return "".join(
            line for metric in TRITON for line in _lines(metric, "unknown" if openmetrics else metric.kind, values)
        ).encode()


class FamiliarReader:
    """Reads all segments of `directory`, for `which` names."""

    def __init__(self, directory: Path, which: Familiarity) -> None:
        self._reader = Reader(directory, clock=monotonic_ns)
        self._which = which

    def read(self) -> Familiar:
        """What the counters say now."""
        copies = self._reader.read() if self._which != "none" else []
        return Familiar(
            statistics(copies) if self._which in ("triton", "all") else None,
            total(copy for copy in copies if copy.spec.kind in (telemetry.VARIANT, telemetry.SERVED))
            if self._which in ("kserve", "all")
            else None,
        )


def _values(found: VersionStatistics) -> dict[str, int | Mapping[str, int]]:
    return {
        "nv_inference_request_success": found.answered,
        "nv_inference_request_failure": found.failed,
        "nv_inference_count": found.runs.rows,
        "nv_inference_exec_count": found.runs.executions,
        "nv_inference_request_duration_us": found.request_ns // 1000,
        "nv_inference_queue_duration_us": found.queue_ns // 1000,
        "nv_inference_compute_input_duration_us": found.decode_ns // 1000,
        "nv_inference_compute_infer_duration_us": found.compute_ns // 1000,
        "nv_inference_compute_output_duration_us": found.encode_ns // 1000,
        "nv_inference_pending_request_count": found.waiting,
    }


def _lines(
    metric: MetricName, kind: str, values: Mapping[tuple[str, int], Mapping[str, int | Mapping[str, int]]]
) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {kind}\n"
    for (model, version), of_version in values.items():
        value = of_version[metric.name]
        labels = f'model="{model}",version="{version}"'  # names of models need no escapes
        if isinstance(value, int):
            yield f"{metric.name}{{{labels}}} {value}\n"
        else:
            yield from (f'{metric.name}{{{labels},reason="{why}"}} {count}\n' for why, count in value.items())


def _histograms(copies: Iterable[BlockCopy]) -> Iterator[Metric]:
    found: dict[str, dict[Labels, Histogram]] = {metric.name: {} for metric in KSERVE}
    for copy in copies:
        labels: Labels = (copy.spec.labels["model"],)
        for metric, histogram in zip(KSERVE, _of(copy), strict=True):
            known = found[metric.name].get(labels)
            found[metric.name][labels] = histogram if known is None else known.plus(histogram)
    for metric in KSERVE:
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, histogram in sorted(found[metric.name].items()):
            if histogram.below[-1]:
                family.add_metric(labels, histogram.buckets(), histogram.sum)
        if family.samples:
            yield family


def _of(copy: BlockCopy) -> tuple[Histogram, Histogram, Histogram]:
    times = copy.family(telemetry.TIME_NS)
    decode, encode = (
        Histogram.of(
            [micros / 1e6 for micros in telemetry.PHASE_EDGES_US],
            copy.family(phase),
            times[1 + PHASES.index(phase)] / 1e9,
        )
        for phase in ("decode", "encode")
    )
    edges = [micros / 1e6 for micros in telemetry.LATENCY_EDGES_US]
    return decode, Histogram.of(edges, telemetry.latency_of(copy.family), times[0] / 1e9).thinned(), encode
