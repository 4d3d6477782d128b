"""The counts as Prometheus sees them: all workers added up, whichever process is asked.

The names stand in `router/metrics.py`. A series exists only after its first request, and its labels come from the model
repository and from fixed words, never from a client.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic_ns

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router import telemetry
from router.errors import ShedReason
from router.exposures import ExposureUse
from router.familiar import FamiliarReader
from router.goldens import GOLDEN
from router.histograms import Histogram
from router.inputs import QUALITY, input_counts
from router.layout import ASSIGNED, OUTCOME, REJECTED, RESTARTS, SHED, WORKER, How, Outcome
from router.leaving import INPUTS
from router.metrics import METRICS, VARIANT_LABELS, Labels, Sample, label_text
from router.mirrors import DIFFERENCE_EDGES, MIRROR, counts_of
from router.rewards import BAD, FEEDBACK, GOOD, ISSUED, REFUSALS, REFUSED, REFUSED_FEEDBACK
from router.runs import runs_of
from router.tally import BlockCopy, Reader, by_epoch, labels_of, total
from router.telemetry import PHASES, STATES, WatchedFamily, watched_of

Values = dict[Labels, float]


@dataclass(frozen=True, slots=True)
class RouteWeight:
    """What the table wants of one variant."""

    model: str
    version: int
    variant: str
    weight_ppm: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Build:
    """What is running."""

    name: str
    version: str
    onnxruntime: str = ""


@dataclass(frozen=True, slots=True)
class Extra:
    """What the answering process knows and no counter says. None leaves the series out."""

    build: Build
    weights: tuple[RouteWeight, ...] = ()
    table_revision: int | None = None
    exposures: tuple[ExposureUse, ...] = ()
    samples: tuple[Sample, ...] = ()


@dataclass(slots=True)
class _Sums:
    """Numbers by metric name and label values; histograms as cells of (edges, counts, sum in seconds)."""

    values: dict[str, Values] = field(default_factory=lambda: defaultdict(lambda: defaultdict(float)))
    histograms: dict[str, dict[Labels, Histogram]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, name: str, labels: Labels, value: float) -> None:
        self.values[name][labels] += value

    def add_histogram(self, name: str, labels: Labels, more: Histogram) -> None:
        known = self.histograms[name].get(labels)
        self.histograms[name][labels] = more if known is None else known.plus(more)


class Exposition(Collector):
    """Reads all segments of `directory` when asked. `extra` is called once a scrape."""

    def __init__(self, directory: Path, extra: Callable[[], Extra]) -> None:
        self._reader = Reader(directory, clock=monotonic_ns)
        self._extra = extra

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not read."""
        return ()

    def collect(self) -> Iterator[Metric]:
        extra, copies, sums = self._extra(), self._reader.read(), _Sums()
        for copy in total(copy for copy in copies if copy.spec.kind != telemetry.VERSION):
            if copy.spec.kind == telemetry.VARIANT and any(copy.family(ASSIGNED)):
                _add_requests(sums, copy)
                _add_times(sums, copy)
                _add_predictions(sums, copy)
            elif copy.spec.kind == telemetry.SERVED:
                _add_served(sums, copy)
                _add_times(sums, copy)
                _add_predictions(sums, copy)
            elif copy.spec.kind == MIRROR:
                _add_mirror(sums, copy)
            elif copy.spec.kind == GOLDEN:
                _add_golden(sums, copy)
            elif copy.spec.kind == INPUTS:
                _add_inputs(sums, copy)
            elif copy.spec.kind in (FEEDBACK, REFUSED_FEEDBACK):
                _add_feedback(sums, copy)
            elif copy.spec.kind == WORKER:
                _add_worker(sums, copy)
        for copy in copies:
            if copy.spec.kind == telemetry.VERSION:
                _add_gauges(sums, copy)
        for (model, version), runs in runs_of(copies).items():
            _add_used(sums, "serin_runs_total", (model, str(version)), runs.executions)
            _add_used(sums, "serin_run_rows_total", (model, str(version)), runs.rows)
        _add_extra(sums, extra)
        _add_shares(sums, extra.weights, copies)
        yield from _families(sums)


END = b"# EOF\n"


