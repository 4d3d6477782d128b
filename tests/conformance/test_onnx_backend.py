"""ONNX's own backend test cases over HTTP and gRPC: what plain onnxruntime passes must pass here, however it is sent.

The ordinary lane takes a fixed sample; all cases, as about two thousand models of one gateway, are in the slow lane.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import grpc
import httpx
import numpy as np
import pytest

from tests.conformance import grpcclient, onnx_corpus, v2client
from tests.conformance.onnx_corpus import Call, Case
from tests.e2e import conftest as processes

IMPOSSIBLE: dict[str, str] = {}
"""Cases that plain onnxruntime passes and the gateway cannot, with the reason. None is known."""

SAMPLE_PART = 13
RARE = ("bfloat16", "float16", "string", "label_encoder", "nonzero", "loop", "scan", "identity_opt", "empty", "unique")
"""Words in names of cases that the sample holds besides: datatypes and shapes that are rare among the others."""

START_SECONDS = 300.0
Send = Callable[[httpx.Client, Case, Call], httpx.Response]


@dataclass
class Corpus:
    """A gateway that serves cases. `cases` are those to be sent; `refused` those that onnxruntime does not load."""

    running: processes.Running
    cases: list[Case]
    left_out: list[Case]
    started_seconds: float


def in_sample(name: str) -> bool:
    return crc32(name.encode()) % SAMPLE_PART == 0 or any(word in name for word in RARE)


@pytest.fixture(scope="module")
def sample() -> Iterator[Corpus]:
    with tempfile.TemporaryDirectory(prefix="serin-") as directory:
        yield from serve(Path(directory), in_sample)


@pytest.fixture(scope="module")
def everything() -> Iterator[Corpus]:
    with tempfile.TemporaryDirectory(prefix="serin-") as directory:
        yield from serve(Path(directory), lambda name: True)


def serve(directory: Path, keep: Callable[[str], bool]) -> Iterator[Corpus]:
    names = onnx_corpus.write_cases(directory, keep)
    cases = list(onnx_corpus.run_all(directory, names).values())
    for case in cases:
        # `null` would hide what a value that is not finite was; every other case keeps the default.
        if not all(finite(array) for call in case.calls for array in call.outputs.values()):
            (directory / "models" / case.name / "model.toml").write_text('non_finite = "token"\n')
    begun = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "START_SECONDS", START_SECONDS)
        with processes.gateway(directory, "--workers", "1", "--onnx-threads", "1") as running:
            chosen = [case for case in cases if not case.reason and case.name not in IMPOSSIBLE]
            left_out = [case for case in cases if case.reason]
            yield Corpus(running, chosen, left_out, time.monotonic() - begun)


def finite(array: np.ndarray) -> bool:
    return array.dtype.kind not in "fV" or bool(np.isfinite(array.astype(np.float64)).all())


# ---- the ways to ask ----


def binary(http: httpx.Client, case: Case, call: Call) -> httpx.Response:
    body, headers = v2client.binary_request(call.feeds, case.datatypes)
    return http.post(f"/v2/models/{case.name}/infer", content=body, headers=headers)


def flat_json(http: httpx.Client, case: Case, call: Call) -> httpx.Response:
    content = json.dumps(v2client.json_request(call.feeds, case.datatypes))
    return http.post(f"/v2/models/{case.name}/versions/1/infer", content=content)


def nested_json(http: httpx.Client, case: Case, call: Call) -> httpx.Response:
    content = json.dumps(v2client.json_request(call.feeds, case.datatypes, nested=True), ensure_ascii=False)
    return http.post(f"/v2/models/{case.name}/infer", content=content.encode())


def mixed(http: httpx.Client, case: Case, call: Call) -> httpx.Response:
    """Inputs in turn as JSON and binary, and the outputs the other way round, in reverse order."""
    inputs, blobs = [], []
    for number, (name, array) in enumerate(call.feeds.items()):
        datatype = case.datatypes[name]
        if number % 2:
            data = v2client.json_data(array, datatype)
            inputs.append(v2client.tensor(name, array, datatype, data=data))
        else:
            blobs.append(v2client.pack(array, datatype))
            size = {"binary_data_size": len(blobs[-1])}
            inputs.append(v2client.tensor(name, array, datatype, parameters=size))
    outputs = [
        {"name": name, "parameters": {"binary_data": bool(number % 2)}} for number, name in enumerate(call.outputs)
    ]
    body, headers = v2client.framed({"inputs": inputs, "outputs": outputs[::-1]}, *blobs)
    return http.post(f"/v2/models/{case.name}/infer", content=body, headers=headers)


WAYS: list[Send] = [binary, flat_json, nested_json, mixed]


def failures(corpus: Corpus, send: Send) -> dict[str, str]:
    """What is wrong with which case; all cases are sent."""
    found = {}
    with httpx.Client(base_url=corpus.running.http, timeout=60) as http:
        for case in corpus.cases:
            for call in case.calls:
                try:
                    compare(send(http, case, call), case, call, exact=send is binary)
                except (AssertionError, ValueError, KeyError, httpx.HTTPError) as error:
                    found[case.name] = f"{type(error).__name__}: {error}"[:300]
    return found


# ---- over gRPC ----


def raw(case: Case, call: Call) -> Any:
    return grpcclient.raw_request(case.name, call.feeds, case.datatypes)


def typed(case: Case, call: Call) -> Any:
    """What has no typed form goes raw."""
    if any(case.datatypes[name] not in grpcclient.FIELDS for name in call.feeds):
        return raw(case, call)
    return grpcclient.typed_request(case.name, call.feeds, case.datatypes, version="1")


MESSAGES: list[Callable[[Case, Call], Any]] = [raw, typed]


def grpc_failures(corpus: Corpus, message: Callable[[Case, Call], Any]) -> dict[str, str]:
    """As `failures`."""
    found = {}
    with grpcclient.stub(corpus.running.seen["grpc"]) as stub:
        for case in corpus.cases:
            for call in case.calls:
                try:
                    outputs = grpcclient.outputs_of(stub.ModelInfer(message(case, call), timeout=60))
                    assert list(outputs) == list(call.outputs)
                    # A typed float is the same number; of NaN it keeps no more than that it is one.
                    same = onnx_corpus.same if message is raw else v2client.alike
                    wrong = [name for name, wanted in call.outputs.items() if not same(outputs[name], wanted)]
                    assert not wrong, wrong
                except (AssertionError, ValueError, KeyError, grpc.RpcError) as error:
                    found[case.name] = f"{type(error).__name__}: {error}"[:300]
    return found


def compare(answer: httpx.Response, case: Case, call: Call, exact: bool) -> None:
    outputs = v2client.outputs_of(answer)
    assert set(outputs) == set(call.outputs)
    for name, wanted in call.outputs.items():
        same = onnx_corpus.same if exact else v2client.alike
        assert same(outputs[name], wanted), f"{name}: {outputs[name].ravel()[:5]} instead of {wanted.ravel()[:5]}"
    if exact:
        assert list(outputs) == list(call.outputs), "not in the order of the model"


# ---- the sample ----


@pytest.mark.parametrize("send", WAYS, ids=lambda send: send.__name__)
def test_the_sample_answers_what_onnxruntime_answers(sample: Corpus, send: Send) -> None:
    assert len(sample.cases) >= 150
    assert {name for case in sample.cases for name in case.datatypes.values()} == set(v2client.DTYPES)
    assert failures(sample, send) == {}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.__name__)
def test_the_sample_answers_the_same_over_grpc(sample: Corpus, message: Callable[[Case, Call], Any]) -> None:
    assert grpc_failures(sample, message) == {}


def test_what_onnxruntime_cannot_load_is_not_ready_and_the_rest_is(sample: Corpus) -> None:
    assert wrongly_ready(sample) == {}


# ---- all of them ----


@pytest.mark.slow
@pytest.mark.parametrize("send", WAYS, ids=lambda send: send.__name__)
def test_every_case_answers_what_onnxruntime_answers(everything: Corpus, send: Send) -> None:
    print(f"{len(everything.cases)} cases, started in {everything.started_seconds:.1f} s")
    assert len(everything.cases) >= 1500
    assert failures(everything, send) == {}


@pytest.mark.slow
@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.__name__)
def test_every_case_answers_the_same_over_grpc(everything: Corpus, message: Callable[[Case, Call], Any]) -> None:
    assert grpc_failures(everything, message) == {}


@pytest.mark.slow
def test_of_two_thousand_models_exactly_those_that_load_are_ready(everything: Corpus) -> None:
    assert wrongly_ready(everything) == {}


def wrongly_ready(corpus: Corpus) -> dict[str, str]:
    """Readiness that is not what ONNX Runtime makes of the file."""
    unloaded = [case for case in corpus.left_out if case.reason.startswith(("onnxruntime cannot", "V2 cannot"))]
    wrong = {}
    with httpx.Client(base_url=corpus.running.http, timeout=60) as http:
        for cases, ready in ((corpus.cases, True), (unloaded, False)):
            for case in cases:
                answer = http.get(f"/v2/models/{case.name}/versions/1/ready")
                if (answer.status_code == 200) is not ready:
                    wrong[case.name] = f"{answer.status_code} {answer.text}"
    return wrong
