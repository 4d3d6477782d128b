"""Golden rows that are run beside traffic: on both versions or on none, and counted apart."""

from pathlib import Path

import numpy as np

from router.arms import read_arms
from router.counters import Segment
from router.cursor import Subject
from router.demands import Shape
from router.evidence import Arm
from router.routes import Golden, Route, Variant, Wanted
from router.tally import Reader
from router.telemetry import Recorder
from service.faults import Fault
from service.goldens import Goldens
from service.runtime import repository
from service.runtime.engine import Engine
from service.runtime.executor import Runnable
from service.runtime.faulty import FaultySession
from service.runtime.loading import Loader
from service.runtime.pool import NoMarks, Pool
from service.runtime.session import Session
from tests.unit.service.runtime.tiny import place, times

ROWS = """{"cases": [{"inputs": {"x": {"datatype": "FP32", "shape": [1, 2], "data": [1, 2]}},
  "outputs": {"1": {"y": {"datatype": "FP32", "shape": [1, 2], "data": [3, 6]}},
              "2": {"y": {"datatype": "FP32", "shape": [1, 2], "data": [4, 8]}}}},
 {"inputs": {"x": {"datatype": "FP32", "shape": [1, 2], "data": [0, 1]}}}]}"""
ROUTE = Route("m", (Variant("1", 1, 900_000), Variant("2", 2, 100_000)), epoch=4, golden=Golden("2", "1", 100.0))
SUBJECT = Subject("m", ("2", 2), ("1", 1))


class World:
    """Two versions, and a worker's golden rows without the worker."""

    def __init__(self, folder: Path, faults: dict[int, Fault] | None = None, route: Route = ROUTE) -> None:
        self.folder, self.models = folder, folder / "models"
        place(self.models, "m", 1, times(3))
        place(self.models, "m", 2, times(4))
        (self.models / "m" / "golden.json").write_text(ROWS)
        (self.models / "m" / "model.toml").write_text("[golden]\nfile = 'golden.json'")
        self.segment = Segment.open(folder / "counters", 0)
        self.pool = Pool(2, NoMarks())
        found = faults or {}

        def wrap(_model: str, version: int, session: Session) -> Runnable:
            return FaultySession(session, found[version], lambda: 0.5) if version in found else session

        self.engine = Engine(Loader(self.models, wrap=wrap), self.pool, lambda: None)
        self.goldens = Goldens(self.engine, Recorder(self.segment), self.models, lambda: {"m": route})

    async def load(self, *versions: int) -> None:
        wanted = {}
        for version in versions:
            files = repository.look(self.models, "m", version)
            assert files is not None
            wanted[version] = Wanted(repository.digest(files.path, str(self.models)), files.stamp)
        self.engine.follow({"m": wanted})
        await self.engine.settled()

    async def rounds(self, count: int) -> tuple[Arm, Arm]:
        for _ in range(count):
            for turn in self.goldens._turns.values():
                turn.due_ns = 0
            await self.goldens.round()
        found = read_arms(Reader(self.folder / "counters").read(), SUBJECT, Shape())
        return found[4].golden if 4 in found else (Arm(), Arm())

    async def close(self) -> None:
        await self.engine.close()
        self.pool.close()
        self.segment.close()


async def test_both_versions_run_the_same_rows_and_each_is_held_to_its_own_answers(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.load(1, 2)
    assert await world.rounds(6) == (Arm(done=6), Arm(done=6))
    await world.close()


async def test_a_run_that_raises_and_an_answer_that_is_not_the_expected_one_are_failures(tmp_path: Path) -> None:
    world = World(tmp_path, {2: Fault(fail=1.0)})
    await world.load(1, 2)
    wrong = world.engine.peek("m", 1)
    assert wrong is not None
    honest = wrong.executor.runnable.run
    wrong.executor.runnable.run = lambda *told: [np.asarray(one) + 1 for one in honest(*told)]  # type: ignore[method-assign]
    candidate, stable = await world.rounds(4)
    assert (candidate.done, candidate.errors) == (4, 4)
    assert (stable.done, stable.errors) == (4, 2)  # the other row expects nothing
    await world.close()


async def test_a_version_that_is_not_here_keeps_the_other_from_running_too(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.load(1)
    assert await world.rounds(3) == (Arm(), Arm())
    await world.close()


async def test_nothing_is_run_while_somebody_waits_for_a_version(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.load(1, 2)
    loaded = world.engine.peek("m", 1)
    assert loaded is not None
    loaded.executor.room.note(1, 0)
    assert await world.rounds(3) == (Arm(), Arm())
    loaded.executor.room.note(-1, 0)
    assert await world.rounds(1) == (Arm(done=1), Arm(done=1))
    await world.close()


async def test_a_model_without_golden_rows_runs_none(tmp_path: Path) -> None:
    world = World(tmp_path)
    (world.models / "m" / "model.toml").write_text("")
    await world.load(1, 2)
    assert await world.rounds(2) == (Arm(), Arm())
    await world.close()
