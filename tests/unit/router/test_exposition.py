"""What Prometheus sees: the sum of all workers, only of what was used, under the names of the table."""

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from router.aftermath import settle
from router.counters import Segment
from router.errors import ShedReason
from router.exposition import Build, Exposition, Extra, RouteWeight, render
from router.exposures import ExposureUse
from router.goldens import golden_series
from router.inputs import Feature, input_series
from router.metrics import METRICS, Sample
from router.mirrors import MirrorName, OutputDifference, mirror_series
from router.rewards import REFUSALS, REFUSED, refused_spec, serving_series
from router.runs import run_counter
from router.telemetry import How, Outcome, Recorder, SeriesName, WatchedFamily
from router.tokens import Given

BUILD = Build("serin", "0.1.0", "1.32.0")
CLASSES = WatchedFamily("label", "class", labels=("a", "b", "other"))
VALUES = WatchedFamily("target", "value", edges=(0.5, 1.5))
TOP = WatchedFamily("p", "confidence", edges=(0.5, 0.9))
WATCHED = (CLASSES, VALUES, TOP)
NAME = SeriesName("digits", 2, "canary", epoch=1)
PHASE_TIMES = (1_500, 0, 90_000, 2_500)
WEIGHTS = (RouteWeight("digits", 1, "stable", 900_000, 1), RouteWeight("digits", 2, "canary", 100_000, 1))


class Gateway:
    """Some workers that count, and the page that any of them would answer."""

    def __init__(self, directory):
        self.directory = directory
        self.segments = {}
        self.extra = Extra(BUILD, WEIGHTS, table_revision=17)
        self.exposition = Exposition(directory, lambda: self.extra)

    def worker(self, slot=0) -> Recorder:
        if slot not in self.segments:
            self.segments[slot] = Segment.open(self.directory, slot)
        return Recorder(self.segments[slot])

    def requests(self, count=1, *, slot=0, name=NAME, watched=WATCHED, cells=(0, 3, 7), how=How.SPLIT_KEYED):
        series = self.worker(slot).variant(name, watched, 0)
        for _ in range(count):
            series.assigned(how)
            series.observe(Outcome.OK, 500_000, PHASE_TIMES, cells)

    def shed(self, slot=0, reason=ShedReason.QUEUE_FULL):
        series = self.worker(slot).variant(NAME, WATCHED, 0)
        series.assigned(How.SPLIT_DRAWN)
        series.shed(reason)
        series.observe(Outcome.SHED, 0, PHASE_TIMES, ())

    def golden(self, slot=0, outcome=Outcome.OK):
        series = golden_series(self.worker(slot), SeriesName("digits", 2, "canary", 1), 0)
        series.given()
        series.ended(outcome)

    def mirrored(self, slot=0, different=1):
        series = mirror_series(self.worker(slot), MirrorName("digits", 2, "canary", 1), [("label", "exact")], 0)
        series.dropped("queue_full")
        for flipped in [0] * 3 + [1] * different:
            series.given()
            series.ended(Outcome.OK, 500_000)
            series.compared([OutputDifference(2, flipped, flipped / 2)])

    def sampled(self, slot=0):
        age = Feature("age", "number", edges=(30.0,))
        inputs = input_series(self.worker(slot), NAME, (age,), {}, 0)
        inputs.taken()
        inputs.dropped("queue_full")
        inputs.count(0, [0, 2], [0, 1], [True, True])

    def judged(self, slot=0, kind="split", epoch=1):
        given = Given("digits", 2, "canary", epoch, kind)
        series = serving_series(self.worker(slot).segment, given, 5)
        series.issued[0] += 3
        series.reward(0, True)
        series.reward(5, False)
        self.segments[slot].block(refused_spec()).family(REFUSED)[REFUSALS.index("expired")] += 1

    def page(self, accept="") -> str:
        return render(self.exposition, accept=accept)[0].decode()

    def samples(self) -> dict[str, float]:
        return {
            sample.name + str(sorted(sample.labels.items())): sample.value
            for family in parse_text(self.page())
            for sample in family.samples
        }

    def value(self, name, **labels) -> float | None:
        return self.samples().get(name + str(sorted(labels.items())))

    def stop(self, slot):
        self.segments.pop(slot).close()


@pytest.fixture
def gateway(tmp_path):
    made = Gateway(tmp_path)
    yield made
    for slot in list(made.segments):
        made.stop(slot)


