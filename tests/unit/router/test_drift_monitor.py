"""What the monitor writes into the history: each change once, also over a restart and when a record fails."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from router.assessor import Assessment
from router.counters import Segment
from router.doubt import Doubting
from router.drift_monitor import DriftMonitor
from router.drift_views import drift_document, drift_samples
from router.drift_windows import Policy
from router.errors import Unavailable
from router.inputs import Feature, input_series
from router.routes import Route, Variant
from router.state import State
from router.tally import Reader
from router.telemetry import Recorder, SeriesName
from router.verdict import VerdictKind

AGE = Feature("age", "number", edges=(30.0,), reference=(500, 500, 0), critical=True)
ROUTE = Route("m", (Variant("stable", 1, 500_000), Variant("canary", 2, 500_000)), epoch=3, salt="r1")
ALONE = Route("m", (Variant("stable", 1, 1_000_000),), epoch=3)


class Controller:
    """Takes events, or refuses them."""

    def __init__(self, route):
        self.table = SimpleNamespace(routes={"m": route})
        self.events, self.time, self.refuses = [], 0.0, False

    def now(self):
        return self.time

    async def write(self, make):
        if self.refuses:
            raise Unavailable("the disk is full")
        self.events += make(SimpleNamespace(state=State())).events


class House:
    """A worker that samples, and a monitor that looks."""

    def __init__(self, folder, route=ALONE):
        folder.mkdir(exist_ok=True)
        self.folder, self.controller = folder, Controller(route)
        self.recorder = Recorder(Segment.open(folder / "counters", 0))
        self.read = Reader(folder / "counters").read
        self.start()

    def start(self):
        self.monitor = DriftMonitor(self.controller, self.read, self.folder / "drift.json", Policy(100, 10.0))
        self.monitor.recall(self.controller.time)

    def count(self, cell, count, variant=("stable", 1), quality=0):
        name = SeriesName("m", variant[1], variant[0], 3)
        series = input_series(self.recorder, name, (AGE,), {}, 0)
        series.count(0, [cell] * count, [quality] * count, [True] * count)

    async def window(self, cell=0, count=200, quality=0, seconds=10.0):
        self.count(cell, count, quality=quality)
        self.controller.time += seconds
        await self.monitor.tick()

    def told(self):
        return [(event.kind, event.after.get("subjects")) for event in self.controller.events]


async def test_an_alarm_is_told_once_and_its_end_once(tmp_path):
    house = House(tmp_path)
    for cell in (0, 0, 0, 0):
        await house.window(cell)
    assert house.told() == [("drift.alarm", ["input/age"])]
    assert house.controller.events[0].after["inputs_drifted"] is True
    for _ in range(3):
        await house.window(0, 100, seconds=0.0)
        await house.window(1, 100)
    assert house.told()[1:] == [("drift.cleared", ["input/age"])]


async def test_a_window_with_enough_requests_closes_by_time_alone(tmp_path):
    house = House(tmp_path)
    await house.window()
    house.count(0, 200)
    for _ in range(4):
        await house.monitor.tick()
        assert house.monitor.look.watched["m"]["input/age"].requests == 200
    house.controller.time += 10.0
    await house.monitor.tick()
    assert house.monitor.look.watched["m"]["input/age"].requests == 0


async def test_a_new_controller_knows_what_was_told(tmp_path):
    house = House(tmp_path)
    for _ in range(3):
        await house.window()
    house.start()
    house.controller.time = 1000.0
    await house.window()
    assert house.told() == [("drift.alarm", ["input/age"])]


async def test_what_could_not_be_recorded_is_told_later(tmp_path):
    house = House(tmp_path)
    for _ in range(2):
        await house.window()
    house.controller.refuses = True
    with pytest.raises(Unavailable):
        await house.window()
    house.controller.refuses = False
    await house.window(seconds=0.0)
    assert house.told() == [("drift.alarm", ["input/age"])]


async def test_bad_values_are_told(tmp_path):
    house = House(tmp_path)
    await house.window()
    await house.window(cell=2, quality=1, seconds=1.0)
    assert house.told() == [("data_quality.alarm", ["input/age missing"])]


async def test_a_file_of_another_release_is_begun_anew(tmp_path):
    (tmp_path / "drift.json").write_text('{"watched": 7}')
    house = House(tmp_path)
    await house.window()
    assert house.told() == []


async def split(house, canary_cell):
    """Both versions get requests, and are looked at together."""
    house.count(canary_cell, 200, ("canary", 2))
    await house.window(0, 200, seconds=1.0)


async def test_versions_that_get_different_inputs_are_told_once_and_stay_doubted(tmp_path):
    house = House(tmp_path, ROUTE)
    for _ in range(3):
        await split(house, 0)
    assert house.monitor.obstacle("m") == ""
    for _ in range(3):
        await split(house, 1)
    assert [kind for kind, _ in house.told() if kind == "inputs.differ"] == ["inputs.differ"]
    assert "canary:2 and stable:1 do not get the same inputs (feature age)" in house.monitor.obstacle("m")
    house.start()
    await split(house, 0)
    assert "feature age" in house.monitor.obstacle("m")
    assert [kind for kind, _ in house.told()].count("inputs.differ") == 1


async def test_a_new_controller_goes_on_betting_where_the_old_one_was(tmp_path):
    stays, leaves = (House(tmp_path / name, ROUTE) for name in ("stays", "leaves"))
    for look in range(6):
        for house in (stays, leaves):
            house.count(look % 2, 30, ("canary", 2))
            await house.window(0, 60, seconds=1.0)
        leaves.start()
    [known], [again] = (list(house.monitor.look.matches["m"].values()) for house in (stays, leaves))
    assert known.log_e == again.log_e > 0.0
    assert known.requests == again.requests > 0


async def test_comparisons_of_another_release_are_begun_anew(tmp_path):
    house = House(tmp_path, ROUTE)
    for _ in range(3):
        await split(house, 1)
    file = tmp_path / "drift.json"
    told = json.loads(file.read_text())
    for match in told["matches"]["m"].values():
        del match["bets"]
    file.write_text(json.dumps(told))
    house.start()
    assert house.monitor.look.matches == {"m": {}}
    await split(house, 1)
    [match] = house.monitor.look.matches["m"].values()
    assert (match.log_e, match.differs) == (0.0, "age")


async def test_a_doubt_stays_while_a_new_epoch_has_no_requests_yet(tmp_path):
    house = House(tmp_path, ROUTE)
    for _ in range(3):
        await split(house, 1)
    house.controller.table.routes["m"] = replace(ROUTE, epoch=4)
    await house.monitor.tick()
    assert "feature age" in house.monitor.obstacle("m")


async def test_another_rollout_begins_without_a_doubt(tmp_path):
    house = House(tmp_path, ROUTE)
    for _ in range(3):
        await split(house, 1)
    assert house.monitor.obstacle("m")
    house.controller.table.routes["m"] = ALONE
    await house.window()
    assert house.monitor.obstacle("m") == ""


class Silent:
    async def assess(self, question):
        return Assessment(requests={"1": 5})


async def test_a_doubt_is_an_error_among_the_verdicts():
    reasons = {"m": "they differ", "n": ""}
    doubting = Doubting(Silent(), reasons.__getitem__)
    said = await doubting.assess(SimpleNamespace(model="m"))
    assert [(verdict.kind, verdict.check, verdict.reason) for verdict in said.verdicts] == [
        (VerdictKind.ERROR, "inputs", "they differ")
    ]
    assert (await doubting.assess(SimpleNamespace(model="n"))).verdicts == ()


async def test_documents_and_metrics_say_what_is_known(tmp_path):
    house = House(tmp_path, ROUTE)
    for _ in range(3):
        await split(house, 1)
    for _ in range(2):
        await house.window()
    look = house.monitor.look
    told = drift_document("m", look.watched["m"], look.matches["m"], house.monitor.policy)
    [age] = told["subjects"]
    assert (age["name"], age["side"], age["critical"], age["against"]) == ("age", "input", True, "reference")
    [pair] = told["comparisons"]
    assert (pair["candidate"], pair["differs"]) == ("canary:2", "age")
    samples = {(sample.name, sample.labels): sample.value for sample in drift_samples(look.watched, look.matches)}
    assert samples["serin_inputs_differ", ("m", "canary")] == 1
    assert samples["serin_drift_distance", ("m", "input", "age", "psi")] == pytest.approx(age["psi"], abs=1e-3)
