"""Children: what they are told at their start, and how their reports are read."""

import os
from typing import Any

import pytest

from service import children
from service.children import ChildSpec, _Reports, environment


def test_a_worker_is_named_with_its_slot_and_the_others_by_their_role() -> None:
    assert ChildSpec("worker", "m", 3).name == "worker-3"
    assert ChildSpec("controller", "m").name == "controller"


def test_reports_are_read_line_by_line_however_they_are_cut() -> None:
    seen: list[dict[str, Any]] = []
    reports = _Reports(seen.append)
    for piece in (b'{"listen', b'ing": true}\n{"ready"', b": true}\n\n"):
        reports.data_received(piece)
    assert seen == [{"listening": True}, {"ready": True}]


def test_a_report_that_is_no_json_object_is_left_out() -> None:
    seen: list[dict[str, Any]] = []
    _Reports(seen.append).data_received(b'rubbish\n[1]\n\xff\xfe\n{"ready": true}\n')
    assert seen == [{"ready": True}]


def test_an_endless_report_does_not_grow_without_bound() -> None:
    reports = _Reports(lambda facts: None)
    for _ in range(40):
        reports.data_received(b"x" * 65536)
    assert len(reports.rest) <= children.REPORT_LIMIT_BYTES


def test_a_child_inherits_the_environment_and_finds_our_code_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("LANG", "C.UTF-8")
    made = environment()
    assert made["PYTHONPATH"] == f"{children.ROOT}{os.pathsep}/elsewhere"
    assert (made["LANG"], made["OMP_NUM_THREADS"]) == ("C.UTF-8", "1")
