"""Three hundred models in one gateway, unloaded and loaded again one by one by a Triton client."""

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from tests.e2e.conftest import Running, gateway
from tests.unit.service.runtime.tiny import place, times

COUNT = 300
NAMES = [f"model_{number:03}" for number in range(COUNT)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("many")
    for number, name in enumerate(NAMES):
        place(directory / "models", name, 1, times(number + 1))
    with gateway(directory, "--workers", "1") as found:
        yield found


def answer(client: Any, number: int) -> float:
    x = triton.InferInput("x", [1, 2], "FP32")
    x.set_data_from_numpy(np.ones((1, 2), np.float32))
    return float(client.infer(NAMES[number], [x]).as_numpy("y")[0, 0])


@pytest.mark.slow
def test_all_answer_for_themselves_before_and_after_each_was_unloaded_and_loaded(running: Running) -> None:
    with triton.InferenceServerClient(running.http.removeprefix("http://"), network_timeout=60) as client:
        assert [answer(client, number) for number in range(COUNT)] == list(range(1, COUNT + 1))
        for number, name in enumerate(NAMES):
            client.unload_model(name)
            assert not client.is_model_ready(name)
            assert client.is_server_ready()
            neighbour = (number + 1) % COUNT
            assert answer(client, neighbour) == neighbour + 1
            client.load_model(name)
            assert answer(client, number) == number + 1
        index = client.get_model_repository_index()
        assert sorted(entry["name"] for entry in index if entry["state"] == "READY") == NAMES
        assert httpx.get(f"{running.http}/metrics", timeout=60).status_code == 200
