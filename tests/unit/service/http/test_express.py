"""Who takes the shortest way, and who is left to the ordinary one."""

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from router.errors import Internal
from service.feedback import Stamp
from service.http import trip
from service.http.line import MOST_TROUBLE, REST, Line
from service.http.passengers import Passenger
from service.http.replies import Arrival
from service.http.trip import depart
from service.http.turn import Turn
from service.protocol.limits import Limits
from service.protocol.short import Plain
from service.protocol.tensors import Signature, TensorSpec

SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1,)),))
NAMES = b"split", b"unit"
ROW = Plain("x", (1, 2), "FP32", [1.0, 2.0])


class Carriage:
    def __init__(self) -> None:
        self.arrival = Arrival({}, "id", 0, "m", None)
        self.response_complete = False
        self.hurry: Callable[[], None] | None = None
        self.lines, self.body = b"", b""
        self.left = self.gave_up = False

    @property
    def is_answered(self) -> bool:
        return bool(self.body)

    def deliver(self, lines: bytes, body: bytes) -> None:
        self.lines, self.body = lines, body
        self.response_complete = True

    def go_on(self, body: bytes, assignment: object) -> None:
        self.left = True

    def give_up(self) -> None:
        self.gave_up = True


class Executor:
    inline, quick_elements, accused = True, 100, None

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.rows: list[int] = []
        self.lone = True
        self.outputs: Callable[[Any], Any] = lambda rows: rows.sum(axis=1)

    def is_lone(self) -> bool:
        return self.lone

    def run_inline(self, feeds: Any, names: Any, body_hash: int, together: Any) -> Any:
        self.rows.append(len(feeds["x"]))
        if self.error is not None:
            raise self.error
        with np.errstate(over="ignore"):
            return [self.outputs(feeds["x"])], 0, 1, True


@pytest.fixture
def executor() -> Executor:
    return Executor()


def line_of(executor: Executor, turn: Turn[Line]) -> Line:
    watch = SimpleNamespace(cells_of_rows=lambda names: lambda outputs, rows: [()] * rows)
    batcher = SimpleNamespace(rows=8, limits=SimpleNamespace(wait_seconds=0))
    loaded: Any = SimpleNamespace(
        signature=SIGNATURE, executor=executor, batcher=batcher, model="m", version=1, watch=watch, output_names=["y"]
    )
    series = SimpleNamespace(observe_run=lambda *told: None)
    variant = SimpleNamespace(name="stable", version=1)
    arm: Any = SimpleNamespace(loaded=loaded, series=series, tap=None, stamp=None, variant=variant)
    given = SimpleNamespace(version=1, variant="1", revision=1, reason="", unit=None, stamp=None)
    dataplane: Any = SimpleNamespace(assignment=lambda *told: given, plain_route=lambda model: None)
    made = Line.of(arm, None, dataplane, Limits(), turn)
    assert isinstance(made, Line)
    return made


@pytest.fixture
def line(executor: Executor) -> Line:
    return line_of(executor, Turn(depart))


def passenger(carriage: Carriage, data: list[float] = ROW.data, given_id: str | None = None, **more: Any) -> Passenger:
    return Passenger(carriage, b"{}", data, given_id, 0, **{"revision": 1, "started_ns": 0, **more})


def ride(line: Line, data: list[float] = ROW.data, given_id: str | None = None) -> Carriage:
    carriage = Carriage()
    line.join(passenger(carriage, data, given_id))
    return carriage


def test_a_row_is_answered(line: Line) -> None:
    assert line.fits(ROW)
    assert ride(line).body == (
        b'{"model_name":"m","model_version":"1","outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[3.0]}]}'
    )


def test_an_answer_has_the_id_of_its_request(line: Line) -> None:
    assert ride(line, given_id='5"%d').body.startswith(
        b'{"model_name":"m","model_version":"1","id":"5\\"%d","outputs":[{'
    )


def test_names_may_hold_what_a_form_has_places_with(line: Line) -> None:
    line.loaded.model = "100 %b"  # type: ignore[misc]
    assert json.loads(ride(line).body)["model_name"] == "100 %b"