CANARY = {"model": "digits", "version": "2", "variant": "canary"}


def test_requests_are_the_sum_of_all_workers(gateway):
    gateway.requests(3, slot=0)
    gateway.requests(4, slot=1)
    assert gateway.value("serin_requests_total", **CANARY, assignment="split", outcome="ok") == 7
    assert gateway.value("serin_assigned_total", **CANARY, how="split_keyed") == 7
    assert gateway.value("serin_request_duration_seconds_count", **CANARY) == 7
    assert gateway.value("serin_predictions_total", **CANARY, output="label", **{"class": "a"}) == 7


def test_a_series_exists_only_after_its_first_request(gateway):
    gateway.worker().variant(NAME, WATCHED, 0)
    gateway.extra = Extra(BUILD)
    assert [family.name for family in parse_text(gateway.page())] == ["serin_build_info"]


def test_direct_requests_have_their_own_assignment(gateway):
    gateway.requests(2)
    gateway.requests(1, name=SeriesName("digits", 2, "canary", direct=True), how=How.VERSION)
    assert gateway.value("serin_requests_total", **CANARY, assignment="split", outcome="ok") == 2
    assert gateway.value("serin_requests_total", **CANARY, assignment="direct", outcome="ok") == 1
    assert gateway.value("serin_request_duration_seconds_count", **CANARY) == 3


def test_all_classes_are_there_as_soon_as_one_is(gateway):
    gateway.requests(1)
    assert gateway.value("serin_predictions_total", **CANARY, output="label", **{"class": "b"}) == 0


def test_rows_behind_the_first_are_predictions_too(gateway):
    gateway.requests(1)
    gateway.worker().variant(NAME, WATCHED, 0).more(((1, 9), (6, 2)))
    assert gateway.value("serin_predictions_total", **CANARY, output="label", **{"class": "b"}) == 9
    assert gateway.value("serin_predictions_nonfinite_total", **CANARY, output="target") == 2


def test_the_99th_percentile_of_a_model_of_half_a_millisecond_can_be_told(gateway):
    gateway.requests(99)
    edges = [
        (float(sample.labels["le"]), sample.value)
        for family in parse_text(gateway.page())
        for sample in family.samples
        if sample.name == "serin_request_duration_seconds_bucket"
    ]
    below = max(edge for edge, count in edges if count == 0)
    above = min(edge for edge, count in edges if count == 99)
    assert below < 0.0005 <= above < 1.25 * below
    assert edges[-1] == (float("inf"), 99)


def test_times_are_in_seconds(gateway):
    gateway.requests(2)
    assert gateway.value("serin_request_duration_seconds_sum", **CANARY) == pytest.approx(0.001)
    assert gateway.value("serin_request_phase_duration_seconds_sum", **CANARY, phase="compute") == pytest.approx(180e-6)
    assert gateway.value("serin_request_phase_duration_seconds_count", **CANARY, phase="queue") == 2


def test_histograms_with_other_edges_never_take_a_count_back(gateway):
    gateway.requests(5, cells=(0, 4, 7))  # target in (0.5, 1.5]
    before = gateway.samples()
    finer = WatchedFamily("target", "value", edges=(0.5, 1.0, 2.0))
    gateway.requests(1, watched=(finer,), cells=(1,))  # in (0.5, 1.0]
    after = gateway.samples()
    assert all(after[name] >= value for name, value in before.items())
    labels = {**CANARY, "output": "target"}
    assert gateway.value("serin_prediction_value_bucket", **labels, le="1.0") == 1
    assert gateway.value("serin_prediction_value_bucket", **labels, le="1.5") == 6
    assert gateway.value("serin_prediction_value_bucket", **labels, le="2.0") == 6


