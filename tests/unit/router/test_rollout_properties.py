"""Whole rollouts under random commands, answers, clocks and crashes: what is never allowed to happen, at any record."""

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from router.advance import Acked, Command, Compared, Input, Ready, Refused, Tick, Trouble
from router.clock import Now
from router.errors import SerinError
from router.launch import retried
from router.phases import AT_A_STEP, PEOPLE, Move, Phase
from router.rollout import Rollout
from router.rollout_rows import decode_rollout, encode_rollout
from router.routes import PPM, Route, decode_table, encode_table, validate_route
from router.split import choose
from router.state import State, same_decision
from router.strategies import StepKind
from router.verdict import VerdictKind
from tests.unit.router.rollouts import BOB, IDENTICAL, START, a_sight, assessed, begun, moved, of

CHECK = {"name": "c0", "metric": "error_rate", "max": 0.1}
KEYS = [f"user-{n}".encode() for n in range(60)]
DRAWS = [n / 20 for n in range(20)]

SPECS: list[dict[str, Any]] = [
    {},
    {"checks": [CHECK], "canary": {"weights": [0.0001, 1, 50, 100], "pause": "10s", "requests": 5}},
    {"canary": {"weights": [1, 1, 30], "pause": "5s", "approval": True}, "step_deadline": "2m", "on_deadline": "hold"},
    {"canary": None, "strategy": "blue-green", "blue-green": {"shadow": 50, "requests": 5, "bake": "10s"}},
    {"canary": None, "strategy": "instant"},
    {
        "canary": None,
        "checks": [CHECK],
        "steps": [
            {"shadow": 100, "requests": 5},
            {"cohort": {"header": "x"}},
            {"weight": 5},
            {"pause": 3},
            {"weight": 50},
        ],
    },
    {
        "canary": None,
        "strategy": "ab",
        "to": [{"version": 2, "weight": 20}, {"version": 3, "weight": 30}],
        "ab": {"requests": 5},
    },
]

OPS = st.one_of(
    st.tuples(st.just("tick"), st.floats(0, 200)),
    st.tuples(st.just("answer"), st.sampled_from([*VerdictKind, VerdictKind.PASS, VerdictKind.PASS])),
    st.tuples(st.just("command"), st.sampled_from(PEOPLE)),
    st.tuples(st.sampled_from(["ready", "compared", "acked", "acked", "crash", "reboot", "jump"]), st.none()),
    st.tuples(st.sampled_from(["refused", "trouble"]), st.none()),
)


