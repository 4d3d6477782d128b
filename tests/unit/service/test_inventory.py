"""The rounds of the inventory with a stock that only counts, and its limits."""

import resource
import threading
from pathlib import Path

import pytest

from service import inventory
from service.inventory import Guard, Rounds, limited_memory
from service.runtime.ledger import Ledger
from service.runtime.manifest import Manifest
from service.runtime.packed import Packed
from service.runtime.repository import VersionFiles
from service.runtime.session import SessionOptions
from service.runtime.verdict import Rules, Verdict


class CountingStock:
    """Notes what it is told to do; ends the rounds when it has taken stock `rounds` times."""

    def __init__(self, *, readable: bool = True) -> None:
        self.done: list[str] = []
        self.readable = readable
        self.on_take = lambda: None
        self.on_look = lambda: None

    def look(self) -> bool:
        self.done.append("look")
        self.on_look()
        return self.readable

    def take(self, sequence: int = 0) -> None:
        self.done.append(f"take {sequence}")
        self.on_take()

    def forget_failures(self) -> None:
        self.done.append("forget")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "sleep", lambda seconds: None)


def rounds(stock: CountingStock, interval_seconds: float = 3600.0) -> Rounds:
    return Rounds(stock, interval_seconds)  # type: ignore[arg-type]


def test_the_first_round_looks_twice_so_that_it_can_take_stock() -> None:
    stock = CountingStock()
    going = rounds(stock)
    stock.on_take = going.end
    going.run()
    assert stock.done == ["look", "look", "take 0"]


def test_a_wish_is_answered_by_two_looks_that_began_after_it_and_retries_failures() -> None:
    stock = CountingStock()
    going = rounds(stock)
    steps = iter([lambda: going.wish(7), going.end])
    stock.on_take = lambda: next(steps)()
    going.run()
    assert stock.done == ["look", "look", "take 0", "forget", "look", "look", "take 7"]


def test_a_wish_during_a_round_is_answered_by_the_next() -> None:
    stock = CountingStock()
    going = rounds(stock)
    steps = iter([lambda: going.wish(1), lambda: going.wish(2), going.end])
    stock.on_take = lambda: next(steps)()
    going.run()
    assert [step for step in stock.done if step.startswith("take")] == ["take 0", "take 1", "take 2"]


def test_without_a_wish_each_round_looks_once() -> None:
    stock = CountingStock()
    going = rounds(stock, 0.0)
    steps = iter([lambda: None, lambda: None, going.end])
    stock.on_take = lambda: next(steps)()
    going.run()
    assert stock.done == ["look", "look", "take 0", "look", "take 0", "look", "take 0"]


def test_a_repository_that_cannot_be_read_takes_no_stock() -> None:
    stock = CountingStock(readable=False)
    going = rounds(stock)
    stock.on_look = going.end
    going.run()
    assert stock.done == ["look", "look"]


def test_the_memory_limit_holds_within_the_block_and_not_after() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with limited_memory(1 << 30):
        assert resource.getrlimit(resource.RLIMIT_AS)[0] > 1 << 30
        with pytest.raises(MemoryError):
            bytearray(4 << 30)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_no_memory_limit_is_none() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with limited_memory(0):
        assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_running_out_of_memory_is_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*arguments: object) -> object:
        raise MemoryError

    monkeypatch.setattr("service.runtime.verdict.Session", greedy)
    verdict = Guard(SessionOptions(), 60.0).examine("nowhere", 1, Rules(Manifest()))
    assert not verdict.passed
    assert "more memory" in verdict.reason


def test_the_rounds_can_be_ended_from_another_thread() -> None:
    stock = CountingStock()
    going = rounds(stock)
    thread = threading.Thread(target=going.run)
    thread.start()
    going.end()
    thread.join(5.0)
    assert not thread.is_alive()


def test_a_version_is_packed_once_and_never_again_after_it_killed_the_process(tmp_path: Path) -> None:
    ledger, guard, files = Ledger(tmp_path), Guard(SessionOptions(), 60.0), VersionFiles("nowhere", "s", 1 << 20)
    asked: list[str] = []

    class Noted(Packed):
        def pack(self, files: VersionFiles, digest: str, options: SessionOptions) -> None:
            asked.append(digest)

    guard.pack(Noted(tmp_path, 1, 2), ledger, files, "sha256:good")
    ledger.memory.verdicts["sha256:bad packed"] = Verdict(False, "the process that first loaded it died")
    guard.pack(Noted(tmp_path, 1, 2), ledger, files, "sha256:bad")
    guard.pack(Noted(tmp_path, 1, 1), ledger, files, "sha256:nobody to share with")
    assert asked == ["sha256:good"]