def test_requests_in_flight_and_queues_are_gauges_of_what_lives(gateway, tmp_path):
    recorder = gateway.worker()
    recorder.variant(NAME, WATCHED, 0).assigned(How.SPLIT_KEYED)
    recorder.version("digits", 2).state("READY")
    recorder.version("digits", 2).queued(4)
    gateway.worker(1).version("digits", 2).state("LOADING")
    version = {"model": "digits", "version": "2"}
    assert gateway.value("serin_requests_in_flight", **version) == 1
    assert gateway.value("serin_queued_requests", **version) == 4
    assert gateway.value("serin_model_workers", **version, state="READY") == 1
    assert gateway.value("serin_model_workers", **version, state="LOADING") == 1
    gateway.stop(0)
    assert settle(tmp_path, 0, ("digits", 2)) == 1
    assert gateway.value("serin_requests_in_flight", **version) == 0
    assert gateway.value("serin_queued_requests", **version) == 0
    assert gateway.value("serin_model_workers", **version, state="READY") is None
    assert gateway.value("serin_requests_total", **CANARY, assignment="split", outcome="error") == 1


def test_weights_wanted_and_measured_stand_side_by_side(gateway):
    gateway.requests(50, name=SeriesName("digits", 1, "stable", epoch=0))  # an older epoch does not count
    gateway.requests(9, name=SeriesName("digits", 1, "stable", epoch=1))
    gateway.requests(1, slot=1)
    gateway.requests(7, name=SeriesName("digits", 2, "canary", direct=True), how=How.RULE)
    assert gateway.value("serin_route_weight_ratio", **CANARY) == 0.1
    assert gateway.value("serin_route_share_ratio", **CANARY) == 0.1
    assert gateway.value("serin_route_epoch", model="digits") == 1
    assert gateway.value("serin_table_revision") == 17


def test_nothing_goes_down_when_workers_come_and_go(gateway, tmp_path):
    gateway.requests(3)
    gateway.worker().worker().rejected("not_found")
    before = gateway.samples()
    gateway.stop(0)
    again = Gateway(tmp_path)
    again.worker(1)
    after = again.samples()
    assert all(after[name] >= value for name, value in before.items())
    again.stop(1)


def test_what_clients_send_makes_no_series(gateway):
    gateway.requests(1)
    before = len(gateway.samples())
    for number in range(1000):
        gateway.worker().worker().rejected(f"reason {number}")
    assert len(gateway.samples()) == before + 2  # one reason for all of them, and the worker's restarts


def test_label_values_stay_on_their_line_and_short(gateway):
    rude = WatchedFamily("la\nbel", "class", labels=("x" * 500, 'quo"te\\', "other"))
    gateway.requests(1, watched=(rude,), cells=(0,))
    assert gateway.value("serin_predictions_total", **CANARY, output="la\ufffdbel", **{"class": "x" * 64}) == 1
    assert gateway.value("serin_predictions_total", **CANARY, output="la\ufffdbel", **{"class": 'quo"te\\'}) == 0


def test_every_series_is_in_the_table_with_its_labels(gateway):
    gateway.requests(2)
    gateway.shed()
    gateway.worker().version("digits", 2).state("READY")
    gateway.worker().worker().rejected("not_found")
    served = gateway.worker().served(NAME, "canary", "error", WATCHED)
    served.assigned(How.SPLIT_DRAWN)
    served.observe(Outcome.OK, 500_000, PHASE_TIMES, ())
    gateway.mirrored()
    gateway.golden()
    gateway.sampled()
    gateway.judged()
    run_counter(gateway.worker().segment, "digits", 2)(4, 1000, 1)
    told = [metric for metric in METRICS if metric.admin_only or metric.name.startswith("serin_tls_")]
    samples = tuple(Sample(metric.name, tuple(map(str, range(len(metric.labels)))), 1) for metric in told)
    gateway.extra = replace(gateway.extra, exposures=(ExposureUse("digits", "requests", 3, 10),), samples=samples)
    table = {metric.name.removesuffix("_total"): metric for metric in METRICS}
    families = list(parse_text(gateway.page()))
    for family in families:
        metric = table[family.name]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)
    assert {family.name for family in families} == set(table)


def test_why_requests_were_not_run_adds_up_by_reason_over_the_workers(gateway):
    gateway.shed(0)
    gateway.shed(1)
    gateway.shed(1, ShedReason.POISON)
    assert gateway.value("serin_shed_requests_total", **CANARY, reason="queue_full") == 2
    assert gateway.value("serin_shed_requests_total", **CANARY, reason="poison") == 1
    assert gateway.value("serin_shed_requests_total", **CANARY, reason="late") is None


def test_runs_and_their_rows_of_all_workers_add_up(gateway):
    for slot in (0, 1):
        run_counter(gateway.worker(slot).segment, "digits", 2)(4, 1000, 1)
    assert gateway.value("serin_runs_total", model="digits", version="2") == 2
    assert gateway.value("serin_run_rows_total", model="digits", version="2") == 8