def test_outputs_may_change_their_shape_from_run_to_run(line: Line, executor: Executor) -> None:
    shapes = []
    for columns in (1, 3, 1):
        executor.outputs = lambda rows, columns=columns: np.repeat(rows.sum(axis=1, keepdims=True), columns, axis=1)
        shapes.append(json.loads(ride(line).body)["outputs"][0]["shape"])
    assert shapes == [[1, 1], [1, 3], [1, 1]]


def test_outputs_without_a_row_for_each_request_go_on_the_ordinary_way(line: Line, executor: Executor) -> None:
    executor.outputs = lambda rows: np.zeros((2, 1), np.float32)
    assert ride(line).left


def test_an_answer_names_the_table_that_gave_the_request_its_variant(line: Line) -> None:
    carriages = [Carriage(), Carriage()]
    for carriage, revision in zip(carriages, (7, 8), strict=True):
        line.waiting.append(passenger(carriage, revision=revision))
    line.depart()  # by now the table may be a ninth
    told = [carriage.lines for carriage in carriages]
    assert [b"serin-revision: 7\r\n" in told[0], b"serin-revision: 8\r\n" in told[1]] == [True, True]


@pytest.mark.parametrize(("counted_again", "leads"), [([0, 2], True), ([1, 2], False)])
def test_who_counts_once_more_does_so_with_the_run(line: Line, counted_again: list[int], leads: bool) -> None:
    told: list[tuple[int, Any, bool]] = []
    unit = SimpleNamespace(observe_run=lambda *run: told.append(run))
    for place in range(3):
        line.waiting.append(passenger(Carriage(), unit=unit if place in counted_again else None, started_ns=place))
    line.depart()
    [(compute, rows, led)] = told
    assert (compute, len(rows), led) == (1, 2, leads)
    assert rows[0][0] - rows[1][0] == counted_again[1] - counted_again[0]


async def test_a_turn_lasts_while_more_requests_come(line: Line, executor: Executor) -> None:
    executor.lone = False
    carriages = []
    for _ in range(3):  # one in each round of the loop
        carriages.append(ride(line))
        await asyncio.sleep(0)
    assert executor.rows == []
    await asyncio.sleep(0)
    assert (executor.rows, [carriage.is_answered for carriage in carriages]) == ([3], [True] * 3)


async def test_a_full_run_waits_for_nobody_and_the_next_turn_begins_anew(line: Line, executor: Executor) -> None:
    executor.lone = False
    for _ in range(8 + 1):
        ride(line)
    assert executor.rows == [8]
    for _ in range(3):
        await asyncio.sleep(0)
    assert executor.rows == [8, 1]
    ride(line)
    for _ in range(3):
        await asyncio.sleep(0)
    assert executor.rows == [8, 1, 1]


async def test_a_version_that_gets_few_requests_runs_no_more_often_than_its_neighbour(executor: Executor) -> None:
    turn, few = Turn(depart), Executor()
    often, seldom = line_of(executor, turn), line_of(few, turn)
    executor.lone = few.lone = False
    ride(seldom)
    for _ in range(4):  # meanwhile nobody else comes for it
        ride(often)
        await asyncio.sleep(0)
    ride(seldom)
    for _ in range(3):
        await asyncio.sleep(0)
    assert (executor.rows, few.rows) == ([4], [2])


async def test_nobody_waits_for_longer_than_until_another_run_is_full(executor: Executor) -> None:
    turn, few = Turn(depart), Executor()
    often, seldom = line_of(executor, turn), line_of(few, turn)
    executor.lone = few.lone = False
    ride(seldom)
    for _ in range(8):
        ride(often)
    assert (executor.rows, few.rows) == ([8], [1])


def test_what_fails_goes_on_the_ordinary_way(line: Line, executor: Executor) -> None:
    executor.error = Internal("broken")
    assert ride(line).left


def test_numbers_that_the_datatype_cannot_hold_and_answers_that_json_cannot_go_on_too(line: Line) -> None:
    assert ride(line, [1.0, 1e39]).left
    assert ride(line, [3e38, 3e38]).left


@pytest.mark.parametrize(
    "other",
    [
        Plain("z", (1, 2), "FP32", [1.0, 2.0]),
        Plain("x", (2, 2), "FP32", [1.0] * 4),
        Plain("x", (2,), "FP32", [1.0, 2.0]),
        Plain("x", (1, 2), "FP64", [1.0, 2.0]),
        Plain("x", (1, 2), "FP32", [1.0]),
        Plain("x", (1, 2), "FP32", [1.0, 2.0], msgspec.Raw(b"{}")),
    ],
)
def test_what_is_not_a_row_of_the_version_does_not_fit(line: Line, other: Plain) -> None:
    assert not line.fits(other)


