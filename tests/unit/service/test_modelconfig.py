"""Triton's model configuration: dimensions of a row where there are rows, and no empty lists of them."""

from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from tritonclient.grpc.model_config_pb2 import ModelConfig

from service.modelconfig import configuration
from service.protocol.tensors import Signature, TensorSpec


def config(inputs: list[tuple[str, Any]], outputs: list[tuple[str, Any]]) -> Any:
    specs = [
        tuple(TensorSpec(f"{part}{number}", *spec) for number, spec in enumerate(given))
        for part, given in (("x", inputs), ("y", outputs))
    ]
    executor = SimpleNamespace(limits=SimpleNamespace(max_concurrency=2))
    loaded: Any = SimpleNamespace(model="m", signature=Signature(*specs), executor=executor)
    return configuration(loaded, [1, 3])


def test_with_a_batch_dimension_the_others_are_told() -> None:
    found = config([("FP32", (-1, 64)), ("BYTES", (-1,))], [("INT64", (-1,))])
    assert found["max_batch_size"] > 0
    assert [(t["data_type"], t["dims"]) for t in found["input"]] == [("TYPE_FP32", [64]), ("TYPE_STRING", [1])]
    assert found["output"][0]["reshape"] == {"shape": []}
    assert found["version_policy"] == {"specific": {"versions": [1, 3]}}


@pytest.mark.parametrize("outputs", [[("FP32", (3,))], [("FP32", None)], [("FP32", ())]])
def test_without_one_all_are_told(outputs: list[tuple[str, Any]]) -> None:
    found = config([("FP32", (-1, 64))], outputs)
    assert found["max_batch_size"] == 0
    assert found["input"][0]["dims"] == [-1, 64]
    assert found["output"][0]["dims"]


def test_a_model_without_inputs_has_no_batch_dimension() -> None:
    assert config([], [("FP32", (-1,))])["max_batch_size"] == 0


def test_the_document_is_a_message_of_triton_as_it_stands() -> None:
    found = config([("BF16", (-1, 2))], [("BOOL", (-1, 2))])
    message = ParseDict(found, ModelConfig())
    assert (message.name, message.backend, list(message.input[0].dims)) == ("m", "onnxruntime", [2])