def render(collector: Collector, familiar: FamiliarReader | None = None, accept: str = "") -> tuple[bytes, str]:
    """The page and its content type: text format 0.0.4, or OpenMetrics where `Accept` asks for it. `familiar`: more
    names for the same counts."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    encode, content_type = choose_encoder(accept)
    if familiar is None:
        return encode(registry), content_type
    more = familiar.read()
    registry.register(more)
    page = encode(registry)
    end = END if page.endswith(END) else b""
    return page.removesuffix(END) + more.text(openmetrics=bool(end)) + end, content_type


def _add_worker(sums: _Sums, copy: BlockCopy) -> None:
    for reason, count in zip(telemetry.REJECTIONS, copy.family(REJECTED), strict=False):
        _add_used(sums, "serin_rejected_requests_total", (reason,), count)
    sums.add("serin_worker_restarts_total", (), copy.family(RESTARTS)[0])


def _add_used(sums: _Sums, name: str, labels: Labels, count: int) -> None:
    if count:
        sums.add(name, labels, count)


def _add_requests(sums: _Sums, copy: BlockCopy) -> None:
    labels, assignment = labels_of(copy, *VARIANT_LABELS), copy.spec.labels["assignment"]
    assigned, outcomes = copy.family(ASSIGNED), copy.family(OUTCOME)
    for how in How:
        _add_used(sums, "serin_assigned_total", (*labels, how.name.lower()), assigned[how])
    for outcome in Outcome:
        # ok and error from the start, so that the first failure is an increase and not a new series
        if outcomes[outcome] or outcome in (Outcome.OK, Outcome.ERROR):
            key = (*labels, assignment, outcome.name.lower())
            sums.add("serin_requests_total", key, outcomes[outcome])
    sums.add("serin_requests_in_flight", labels[:2], max(0, sum(assigned) - sum(outcomes)))


def _add_times(sums: _Sums, copy: BlockCopy) -> None:
    labels = labels_of(copy, *VARIANT_LABELS)
    latency, times = telemetry.latency_of(copy.family), copy.family(telemetry.TIME_NS)
    edges = [micros / 1e6 for micros in telemetry.LATENCY_EDGES_US]
    histogram = Histogram.of(edges, latency, times[0] / 1e9)
    sums.add_histogram("serin_request_duration_seconds", labels, histogram.thinned())
    edges = [micros / 1e6 for micros in telemetry.PHASE_EDGES_US]
    for reason, count in zip(ShedReason, copy.family(SHED), strict=False):
        _add_used(sums, "serin_shed_requests_total", (*labels, reason), count)
    for number, phase in enumerate(PHASES, start=1):
        histogram = Histogram.of(edges, copy.family(phase), times[number] / 1e9)
        sums.add_histogram("serin_request_phase_duration_seconds", (*labels, phase), histogram)


def _add_predictions(sums: _Sums, copy: BlockCopy) -> None:
    rows = [first + more for first, more in zip(copy.family(telemetry.FIRST), copy.family(telemetry.MORE), strict=True)]
    start = 0
    for family in watched_of(copy.spec):
        cells = rows[start : start + family.cell_count]
        start += family.cell_count
        if any(cells):
            _add_family(sums, (*labels_of(copy, *VARIANT_LABELS), label_text(family.output)), family, cells)


def _add_family(sums: _Sums, labels: Labels, family: WatchedFamily, cells: Sequence[int]) -> None:
    if family.kind == "class":
        for label, count in zip(family.labels, cells, strict=True):
            sums.add("serin_predictions_total", (*labels, label_text(label)), count)
        return
    name = "serin_prediction_value" if family.kind == "value" else "serin_prediction_confidence"
    sums.add_histogram(name, labels, Histogram.of(family.edges, cells[:-1]))
    sums.add("serin_predictions_nonfinite_total", labels, cells[-1])


def _add_served(sums: _Sums, copy: BlockCopy) -> None:
    labels = labels_of(copy, *VARIANT_LABELS, "instead_of", "reason")
    for outcome, count in zip(Outcome, copy.family(OUTCOME), strict=False):
        _add_used(sums, "serin_served_instead_total", (*labels, outcome.name.lower()), count)


def _add_golden(sums: _Sums, copy: BlockCopy) -> None:
    labels = labels_of(copy, *VARIANT_LABELS)
    for outcome, count in zip(Outcome, copy.family(OUTCOME), strict=False):
        _add_used(sums, "serin_golden_runs_total", (*labels, outcome.name.lower()), count)


def _add_mirror(sums: _Sums, copy: BlockCopy) -> None:
    labels, counts = labels_of(copy, *VARIANT_LABELS), counts_of(copy)
    for outcome, count in counts.outcomes.items():
        sums.add("serin_mirror_requests_total", (*labels, outcome), count)
    for reason, count in counts.dropped.items():
        sums.add("serin_mirror_dropped_total", (*labels, reason), count)
    edges = [micros / 1e6 for micros in telemetry.LATENCY_EDGES_US]
    latency = Histogram.of(edges, copy.family(telemetry.LATENCY), copy.family(telemetry.TIME_NS)[0] / 1e9)
    if latency.below[-1]:
        sums.add_histogram("serin_mirror_duration_seconds", labels, latency.thinned())
    if counts.pairs:
        sums.add("serin_mirror_pairs_total", (*labels, "same"), counts.pairs - counts.flipped)
        sums.add("serin_mirror_pairs_total", (*labels, "different"), counts.flipped)
    for found in counts.outputs:
        if found.same + found.different:
            of_output = (*labels, label_text(found.output))
            sums.add("serin_mirror_outputs_total", (*of_output, "same"), found.same)
            sums.add("serin_mirror_outputs_total", (*of_output, "different"), found.different)
            sums.add("serin_mirror_rows_total", (*of_output, "same"), found.rows_same)
            sums.add("serin_mirror_rows_total", (*of_output, "different"), found.rows_different)
            sums.add_histogram("serin_mirror_difference", of_output, Histogram.of(DIFFERENCE_EDGES, found.differences))


def _add_feedback(sums: _Sums, copy: BlockCopy) -> None:
    if copy.spec.kind == REFUSED_FEEDBACK:
        for reason, count in zip(REFUSALS, copy.family(REFUSED), strict=False):
            _add_used(sums, "serin_feedback_refused_total", (reason,), count)
        return
    assignment = "direct" if copy.spec.labels["assignment"] == "direct" else "split"
    labels = (*labels_of(copy, *VARIANT_LABELS), assignment)
    if any(copy.family(ISSUED)) or any(copy.family(GOOD)) or any(copy.family(BAD)):
        sums.add("serin_feedback_possible_total", labels, sum(copy.family(ISSUED)))
        for result in (GOOD, BAD):
            sums.add("serin_feedback_total", (*labels, result), sum(copy.family(result)))


def _add_inputs(sums: _Sums, copy: BlockCopy) -> None:
    labels, (counts,) = labels_of(copy, *VARIANT_LABELS), input_counts([copy])
    if counts.features:
        sums.add("serin_inputs_sampled_total", labels, counts.taken)
    for reason, count in counts.dropped.items():
        sums.add("serin_inputs_dropped_total", (*labels, reason), count)
    for found in counts.features:
        for quality, count in zip(QUALITY, found.quality, strict=True):
            _add_used(sums, "serin_input_values_total", (*labels, label_text(found.feature.name), quality), count)


def _add_gauges(sums: _Sums, copy: BlockCopy) -> None:
    labels, state = labels_of(copy, "model", "version"), copy.family("state")[0]
    if 0 < state < len(STATES):
        sums.add("serin_model_workers", (*labels, STATES[state]), 1)
        sums.add("serin_queued_requests", labels, copy.family("queued")[0])


def _add_extra(sums: _Sums, extra: Extra) -> None:
    sums.add("serin_build_info", (extra.build.name, extra.build.version, extra.build.onnxruntime), 1)
    if extra.table_revision is not None:
        sums.add("serin_table_revision", (), extra.table_revision)
    for use in extra.exposures:
        sums.add("serin_exposure_used", (use.model, use.limit), use.used)
        sums.add("serin_exposure_limit", (use.model, use.limit), use.allowed)
    for sample in extra.samples:
        sums.values[sample.name][sample.labels] = sample.value
    for weight in extra.weights:
        key = (weight.model, str(weight.version), weight.variant)
        sums.values["serin_route_weight_ratio"][key] = weight.weight_ppm / 1e6
        sums.values["serin_route_epoch"][(weight.model,)] = weight.epoch


def _add_shares(sums: _Sums, weights: Sequence[RouteWeight], copies: Sequence[BlockCopy]) -> None:
    counts: dict[tuple[str, int], Values] = defaultdict(lambda: defaultdict(float))
    for epoch, blocks in by_epoch(copy for copy in copies if copy.spec.kind == telemetry.VARIANT).items():
        for copy in blocks:
            labels, assigned = labels_of(copy, *VARIANT_LABELS), copy.family(ASSIGNED)
            counts[labels[0], epoch][labels] += assigned[How.SPLIT_KEYED] + assigned[How.SPLIT_DRAWN]
    for weight in weights:
        got = counts.get((weight.model, weight.epoch), {})
        everything = sum(got.values())
        if everything:
            key = (weight.model, str(weight.version), weight.variant)
            sums.values["serin_route_share_ratio"][key] = got.get(key, 0.0) / everything


def _families(sums: _Sums) -> Iterator[Metric]:
    for metric in METRICS:
        values: Mapping[Labels, float] = sums.values.get(metric.name, {})
        histograms = sums.histograms.get(metric.name, {})
        if metric.kind == "histogram" and histograms:
            family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, histogram in sorted(histograms.items()):
                family.add_metric(labels, histogram.buckets(), histogram.sum)
            yield family
        elif values:
            build = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            plain = build(metric.name, metric.help, labels=metric.labels)
            for labels, value in sorted(values.items()):
                plain.add_metric(labels, value)
            yield plain