def test_after_trouble_in_a_row_the_ordinary_way_is_taken_for_a_while(line: Line, executor: Executor) -> None:
    executor.error = Internal("broken")
    for _ in range(MOST_TROUBLE):
        assert line.fits(ROW)
        ride(line)
    executor.error = None
    assert [line.fits(ROW) for _ in range(REST)] == [False] * (REST - 1) + [True]
    assert ride(line).is_answered


def test_who_has_left_before_the_end_of_the_turn_takes_no_part(line: Line, executor: Executor) -> None:
    closed: list[object] = []
    carriage = Carriage()
    carriage.response_complete = True
    assignment: Any = SimpleNamespace(close=closed.append)
    line.waiting.append(passenger(carriage, assignment=assignment))
    line.depart()
    assert (executor.rows, len(closed), carriage.is_answered) == ([], 1, False)


def test_a_request_that_is_not_copied_because_copies_rest_is_counted_by_the_guards(line: Line) -> None:
    seen: list[object] = []
    guards = SimpleNamespace(passed_by=lambda assignment, loaded: seen.append(assignment))
    assignment: Any = SimpleNamespace(guards=guards, stamp=None)
    carriage = Carriage()
    line.join(passenger(carriage, assignment=assignment))
    assert (carriage.is_answered, seen) == (True, [assignment])


async def test_who_is_let_by_the_guards_is_noted_once_for_all_of_a_turn(line: Line, executor: Executor) -> None:
    noted: list[int] = []
    line.guards = SimpleNamespace(noted=lambda requests, now_ns: noted.append(requests))  # type: ignore[assignment]
    executor.lone = False
    for _ in range(3):
        ride(line)
    line.depart()
    line.waiting.append(passenger(Carriage(), assignment=SimpleNamespace(guards=None)))  # whom the guards have seen
    line.depart()
    assert (executor.rows, noted) == ([3, 1], [3])


def test_the_first_request_of_a_caller_has_a_token_of_its_own_kind(line: Line) -> None:
    split, unit = (Stamp(lambda cells, name=name: name, lambda rows, name=name: [name] * len(rows)) for name in NAMES)
    line.arm.stamp = split
    for own in (None, unit):
        others, first = Carriage(), Carriage()
        line.waiting += [passenger(others), passenger(first, stamp=own)]
        line.depart()
        assert b"serin-assignment: split\r\n" in others.lines
        assert b"serin-assignment: %b\r\n" % (b"unit" if own else b"split") in first.lines


def test_a_version_that_is_not_loaded_is_not_for_this_way() -> None:
    absent: Any = SimpleNamespace(loaded=None)
    assert Line.of(absent, None, SimpleNamespace(), Limits(), Turn(depart)) is False  # type: ignore[arg-type]


