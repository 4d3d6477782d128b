"""One entry of Triton's statistics."""

from typing import Any

from google.protobuf.json_format import ParseDict
from tritonclient.grpc.service_pb2 import ModelStatistics

from router.runs import Runs
from router.statistics import VersionStatistics
from service.statistics import document

SEEN = VersionStatistics(
    answered=4,
    decode_ns=10,
    queue_ns=20,
    compute_ns=30,
    encode_ns=40,
    request_ns=110,
    failed={"BACKEND": 1, "REJECTED": 2},
    failed_ns=7,
    runs=Runs(2, 9, ((1, 1, 5), (8, 1, 25)), 1),
)


def test_rows_and_runs_are_counted_apart_and_times_come_with_counts() -> None:
    found: Any = document(("digits", 2), SEEN, 99)
    assert (found["name"], found["version"], found["last_inference"]) == ("digits", "2", 99)
    assert (found["inference_count"], found["execution_count"]) == (9, 2)
    assert found["inference_stats"]["success"] == {"count": 4, "ns": 110}
    assert found["inference_stats"]["fail"] == {"count": 3, "ns": 7}
    assert found["inference_stats"]["queue"] == {"count": 4, "ns": 20}
    assert [(b["batch_size"], b["compute_infer"]) for b in found["batch_stats"]] == [
        (1, {"count": 1, "ns": 5}),
        (8, {"count": 1, "ns": 25}),
    ]


def test_the_document_is_a_message_of_triton_as_it_stands() -> None:
    message = ParseDict(document(("digits", 2), SEEN, 99), ModelStatistics())
    assert message.inference_count == 9
    assert message.inference_stats.compute_infer.ns == 30
