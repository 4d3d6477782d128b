"""Triton's and KServe's names on /metrics mean what their dashboards take them for: against counts of the clients,
while requests run together."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton

from tests.e2e.conftest import ROOT, Running
from tests.e2e.test_shadow_fallback import metric
from tests.e2e.traffic import body_of, keyless, post, run

Start = Callable[..., Any]
ROWS, REQUESTS, CALLS = 4, 600, 40
MANY = body_of(inputs=[{"name": "pixels", "datatype": "FP32", "shape": [ROWS, 64], "data": [0] * 64 * ROWS}])
INFER = "/v2/models/digits/infer"


def triton_says(running: Running, name: str, **labels: str) -> float:
    """The parser gives every counter a `_total`, which the page does not have."""
    return metric(running, f"nv_inference_{name}_total", model="digits", version="1", **labels)


def test_counts_are_those_of_the_clients_while_requests_run_together(start: Start, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models" / "digits", tmp_path / "models" / "digits")
    with (tmp_path / "models" / "digits" / "model.toml").open("a") as manifest:
        manifest.write('\n[execution]\nmode = "thread"\nmax_batch_rows = 64\nmax_wait_seconds = 0.005\n')
    with start("--workers", "2", "--familiar-metrics", "all") as running:
        answers = run(running.http, lambda number: post(INFER, MANY), count=REQUESTS, connections=32)
        answers += run(running.http, lambda number: post(INFER, b'{"inputs": []}'), count=10)
        pixels = triton.InferInput("pixels", [1, 64], "FP32")
        pixels.set_data_from_numpy(np.zeros((1, 64), np.float32))
        with triton.InferenceServerClient(running.seen["grpc"]) as client:
            for _ in range(CALLS):
                client.infer("digits", [pixels])

        statuses = [answer.status for answer in answers]
        assert (statuses.count(200), statuses.count(400)) == (REQUESTS, 10)
        answered = REQUESTS + CALLS
        assert triton_says(running, "request_success") == answered
        assert triton_says(running, "count") == REQUESTS * ROWS + CALLS
        assert CALLS < triton_says(running, "exec_count") < answered, "none ran together"
        assert triton_says(running, "request_failure", reason="OTHER") == 10
        assert triton_says(running, "request_failure") == 10
        assert metric(running, "nv_inference_pending_request_count", model="digits") == 0

        parts = ("queue", "compute_input", "compute_infer", "compute_output")
        micros = {part: triton_says(running, f"{part}_duration_us") for part in parts}
        assert sum(micros.values()) <= triton_says(running, "request_duration_us")
        assert min(micros["compute_input"], micros["compute_infer"], micros["compute_output"]) > 0
        # KServe's are of all requests that ran; a body that cannot be bound to the model ran nothing.
        for part in ("preprocess", "predict", "postprocess"):
            assert metric(running, f"request_{part}_seconds_count", model_name="digits") >= answered
            assert metric(running, f"request_{part}_seconds_sum", model_name="digits") > 0


def test_without_the_setting_no_such_name_is_shown(start: Start) -> None:
    with start("--workers", "1", models=("digits/1",)) as running:
        run(running.http, keyless, count=5)
        assert metric(running, "serin_requests_total", outcome="ok") == 5
        assert triton_says(running, "request_success") == 0
        assert metric(running, "request_predict_seconds_count") == 0
