"""The engine over real sessions: loading, reloading and unloading while requests run."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter_ns

import numpy as np
import pytest

from router.errors import DeadlineExceeded, NotFound, Unavailable
from router.reports import VersionState
from router.routes import Wanted
from service.faults import Fault, FaultInjected
from service.runtime import engine as engine_module
from service.runtime import loading, repository
from service.runtime.engine import Engine
from service.runtime.executor import Limits, Runnable
from service.runtime.faulty import FaultySession
from service.runtime.jobs import Recalled
from service.runtime.loading import Loader
from service.runtime.pool import NoMarks, Pool
from service.runtime.session import Session, SessionOptions
from tests.unit.service.runtime.tiny import STRING, counting, identity, place, times

X = {"x": np.array([[1, 2]], dtype=np.float32)}
FAR = 1 << 62


class World:
    """A repository and an engine on it. `wish` follows what lies there now, as the inventory would report it."""

    def __init__(self, models: Path) -> None:
        self.models = models
        self.pool = Pool(2, NoMarks())
        self.changes = 0
        self.engine = self.made(Loader(models))

    def made(self, loader: Loader, unload_wait_seconds: float = 30.0) -> Engine:
        self.engine = Engine(loader, self.pool, self._changed, unload_wait_seconds=unload_wait_seconds)
        return self.engine

    def wanted(self, *versions: int) -> dict[str, dict[int, Wanted]]:
        found = {}
        for version in versions:
            files = repository.look(self.models, "m", version)
            assert files is not None
            found[version] = Wanted(repository.digest(files.path, str(self.models)), files.stamp)
        return {"m": found}

    async def wish(self, *versions: int) -> None:
        self.engine.follow(self.wanted(*versions))
        await self.engine.settled()

    def answer(self, version: int = 1) -> float:
        loaded = self.engine.acquire("m", version)
        try:
            outputs, *_ = loaded.executor.run_inline(X)
        finally:
            self.engine.release(loaded)
        return float(outputs[0].item(0))

    def state(self, version: int = 1) -> VersionState:
        return self.engine.states()["m"][version].state

    def reason(self, version: int = 1) -> str:
        return self.engine.states()["m"][version].reason

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    await world.engine.close()
    world.pool.close()


async def until(condition: object) -> None:
    assert callable(condition)
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came")


async def test_what_is_wanted_is_loaded_warmed_up_and_lent(world: World) -> None:
    place(world.models, "m", 1, times(3))
    world.engine.follow(world.wanted(1))
    assert world.state() is VersionState.LOADING
    assert not world.engine.has_settled("m", 1)
    with pytest.raises(Unavailable, match="is loading"):
        world.engine.acquire("m", 1)
    await world.engine.settled()
    assert world.state() is VersionState.READY
    assert world.engine.has_settled("m", 1)
    assert world.answer() == 3.0
    loaded = world.engine.acquire("m", 1)
    assert loaded.output_names == ["y"]
    assert loaded.datatypes == {"y": "FP32"}
    assert world.changes >= 2


async def test_files_that_moved_while_they_were_read_are_tried_again_when_they_rest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of one version do whose neighbours are pushed one after the other on a slow machine."""
    place(world.models, "m", 1, times(3))
    session, tries = loading.Session, list[str]()

    def beside_a_push(path: str, options: SessionOptions) -> Session:
        tries.append(path)
        if len(tries) <= 2 * loading.ATTEMPTS:
            (world.models / f"m/{len(tries) + 1}").mkdir()
        return session(path, options)

    monkeypatch.setattr(loading, "Session", beside_a_push)
    monkeypatch.setattr(engine_module, "FIRST_PAUSE_SECONDS", 0.01)
    await world.wish(1)
    assert (world.state(), world.reason()) == (VersionState.UNAVAILABLE, "its files changed while they were read")
    await until(lambda: world.state() is VersionState.READY)
    assert world.answer() == 3.0
    assert len(tries) == 2 * loading.ATTEMPTS + 1


async def test_equal_content_counts_as_equally_costly(world: World) -> None:
    for version in (1, 2):
        place(world.models, "m", version, times(3))
    place(world.models, "m", 3, times(4))
    loader = Loader(world.models)
    parts = [loader.load("m", version, wanted) for version, wanted in world.wanted(1, 2, 3)["m"].items()]
    assert parts[0].profile is parts[1].profile
    assert parts[0].profile is not parts[2].profile


