"""What wrk prints, as numbers."""

from pathlib import Path

import pytest

from loadtests.load import LoadFailed, Own, generator, read_wrk

PRINTED = """Running 2s test @ http://127.0.0.1:1
  1 threads and 64 connections
Requests/sec:  16000.00

{"requests": 32000, "micros": 2000000, "p50": 3900.0, "p99": 6100.0, "status": 4, "lost": 0, "timeout": 1}
"""


def test_answers_that_are_not_200_are_errors_and_do_not_count_as_requests() -> None:
    found = read_wrk(PRINTED)
    assert (found.requests, found.seconds, found.p50_ms, found.p99_ms) == (31996, 2.0, 3.9, 6.1)
    assert found.errors == {"status not 200": 4, "no answer": 1}


def test_a_wrk_that_did_not_measure_is_a_failure() -> None:
    with pytest.raises(LoadFailed, match="unable to connect"):
        read_wrk("unable to connect to 127.0.0.1:1 Connection refused")


def test_our_own_client_can_be_asked_for(tmp_path: Path) -> None:
    assert isinstance(generator(tmp_path, own=True), Own)
