"""Results as tables and as lines of JSON."""

import json
from pathlib import Path

from rich.console import Console

from loadtests import report
from loadtests.bench import Compared
from loadtests.hotpath import Stage
from loadtests.machine import facts
from loadtests.measured import Measured
from loadtests.scenario import Scenario

SCENARIO = Scenario(name="tiny-json", sets=("short",), model="tiny", concurrency=64)
RESULT = Compared(
    SCENARIO,
    {
        "reference": (Measured(2750, 1.0, 20.0, 40.0, core_micros=350.2),),
        "serin": (Measured(16500, 1.0, 3.0, 6.0, {"status 503": 7}),),
    },
)


def printed(table: object) -> str:
    console = Console(width=160, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(table)
    return console.export_text()


def test_both_servers_have_a_line_with_rate_percentiles_ratio_and_errors() -> None:
    first, second = printed(report.loads([RESULT])).splitlines()[1:]
    assert first.split() == ["tiny-json", "as", "is", "reference", "2,750", "±0%", "20.00", "40.00", "350", "0"]
    assert second.split() == ["serin", "16,500", "±0%", "3.00", "6.00", "0", "6.00", "0.15", "7"]


def test_a_stage_has_its_microseconds_and_its_ratio() -> None:
    assert "1.25" in printed(report.stages([Stage("decode JSON", 1.25, 0.125)]))


def test_saved_results_are_lines_that_say_what_they_were_measured_on(tmp_path: Path) -> None:
    path = tmp_path / "results" / "a.jsonl"
    for _ in range(2):
        report.save(path, [RESULT], [Stage("decode JSON", 1.25, 0.125)], {"machine": {"cores": "2"}})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 4
    assert lines[0]["scenario"]["name"] == "tiny-json"
    assert lines[0]["ratios"] == {"reference": 1.0, "serin": 6.0}
    assert lines[0]["rounds"]["serin"][0]["errors"] == {"status 503": 7}
    assert all(line["machine"] == {"cores": "2"} for line in lines)


def test_the_foot_has_machine_and_versions() -> None:
    machine, libraries = report.foot(facts()).splitlines()
    assert "CPython" in machine
    assert "onnxruntime" in libraries
