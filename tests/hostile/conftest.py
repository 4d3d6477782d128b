"""One gateway with one worker, so that whatever a request harms is what answers the next one."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from onnx import TensorProto

from tests.e2e.conftest import Running, eventually, gateway
from tests.hostile.case import INFER
from tests.hostile.wire import Answer, Conversation, post
from tests.unit.service.runtime.tiny import FLOAT, identity, place

LIMIT_BYTES = 8 * 1024 * 1024
LIMIT_SECONDS = 30.0
GROWTH_BYTES = 100 * 1024 * 1024
GOOD = post(INFER, b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1.5,2.5]}]}')


@dataclass(frozen=True, slots=True)
class House:
    """The gateway under fire, and what it was before."""

    running: Running
    workers: list[int]
    resident_bytes: int

    @property
    def port(self) -> int:
        return int(self.running.http.rpartition(":")[2])

    def assert_serves(self) -> None:
        """A good request on a new connection is answered."""
        with Conversation(self.port, LIMIT_SECONDS) as conversation:
            assert_good(conversation.ask([GOOD]))

    def assert_unharmed(self) -> None:
        """The same worker is there, and nothing in its log is an error or a forged line."""
        assert self.running.workers() == self.workers, self.running.log()[-3000:]
        for line in self.running.log().splitlines():
            told = json.loads(line)  # every line is one event
            assert told["level"] not in ("error", "critical"), line[:2000]

    def assert_memory_is_back(self, within_bytes: int = GROWTH_BYTES) -> None:
        """The worker holds about as much as before."""
        eventually(lambda: resident_bytes(self.workers[0]) - self.resident_bytes < within_bytes)


def assert_good(answer: Answer) -> None:
    assert answer.status == 200, answer
    assert json.loads(answer.body)["outputs"][0]["data"] == [1.5, 2.5]


def resident_bytes(pid: int) -> int:
    """What a process holds in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    """`floats`: y = x, FP32 [N, M]; `words`: the same of BYTES. It has answered once when the firing begins."""
    with tempfile.TemporaryDirectory(prefix="serin-") as name:
        directory = Path(name)
        place(directory / "models", "floats", 1, identity(FLOAT, ("N", "M")))
        place(directory / "models", "words", 1, identity(TensorProto.STRING, ("N", "M")))
        flags = (
            "--workers",
            "1",
            "--max-body-bytes",
            str(LIMIT_BYTES),
            "--body-read-timeout-seconds",
            "5",
            "--stream-idle-seconds",
            "5",
            "--invocations-model",
            "floats",
        )
        with gateway(directory, *flags) as running:
            workers = running.workers()
            found = House(running, workers, resident_bytes(workers[0]))
            found.assert_serves()
            yield found
        shutil.rmtree(directory / "models", ignore_errors=True)