def test_sampled_inputs_of_all_workers_add_up(gateway):
    gateway.sampled(0)
    gateway.sampled(1)
    assert gateway.value("serin_inputs_sampled_total", **CANARY) == 2
    assert gateway.value("serin_inputs_dropped_total", **CANARY, reason="queue_full") == 2
    assert gateway.value("serin_input_values_total", **CANARY, feature="age", quality="missing") == 2
    assert gateway.value("serin_input_values_total", **CANARY, feature="age", quality="out_of_range") is None


def test_golden_rows_of_all_workers_add_up_and_are_nobodys_requests(gateway):
    gateway.golden()
    gateway.golden(slot=1)
    gateway.golden(slot=1, outcome=Outcome.ERROR)
    assert gateway.value("serin_golden_runs_total", **CANARY, outcome="ok") == 2
    assert gateway.value("serin_golden_runs_total", **CANARY, outcome="error") == 1
    assert gateway.value("serin_requests_total", **CANARY, outcome="ok") is None


def test_mirrors_of_all_workers_add_up_and_are_nobodys_requests(gateway):
    gateway.mirrored()
    gateway.mirrored(slot=1, different=2)
    assert gateway.value("serin_mirror_pairs_total", **CANARY, result="same") == 6
    assert gateway.value("serin_mirror_pairs_total", **CANARY, result="different") == 3
    assert gateway.value("serin_mirror_rows_total", **CANARY, output="label", result="same") == 15
    assert gateway.value("serin_mirror_dropped_total", **CANARY, reason="queue_full") == 2
    assert gateway.value("serin_mirror_difference_bucket", **CANARY, output="label", le="0.25") == 6
    assert gateway.value("serin_mirror_difference_bucket", **CANARY, output="label", le="0.5") == 9
    assert not any("serin_requests_total" in name or "serin_assigned" in name for name in gateway.samples())


def test_what_is_served_instead_is_timed_as_what_the_version_did_and_counted_apart(gateway):
    gateway.requests(2)
    served = gateway.worker().served(NAME, "other", "timeout", WATCHED)
    served.assigned(How.SPLIT_KEYED)
    served.observe(Outcome.OK, 500_000, PHASE_TIMES, (0, 3, 7))
    labels = {"instead_of": "other", "reason": "timeout", "outcome": "ok"}
    assert gateway.value("serin_served_instead_total", **CANARY, **labels) == 1
    assert gateway.value("serin_requests_total", **CANARY, assignment="split", outcome="ok") == 2
    assert gateway.value("serin_request_duration_seconds_count", **CANARY) == 3
    assert gateway.value("serin_route_share_ratio", **CANARY) == 1


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4"),
        ("text/html,*/*;q=0.1", "text/plain; version=0.0.4"),
        ("application/openmetrics-text; version=1.0.0,text/plain;version=0.0.4;q=0.5", "application/openmetrics-text"),
    ],
)
def test_the_format_is_what_the_scraper_accepts(gateway, accept, content_type):
    gateway.requests(1)
    page, said = render(gateway.exposition, accept=accept)
    assert said.startswith(content_type)
    parse = parse_openmetrics if "openmetrics" in said else parse_text
    assert len(list(parse(page.decode()))) > 10


def test_registering_reads_nothing(tmp_path):
    def fail() -> Extra:
        raise AssertionError("called at registration")

    CollectorRegistry(auto_describe=True).register(Exposition(tmp_path, fail))


def test_feedback_of_all_workers_and_epochs_adds_up_by_result(gateway):
    for slot, kind, epoch in ((0, "split", 1), (1, "split", 1), (0, "split", 2), (0, "unit", 2), (1, "direct", 0)):
        gateway.judged(slot, kind, epoch)
    assert gateway.value("serin_feedback_possible_total", **CANARY, assignment="split") == 12
    assert gateway.value("serin_feedback_total", **CANARY, assignment="split", result="good") == 4
    assert gateway.value("serin_feedback_total", **CANARY, assignment="split", result="bad") == 4
    assert gateway.value("serin_feedback_total", **CANARY, assignment="direct", result="good") == 1
    assert gateway.value("serin_feedback_refused_total", reason="expired") == 5