async def test_an_error_of_ours_in_one_line_reaches_nobody_in_the_others(
    executor: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    turn, other = Turn(depart), Executor()
    broken, sound = line_of(executor, turn), line_of(other, turn)
    executor.lone = other.lone = False
    broken.cells_of = lambda outputs, rows: {}["no such cell"]  # type: ignore[method-assign]
    lost = [ride(broken), ride(broken)]
    kept = [ride(sound), ride(sound)]

    for _ in range(4):
        await asyncio.sleep(0)

    assert [carriage.is_answered for carriage in kept] == [True, True]
    assert [(carriage.left, carriage.hurry) for carriage in lost] == [(True, None)] * 2
    assert [record.getMessage() for record in caplog.records] == ["requests could not be answered together"]
    assert caplog.records[0].exc_info is not None


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """What happens at the end of a turn, in its order."""
    seen: list[tuple[str, object]] = []
    deliver, go_on, run = Carriage.deliver, Carriage.go_on, Executor.run_inline

    def delivered(carriage: Carriage, lines: bytes, body: bytes) -> None:
        seen.append(("answered", carriage))
        deliver(carriage, lines, body)

    def went_on(carriage: Carriage, body: bytes, assignment: object) -> None:
        seen.append(("left", carriage))
        go_on(carriage, body, assignment)

    def ran(executor: Executor, *told: Any) -> Any:
        seen.append(("ran", executor))
        return run(executor, *told)

    monkeypatch.setattr(Carriage, "deliver", delivered)
    monkeypatch.setattr(Carriage, "go_on", went_on)
    monkeypatch.setattr(Executor, "run_inline", ran)
    return seen


async def test_all_versions_of_a_turn_run_before_the_answers_of_any_are_written(
    executor: Executor, events: list[tuple[str, object]]
) -> None:
    turn, other = Turn(depart), Executor()
    first, second = line_of(executor, turn), line_of(other, turn)
    executor.lone = other.lone = False
    carriages = [ride(first), ride(second), ride(first)]

    turn.end()

    runs = [("ran", executor), ("ran", other)]
    assert events == [*runs, *[("answered", carriages[place]) for place in (0, 2, 1)]]


@pytest.mark.parametrize("broken", [0, 1])
async def test_a_version_that_fails_costs_its_own_requests_their_turn_after_the_others_are_answered(
    broken: int, events: list[tuple[str, object]]
) -> None:
    turn, executors = Turn(depart), [Executor(), Executor()]
    lines = [line_of(executor, turn) for executor in executors]
    for executor in executors:
        executor.lone = False
    executors[broken].error = Internal("broken")
    carriages = [ride(line) for line in lines]

    turn.end()

    assert events[2:] == [("answered", carriages[1 - broken]), ("left", carriages[broken])]
    assert [line.trouble for line in lines] == [int(place == broken) for place in (0, 1)]


async def test_numbers_that_one_version_cannot_hold_are_nothing_to_the_others(executor: Executor) -> None:
    turn, other = Turn(depart), Executor()
    first, second = line_of(executor, turn), line_of(other, turn)
    executor.lone = other.lone = False
    large, small = ride(first, [1.0, 1e39]), ride(second)

    turn.end()

    assert (large.left, small.is_answered, executor.rows, other.rows) == (True, True, [], [1])


async def test_the_time_of_a_request_ends_with_the_run_of_its_own_version(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000]
    monkeypatch.setattr(trip, "perf_counter_ns", lambda: now[0])
    turn, told = Turn(depart), []
    for run_ns in (5, 70):
        executor = Executor()
        executor.lone = False

        def outputs(rows: Any, run_ns: int = run_ns) -> Any:
            now[0] += run_ns
            return rows.sum(axis=1)

        executor.outputs = outputs
        line = line_of(executor, turn)
        line.arm.series.observe_run = lambda computed, rows: told.extend(rows)  # type: ignore[method-assign]
        line.join(passenger(Carriage(), started_ns=900))

    turn.end()

    assert [(total, queued, encoded) for total, _, queued, encoded, _ in told] == [(105, 100, 0), (175, 105, 0)]


async def test_who_comes_back_to_a_line_that_has_departed_departs_once(executor: Executor) -> None:
    turn = Turn(depart)
    line = line_of(executor, turn)
    executor.lone = False
    hurried = ride(line)
    line.depart()
    again = ride(line)

    turn.end()

    assert (executor.rows, hurried.is_answered, again.is_answered, line.trouble) == ([1, 1], True, True, 0)


def test_who_was_answered_before_an_error_is_counted_and_not_answered_again(line: Line) -> None:
    told: list[int] = []
    line.arm.series.observe_run = lambda computed, rows: told.append(len(rows))  # type: ignore[method-assign]
    first, second = Carriage(), Carriage()
    line.waiting += [passenger(first), passenger(second, given_id=object())]  # type: ignore[arg-type]

    line.depart()

    assert (first.is_answered, first.left, second.is_answered, second.left) == (True, False, False, True)
    assert told == [1]


def test_when_nothing_can_be_done_for_a_request_it_is_told_so_and_the_next_goes_on(line: Line) -> None:
    def refuse(*told: object) -> Any:
        raise Internal("broken")

    line.arm.tap, line.dataplane.plain_route = refuse, refuse  # type: ignore[method-assign]
    line.dataplane.assignment = refuse  # type: ignore[method-assign]
    first, second = Carriage(), Carriage()
    line.waiting += [passenger(first), passenger(second, assignment=SimpleNamespace(guards=None))]

    line.depart()

    assert (first.gave_up, first.left, second.gave_up, second.left) == (True, False, False, True)
