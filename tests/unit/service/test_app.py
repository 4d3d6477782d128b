"""How a worker's process begins."""

import sys
from collections.abc import Coroutine
from types import SimpleNamespace

import pytest

from service import app


def test_a_thread_that_reads_a_large_body_gives_the_interpreter_back_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = sys.getswitchinterval(), list[float]()

    def run(serving: Coroutine[None, None, None]) -> None:
        serving.close()
        seen.append(sys.getswitchinterval())

    monkeypatch.setattr("uvloop.run", run)
    monkeypatch.setattr("service.logs.configure", lambda **told: None)
    monkeypatch.setattr("os._exit", lambda code: None)
    monkeypatch.setattr("service.app.come_first", lambda: None)  # of this whole process
    try:
        app.work(SimpleNamespace(config={"settings": {}, "slot": 0}))  # type: ignore[arg-type]
    finally:
        sys.setswitchinterval(before)
    assert seen == [pytest.approx(app.SWITCH_SECONDS)]
