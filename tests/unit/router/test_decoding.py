"""Decoders that any thread may ask for, and nobody who makes his own."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import msgspec

from router.decoding import decoder

ROOT = Path(__file__).parents[3]
THREADS = 4


def test_threads_that_ask_at_once_get_the_same() -> None:
    barrier = Barrier(THREADS)

    def ask(kind: Any) -> tuple[int, Any]:
        barrier.wait(10)
        found = decoder(kind)
        return id(found), found.decode(b'{"one": {"two": [1]}}')

    with ThreadPoolExecutor(THREADS) as pool:
        for number in range(50):
            inner = msgspec.defstruct(f"Inner{number}", [("two", list[int])])
            outer = msgspec.defstruct(f"Outer{number}", [("one", inner)])
            found = list(pool.map(ask, [outer] * THREADS))
            assert len({identity for identity, _ in found}) == 1
            assert all(value == outer(inner([1])) for _, value in found)


def test_nobody_decodes_into_a_type_by_himself() -> None:
    sources = [path for name in ("router", "service") for path in (ROOT / name).rglob("*.py")]
    assert len(sources) > 100
    wanted = re.compile(r"json\.decode\([^\n]*type=(?!str\b)")  # a text is not made of anything
    found = [str(path) for path in sources if wanted.search(path.read_text())]
    assert found == []