async def test_what_is_not_wanted_is_not_found(world: World) -> None:
    place(world.models, "m", 1, times(3))
    place(world.models, "m", 2, times(4))
    await world.wish(1)
    with pytest.raises(NotFound, match="ready: 1"):
        world.engine.acquire("m", 2)
    with pytest.raises(NotFound):
        world.engine.acquire("other", 1)


async def test_a_bad_version_is_unavailable_and_the_others_serve(world: World) -> None:
    place(world.models, "m", 1, times(3))
    place(world.models, "m", 2, b"<html></html>")
    await world.wish(1, 2)
    assert world.state(2) is VersionState.UNAVAILABLE
    assert world.engine.has_settled("m", 2)
    assert "cannot load it" in world.reason(2)
    with pytest.raises(Unavailable, match="cannot load it"):
        world.engine.acquire("m", 2)
    assert world.answer(1) == 3.0


async def test_other_content_than_the_wanted_one_is_not_loaded(world: World) -> None:
    file = place(world.models, "m", 1, times(3))
    wanted = world.wanted(1)
    file.write_bytes(times(4))
    world.engine.follow(wanted)
    await world.engine.settled()
    assert world.state() is VersionState.UNAVAILABLE
    assert world.reason() == "its files are not those that were examined"


async def test_the_wanted_content_with_another_date_is_loaded(world: World) -> None:
    file = place(world.models, "m", 1, times(3))
    wanted = world.wanted(1)
    file.write_bytes(times(3))
    world.engine.follow(wanted)
    await world.engine.settled()
    assert world.answer() == 3.0


async def test_the_old_content_serves_until_the_new_one_is_ready(world: World) -> None:
    file = place(world.models, "m", 1, times(3))
    await world.wish(1)
    file.write_bytes(times(4))
    world.engine.follow(world.wanted(1))
    assert world.state() is VersionState.READY
    assert world.answer() == 3.0
    lent = world.engine.acquire("m", 1)
    await world.engine.settled()
    assert world.answer() == 4.0
    assert lent.executor.run_inline(X)[0][0].item(0) == 3.0
    world.engine.release(lent)


async def test_the_old_content_serves_on_when_the_new_one_cannot_be_loaded(world: World) -> None:
    file = place(world.models, "m", 1, times(3))
    await world.wish(1)
    digest = world.engine.states()["m"][1].digest
    file.write_bytes(b"broken")
    await world.wish(1)
    assert world.state() is VersionState.READY
    assert "newer files cannot be loaded" in world.reason()
    assert world.engine.states()["m"][1].digest == digest
    assert world.answer() == 3.0


async def test_a_broken_model_toml_does_not_end_a_version_that_serves(world: World) -> None:
    place(world.models, "m", 1, times(3))
    await world.wish(1)
    (world.models / "m" / "model.toml").write_text("oops")
    await world.wish(1)
    assert world.answer() == 3.0
    assert "model.toml" in world.reason()


async def test_a_hundred_reloads_under_use_fail_no_request(world: World) -> None:
    file = place(world.models, "m", 1, times(1))
    await world.wish(1)
    answers: list[float] = []
    stop = asyncio.Event()

    async def use() -> None:
        while not stop.is_set():
            answers.append(world.answer())
            await asyncio.sleep(0)

    user = asyncio.create_task(use())
    for factor in range(2, 102):
        file.write_bytes(times(factor))
        await world.wish(1)
        assert world.answer() == factor
    stop.set()
    await user
    assert answers == sorted(answers)
    assert len(answers) > 100


async def test_the_last_wish_wins_when_wishes_overtake_each_other(world: World) -> None:
    file = place(world.models, "m", 1, times(3))
    first = world.wanted(1)
    world.engine.follow(first)
    await asyncio.sleep(0)
    file.write_bytes(times(4))
    world.engine.follow({})
    world.engine.follow(world.wanted(1))
    await world.engine.settled()
    assert world.answer() == 4.0


async def test_an_unload_waits_for_requests_in_flight(world: World) -> None:
    place(world.models, "m", 1, times(3))
    await world.wish(1)
    lent = world.engine.acquire("m", 1)
    world.engine.follow({})
    await until(lambda: world.state() is VersionState.UNLOADING)
    with pytest.raises(Unavailable, match="is being unloaded"):
        world.engine.acquire("m", 1)
    assert lent.executor.run_inline(X)[0][0].item(0) == 3.0
    world.engine.release(lent)
    await world.engine.settled()
    assert world.engine.states() == {}


