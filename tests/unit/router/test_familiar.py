"""Names of Triton and KServe: what they say, and that a reader of either form of the page understands them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from router.counters import Segment
from router.exposition import Build, Exposition, Extra, render
from router.familiar import FamiliarReader
from router.metrics import KSERVE, TRITON, Familiarity
from router.runs import run_counter
from router.telemetry import How, Outcome, Recorder, SeriesName

PHASES = (1_000_000, 200_000, 5_000_000, 300_000)
TOTAL = 6_000_000
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def counters(tmp_path: Path) -> Iterator[Path]:
    """Three answered requests of eight rows in two runs, a failure, and one that waits."""
    segment = Segment.open(tmp_path, 0)
    series = Recorder(segment).variant(SeriesName("digits", 2, "canary", 1), (), 0)
    for outcome in (Outcome.OK, Outcome.OK, Outcome.OK, Outcome.ERROR):
        series.assigned(How.SPLIT_DRAWN)
        series.observe(outcome, TOTAL, PHASES, ())
    count = run_counter(segment, "digits", 2)
    count(3, 10, 1)
    count(5, 10, 1)
    Recorder(segment).version("digits", 2).queued(1)
    yield tmp_path
    segment.close()


def page(counters: Path, which: Familiarity, accept: str = "") -> str:
    exposition = Exposition(counters, lambda: Extra(Build("serin", "0", "0")))
    return render(exposition, FamiliarReader(counters, which), accept)[0].decode()


def samples(text: str, parse=parse_text) -> dict[str, float]:
    # The parser of the older form gives every counter the suffix that it misses.
    return {
        sample.name.removesuffix("_total") + str(sorted(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def named(name: str, **labels: str) -> str:
    return name + str(sorted({"model": "digits", "version": "2", **labels}.items()))


@pytest.mark.parametrize(("accept", "parse"), [("", parse_text), (OPENMETRICS, parse_openmetrics)])
def test_triton_names_count_rows_runs_and_microseconds(counters: Path, accept: str, parse) -> None:
    found = samples(page(counters, "triton", accept), parse)
    wanted = {
        named("nv_inference_request_success"): 3,
        named("nv_inference_request_failure", reason="BACKEND"): 1,
        named("nv_inference_request_failure", reason="REJECTED"): 0,
        named("nv_inference_count"): 8,
        named("nv_inference_exec_count"): 2,
        named("nv_inference_request_duration_us"): 3 * 7_300,
        named("nv_inference_queue_duration_us"): 3 * 200,
        named("nv_inference_compute_input_duration_us"): 3 * 1_000,
        named("nv_inference_compute_infer_duration_us"): 3 * 5_000,
        named("nv_inference_compute_output_duration_us"): 3 * 300,
        named("nv_inference_pending_request_count"): 1,
    }
    assert {name: found.get(name) for name in wanted} == wanted
    assert not any(name.startswith("request_") for name in found)


def test_triton_counters_are_counters_without_the_suffix(counters: Path) -> None:
    lines = page(counters, "triton").splitlines()
    assert "# TYPE nv_inference_count counter" in lines
    assert "# TYPE nv_inference_pending_request_count gauge" in lines
    assert not any("_total" in line for line in lines if "nv_" in line)


def test_kserve_names_are_histograms_by_model(counters: Path) -> None:
    found = samples(page(counters, "kserve"))
    for name, seconds in (
        ("request_preprocess_seconds", 0.001),
        ("request_predict_seconds", 0.006),
        ("request_postprocess_seconds", 0.0003),
    ):
        assert found[f"{name}_count[('model_name', 'digits')]"] == 4
        assert found[f"{name}_sum[('model_name', 'digits')]"] == pytest.approx(4 * seconds)
    assert not any(name.startswith("nv_") for name in found)


@pytest.mark.parametrize(("which", "triton", "kserve"), [("none", 0, 0), ("all", len(TRITON), len(KSERVE))])
def test_they_are_there_when_they_are_wanted(counters: Path, which: Familiarity, triton: int, kserve: int) -> None:
    names = {family.name for family in parse_text(page(counters, which))}
    assert len({name for name in names if name.startswith("nv_")}) == triton
    assert len({name for name in names if name.startswith("request_")}) == kserve


def test_before_the_first_request_there_is_nothing_to_show(tmp_path: Path) -> None:
    assert page(tmp_path, "all", OPENMETRICS).endswith("# EOF\n")
    assert {family.name for family in parse_text(page(tmp_path, "all"))} == {"serin_build_info"}