class Walk:
    """One state that goes through operations, and what was recorded on the way."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.now = START
        self.state = begun(**spec)
        self.records: list[State] = [self.state]

    def do(self, kind: str, argument: Any) -> None:
        """One operation; an illegal one changes nothing."""
        before = self.state
        try:
            self.state = self.after(kind, argument)
        except SerinError:
            assert kind == "command", "only people can ask for what is impossible"
            assert self.state is before
        if self.state is not before:
            self.records.append(self.state)

    def after(self, kind: str, argument: Any) -> State:
        if kind == "tick":
            self.now = Now(self.now.boot_id, self.now.seconds + argument, self.now.wall + argument)
        if kind == "reboot":
            self.now = Now(self.now.boot_id + "'", 5.0, self.now.wall + 60)
        if kind == "jump":
            self.now = replace(self.now, wall=self.now.wall - 86_400)
        if kind == "crash":
            return reread(self.state)
        if kind == "command" and argument is Move.RETRY:
            return retried("digits", BOB, a_sight(self.state), self.now).state
        return moved(self.state, self.input(kind, argument), self.now)

    def input(self, kind: str, argument: Any) -> Input:
        rollout = of(self.state)
        inputs: dict[str, Input] = {
            "ready": Ready({}),
            "compared": Compared(IDENTICAL),
            "acked": Acked(rollout.route_revision),
            "refused": Refused(rollout.route_revision, "no"),
            "trouble": Trouble("digits:2 is unavailable"),
        }
        if kind == "answer":
            return assessed(rollout, argument, v1=9, v2=9, v3=9, mirrored=9)
        if kind == "command":
            return Command(argument, BOB, "2")
        return inputs.get(kind, Tick())


def reread(known: State) -> State:
    """What a controller finds after `kill -9`."""
    table = decode_table(encode_table(known.table))
    rollouts = {model: decode_rollout(encode_rollout(one)) for model, one in known.rollouts.items()}
    assert (table, rollouts) == (known.table, known.rollouts)
    return replace(known, table=table, rollouts=rollouts)


def plan(rollout: Rollout) -> set[int]:
    """Every weight that the candidates may have together, by the document."""
    weights = {step.weight_ppm for step in rollout.spec.steps if step.kind in (StepKind.WEIGHT, StepKind.SWITCH)}
    return {0, PPM, sum(candidate.weight_ppm for candidate in rollout.candidates), *weights}


def on_candidates(route: Route, rollout: Rollout) -> int:
    names = {candidate.name for candidate in rollout.candidates}
    return sum(variant.weight_ppm for variant in route.variants if variant.name in names)


def check_record(known: State) -> None:
    route, rollout = known.table.routes["digits"], of(known)
    validate_route(route)
    assert sum(variant.weight_ppm for variant in route.variants) == PPM
    weight = on_candidates(route, rollout)
    assert weight in plan(rollout)
    if rollout.phase in (Phase.PENDING, Phase.CHECKING, Phase.ABORTING, Phase.ABORTED, Phase.ROLLED_BACK):
        assert same_decision(route, rollout.stable)
    if rollout.phase in (Phase.PROMOTING, Phase.WINDOW, Phase.PROMOTED):
        assert weight == PPM
        assert next(v.weight_ppm for v in route.variants if v.name == rollout.winner) == PPM
    chosen = {choose(route, key, 0.0).name for key in KEYS} | {choose(route, None, draw).name for draw in DRAWS}
    assert chosen <= {variant.name for variant in route.variants if variant.weight_ppm > 0}


def check_move(before: State, after: State) -> None:
    one, other = of(before), of(after)
    if one.id != other.id:
        return
    assert other.step - one.step in (0, 1), "no step twice, none left out"
    assert after.table.revision - before.table.revision in (0, 1)
    if before.table.routes != after.table.routes:
        assert other.route_revision == after.table.revision == after.table.routes["digits"].revision
    if {one.phase, other.phase} <= AT_A_STEP:
        routes = before.table.routes["digits"], after.table.routes["digits"]
        assert on_candidates(routes[0], one) <= on_candidates(routes[1], other)
        assert routes[0].salt == routes[1].salt or one.step < 0
        if len(one.candidates) == 1:
            for key in KEYS:
                was, now = (choose(route, key, 0.0).name for route in routes)
                assert was == now or now == other.candidates[0].name, "keys move only towards the candidate"
    promotes = other.phase is Phase.PROMOTING is not one.phase
    if promotes and one.spec.checks and other.why.actor == "serin":
        assert all(verdict.kind is VerdictKind.PASS for verdict in other.seen.verdicts), "nothing goes without evidence"


@seed(20250131)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
@given(st.sampled_from(SPECS), st.lists(OPS, max_size=40), st.booleans())
def test_no_route_is_ever_recorded_that_was_not_meant(
    spec: dict[str, Any], operations: list[tuple[str, Any]], starts: bool
) -> None:
    walk = Walk(spec)
    for operation in [*[("ready", None), ("compared", None), ("acked", None)][: 3 * starts], *operations]:
        walk.do(*operation)
    for record in walk.records:
        check_record(record)
    for before, after in zip(walk.records, walk.records[1:], strict=False):
        check_move(before, after)


@seed(20250131)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
@given(st.sampled_from(SPECS), st.lists(OPS, max_size=30))
def test_from_wherever_it_is_an_abort_leads_back_to_stable(
    spec: dict[str, Any], operations: list[tuple[str, Any]]
) -> None:
    walk = Walk(spec)
    for operation in [("ready", None), ("compared", None), ("acked", None), *operations]:
        walk.do(*operation)
    owned = of(walk.state).is_open and of(walk.state).phase is not Phase.ROLLING_BACK
    walk.do("command", Move.ABORT)
    assert not owned or same_decision(walk.state.table.routes["digits"], of(walk.state).stable)
    walk.do("acked", None)
    assert not owned or of(walk.state).phase is Phase.ABORTED


@seed(20250131)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
@given(st.sampled_from(SPECS), st.lists(st.tuples(st.just("tick"), st.floats(0, 1e5)), max_size=40))
def test_every_wait_ends_when_nobody_does_anything(spec: dict[str, Any], ticks: list[tuple[str, Any]]) -> None:
    walk = Walk(spec)
    for operation in [*ticks, *[("tick", 40 * 86_400.0), ("acked", None)] * 8]:
        walk.do(*operation)
    assert not of(walk.state).is_active