async def test_an_unload_does_not_wait_for_ever(world: World) -> None:
    place(world.models, "m", 1, times(3))
    world.made(Loader(world.models), unload_wait_seconds=0.01)
    await world.wish(1)
    lent = world.engine.acquire("m", 1)
    world.engine.follow({})
    await world.engine.settled()
    assert world.engine.states() == {}
    assert lent.executor.run_inline(X)[0][0].item(0) == 3.0
    world.engine.release(lent)


async def test_a_version_can_be_loaded_again_after_a_failure(world: World) -> None:
    place(world.models, "m", 1, b"broken")
    await world.wish(1)
    place(world.models, "m", 1, times(3))
    await world.wish(1)
    assert world.answer() == 3.0


async def test_a_slow_model_runs_in_threads_and_is_stopped_at_the_deadline(world: World) -> None:
    place(world.models, "m", 1, counting(300_000))
    (world.models / "m" / "model.toml").write_text("[execution]\nmode = 'thread'\nmax_concurrency = 1")
    world.made(Loader(world.models, limits=Limits(max_concurrency=8)))
    await world.wish(1)
    executor = world.engine.acquire("m", 1).executor
    assert executor.limits == Limits(max_concurrency=1)
    assert not executor.inlines(X)
    begun = perf_counter_ns()
    with pytest.raises(DeadlineExceeded):
        await executor.run(X, None, begun + 50_000_000)
    await until(lambda: executor.in_flight == 0)
    assert perf_counter_ns() - begun < 2_000_000_000


async def test_a_fault_is_suffered_by_its_version_only(world: World) -> None:
    place(world.models, "m", 1, times(3))
    place(world.models, "m", 2, times(4))

    def wrap(model: str, version: int, session: Session) -> Runnable:
        return FaultySession(session, Fault(fail=1.0), lambda: 0.5) if version == 2 else session

    world.made(Loader(world.models, wrap=wrap))
    await world.wish(1, 2)
    assert world.answer(1) == 3.0
    with pytest.raises(FaultInjected):
        world.answer(2)


async def test_suspects_are_kept_from_the_loop_also_when_they_are_loaded_later(world: World) -> None:
    place(world.models, "m", 1, times(3))
    place(world.models, "m", 2, times(4))
    await world.wish(1)
    world.engine.suspect([("m", 1), ("m", 2)])
    await world.wish(1, 2)
    for version in (1, 2):
        assert not world.engine.acquire("m", version).executor.inlines(X)


async def test_text_is_warmed_up_and_served(world: World) -> None:
    place(world.models, "m", 1, identity(STRING))
    await world.wish(1)
    loaded = world.engine.acquire("m", 1)
    text = {"x": np.array([[b"a", "é".encode()]], dtype=object)}
    outputs, *_ = await loaded.executor.run(text, None, FAR)
    assert outputs[0].tolist() == [["a", "é"]]


async def test_many_versions_are_loaded_soon(world: World) -> None:
    for version in range(1, 51):
        place(world.models, "m", version, times(version))
    begun = perf_counter_ns()
    await world.wish(*range(1, 51))
    assert perf_counter_ns() - begun < 5_000_000_000
    assert [world.answer(version) for version in range(1, 51)] == list(range(1, 51))


async def test_a_lane_apart_has_a_queue_of_its_own_and_shares_everything_else(world: World) -> None:
    place(world.models, "m", 1, times(3))
    await world.wish(1)
    loaded = world.engine.acquire("m", 1)
    apart = loaded.apart
    assert loaded.apart is apart
    assert apart.session is loaded.session
    assert apart.executor is not loaded.executor
    assert apart.executor.room is not loaded.executor.room
    assert (apart.batcher is None) == (loaded.batcher is None)
    assert apart.batcher is None or apart.batcher is not loaded.batcher
    assert float(apart.executor.run_inline(X)[0][0].item(0)) == 3.0
    world.engine.suspect([("m", 1)])
    assert not apart.executor.inlines(X)
    world.engine.release(loaded)


async def test_what_waits_in_a_lane_apart_is_taken_back_with_the_rest(world: World) -> None:
    place(world.models, "m", 1, times(3))
    await world.wish(1)
    loaded = world.engine.acquire("m", 1)
    lane = loaded.apart.executor
    turns = [await lane.take_turn(FAR) for _ in range(lane.limits.max_concurrency)]
    waiting = asyncio.create_task(lane.run(X, None, FAR))
    await asyncio.sleep(0)
    assert (lane.room.queued, loaded.executor.room.queued) == (1, 0)
    loaded.recall()
    with pytest.raises(Recalled):
        await waiting
    for turn in turns:
        turn.give_back()
    world.engine.release(loaded)
