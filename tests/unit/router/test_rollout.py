from dataclasses import replace
from typing import Any

import pytest

from router.advance import (
    Acked,
    Advance,
    Assessed,
    Command,
    Compared,
    Ready,
    Refused,
    Superseded,
    Tick,
    Trouble,
    Watched,
    advance,
)
from router.assessor import Assessment, Contract, ContractKind
from router.commands import Match
from router.errors import Conflict, FailedPrecondition, NotFound
from router.history import Who
from router.launch import Launch, launched, recorded, retried
from router.phases import PEOPLE, TABLE, IllegalTransition, Move, Phase
from router.questions import question_of
from router.rollout import Rollout, accepted, is_approved, missing, possible, span
from router.rollout_routes import route_of
from router.rollout_rows import decode_rollout, encode_rollout
from router.rollout_views import next_words, rollout_document
from router.routes import PPM, Golden, Rule, validate_route
from router.safeguards import Units
from router.spec import parse_spec
from router.state import State
from router.verdict import Verdict, VerdictKind
from tests.unit.router.rollouts import (
    BOB,
    IDENTICAL,
    START,
    a_sight,
    assessed,
    begun,
    document,
    events,
    followed,
    in_phase,
    later,
    moved,
    of,
    walking,
)
from tests.unit.router.world import route, state

PASS, FAIL, UNSURE, NO_DATA, ERROR = (
    VerdictKind.PASS,
    VerdictKind.FAIL,
    VerdictKind.INCONCLUSIVE,
    VerdictKind.NO_DATA,
    VerdictKind.ERROR,
)
CHECK = {"name": "c0", "metric": "error_rate", "max": 0.1}
AB = {
    "strategy": "ab",
    "to": [{"version": 2, "weight": 20}, {"version": 3, "weight": 30, "name": "c"}],
    "canary": None,
    "ab": {"requests": 100},
}


def command(move: Move, to: str = "") -> Command:
    return Command(move, BOB, to)


def weights(known: State) -> dict[str, int]:
    return {variant.name: variant.weight_ppm for variant in known.table.routes["digits"].variants}


# The walk


def test_a_canary_walks_its_weights_and_is_promoted() -> None:
    known = walking()
    seen = [weights(known)]
    for _ in range(3):
        known = followed(moved(known, Tick(), later(of(known).clock.mark - START.seconds + 10)))
        seen.append(weights(known))
    assert seen == [{"1": 990_000, "2": 10_000}, {"1": 950_000, "2": 50_000}, {"1": 750_000, "2": 250_000}, {"2": PPM}]
    assert of(known).phase is Phase.WINDOW


def test_the_salt_is_the_rollouts_id_and_goes_with_it() -> None:
    known = walking()
    assert known.table.routes["digits"].salt == of(known).id
    known = moved(known, command(Move.ABORT))
    assert known.table.routes["digits"].salt == ""


def test_a_step_does_not_count_time_before_all_workers_follow_it() -> None:
    known = moved(moved(begun(), Ready({})), Compared(IDENTICAL))
    assert moved(known, Tick(), later(20)) is known
    known = followed(known, later(100))
    assert of(moved(known, Tick(), later(109))).step == 0
    assert of(moved(known, Tick(), later(110))).step == 1


def test_a_pause_stops_the_clock_of_the_step_but_not_of_the_rollout() -> None:
    known = moved(walking(), command(Move.PAUSE), later(4))
    known = moved(known, command(Move.RESUME), later(1000))
    assert of(known).clock.total_seconds == 1000
    assert missing(of(known), of(known).seen, later(1000)) == ("6 s of 10 s",)
    assert of(moved(known, Tick(), later(1006))).step == 1


def test_a_paused_rollout_stays_where_it_is_also_when_nothing_is_missing_any_more() -> None:
    known = walking(checks=[CHECK])
    known = moved(known, assessed(of(known), NO_DATA), later(10))
    known = moved(known, command(Move.PAUSE), later(11))
    known = moved(known, assessed(of(known), PASS), later(12))
    assert (of(known).phase, of(known).step) == (Phase.PAUSED, 0)


def test_time_across_a_reboot_does_not_count() -> None:
    known = moved(walking(), Tick(), later(4))
    known = moved(known, command(Move.PAUSE), later(4))
    known = moved(known, command(Move.RESUME), later(4))
    rebooted = moved(known, Tick(), replace(later(-900), boot_id="other"))
    assert of(rebooted).clock.boot_id == "other"
    assert of(moved(rebooted, Tick(), replace(later(-895), boot_id="other"))).step == 0
    assert of(moved(rebooted, Tick(), replace(later(-894), boot_id="other"))).step == 1


def test_a_wall_clock_that_jumps_moves_nothing() -> None:
    known = walking()
    assert moved(known, Tick(), replace(later(1), wall=9e9)) is known


def test_time_that_was_spent_is_recorded_now_and_then() -> None:
    known = walking(canary={"weights": [1], "pause": "1h"})
    assert moved(known, Tick(), later(29)) is known
    assert of(moved(known, Tick(), later(31))).clock.step_seconds == 31


def test_a_minimum_of_requests_is_waited_for() -> None:
    known = walking(canary={"weights": [1, 5], "pause": 0, "requests": 50})
    assert of(moved(known, assessed(of(known), v2=49))).step == 0
    assert of(moved(known, assessed(of(known), v1=500, v2=50))).step == 1


def test_an_answer_about_another_step_is_not_listened_to() -> None:
    known = walking(canary={"weights": [1, 5], "pause": 0, "requests": 50})
    old = assessed(of(known), v2=50)
    known = followed(moved(known, old))
    assert of(known).step == 1
    assert moved(known, old) is known


@pytest.mark.parametrize(
    ("kind", "after_pause"),
    [(PASS, Phase.PROGRESSING), (UNSURE, Phase.HOLDING), (NO_DATA, Phase.HOLDING), (ERROR, Phase.HOLDING)],
)
def test_only_a_pass_lets_a_step_be_left(kind: VerdictKind, after_pause: Phase) -> None:
    known = walking(checks=[CHECK])
    known = moved(known, assessed(of(known), kind), later(10))
    assert of(known).phase is after_pause
    assert of(known).step == (1 if kind is PASS else 0)


def test_nothing_measured_yet_is_not_a_pass() -> None:
    known = walking(checks=[CHECK])
    assert of(moved(known, Tick(), later(11))).step == 0


def test_a_failed_check_ends_it_in_any_phase_of_a_step() -> None:
    for phase in (Phase.PROGRESSING, Phase.PAUSED, Phase.HOLDING, Phase.WAITING_APPROVAL):
        rollout = in_phase(phase, checks=[CHECK])
        made = advance(assessed(rollout, FAIL), rollout, later(1))
        assert made.rollout.phase is Phase.ABORTING
        assert made.route == rollout.stable
        assert made.rollout.why == Who("serin", "c0: said fail")


def test_a_held_rollout_goes_on_when_its_checks_pass() -> None:
    known = walking(checks=[CHECK])
    known = moved(known, assessed(of(known), NO_DATA), later(10))
    known = moved(known, assessed(of(known), PASS), later(11))
    assert (of(known).phase, of(known).step) == (Phase.PROGRESSING, 1)


def test_an_inconclusive_check_may_end_it_but_no_data_only_holds() -> None:
    known = walking(checks=[CHECK], on_inconclusive="abort")
    assert of(moved(known, assessed(of(known), NO_DATA), later(10))).phase is Phase.HOLDING
    assert of(moved(known, assessed(of(known), UNSURE), later(10))).phase is Phase.ABORTING


def test_an_approval_is_asked_for_and_given_by_name() -> None:
    known = walking(canary={"weights": [1, 5], "pause": "10s", "approval": True})
    known = moved(known, Tick(), later(10))
    assert of(known).phase is Phase.WAITING_APPROVAL
    known = moved(known, command(Move.APPROVE), later(20))
    assert [(one.step, one.actor, one.reason) for one in of(known).approvals] == [(0, "bob", "asked to")]
    known = moved(known, Tick(), later(20))
    assert of(known).step == 1
    known = followed(known, later(20))
    known = moved(known, Tick(), later(30))
    assert of(known).phase is Phase.WAITING_APPROVAL, "one approval is for one step"
    assert of(moved(known, command(Move.REJECT), later(31))).phase is Phase.ABORTING


SHIFTED = Verdict(VerdictKind.INCONCLUSIVE, "evidence", "score: 200 : 1: a person must decide", asks=("score",))


def shifted() -> State:
    """The state in which a shift of predictions holds the rollout."""
    canary = {"weights": [1, 5], "pause": "10s", "approval": True}
    known = walking(canary=canary, checks=None, analysis={})
    said = Assessed(of(known).id, of(known).step, Assessment((SHIFTED,), {"2": 1000}))
    return moved(known, said, later(10))


def test_what_a_person_accepts_holds_no_more_and_approves_no_step() -> None:
    known = shifted()
    assert of(known).phase is Phase.HOLDING
    assert {Move.APPROVE, Move.REJECT} <= set(possible(of(known)))
    known = moved(known, command(Move.APPROVE), later(11))
    assert (of(known).phase, accepted(of(known)), is_approved(of(known))) == (Phase.PROGRESSING, ("score",), False)
    assert of(known).why.reason == "accepts score: asked to"
    assert question_of(of(known), of(known).stable, later(11)).accepted == ("score",)
    known = moved(known, Tick(), later(12))
    assert of(known).phase is Phase.PROGRESSING, "it is looked at anew before it holds again"


def test_who_rejects_what_is_asked_goes_back_to_stable() -> None:
    assert of(moved(shifted(), command(Move.REJECT), later(11))).phase is Phase.ABORTING


def test_who_approves_too_early_hears_what_is_still_missing() -> None:
    checks = [{"name": "c0", "metric": "error_rate", "max": 0.05}]
    known = walking(canary={"weights": [1], "pause": "10s", "requests": 50, "approval": True}, checks=checks)
    known = moved(known, assessed(of(known), VerdictKind.NO_DATA, v2=20), later(4))
    with pytest.raises(
        IllegalTransition, match=r"waits for 6 s of 10 s, 30 of 50 requests, the checks to pass \(no_data"
    ):
        moved(known, command(Move.APPROVE), later(4))
    plain = walking(canary={"weights": [1], "pause": "10s"})
    with pytest.raises(IllegalTransition) as told:
        moved(plain, command(Move.APPROVE), later(4))
    assert "Before it can be approved" not in str(told.value), "this step asks for no approval"


def test_a_noise_floor_step_runs_requests_on_stable_itself_and_what_it_gave_is_told() -> None:
    steps = [{"noise_floor": 50, "requests": 100}, {"shadow": 100, "requests": 10}]
    known = walking(steps=steps, canary=None, pairs={"most": 2, "inputs": True, "values": False})
    [mirror] = route_of(of(known)).mirrors
    assert (mirror.version, mirror.against, mirror.variant, mirror.share_ppm) == (1, "1", "noise-floor", 500_000)
    assert (mirror.worst, mirror.keep_inputs, mirror.keep_values) == (2, True, False)
    said = Assessment((), {}, 100, {"noise-floor": {"requests": 100, "flipped": 3}})
    known = moved(known, Assessed(of(known).id, 0, said))
    assert [mirror.variant for mirror in route_of(of(known)).mirrors] == ["2"]
    assert rollout_document(of(known), None, START)["noise_floor"] == {"requests": 100, "flipped": 3, "flip_rate": 0.03}


@pytest.mark.parametrize(
    ("action", "kind", "phase", "step"),
    [
        ("abort", PASS, Phase.ABORTING, 0),
        ("hold", NO_DATA, Phase.HOLDING, 0),
        ("promote", PASS, Phase.PROGRESSING, 1),
        ("promote", NO_DATA, Phase.ABORTING, 0),
    ],
)
def test_a_step_that_takes_too_long_has_a_stated_consequence(
    action: str, kind: VerdictKind, phase: Phase, step: int
) -> None:
    options = {"weights": [1, 5], "pause": "10s", "requests": 10, "deadline": "1m"}
    known = walking(checks=[CHECK], canary=options, on_deadline=action)
    known = moved(known, assessed(of(known), kind), later(1))
    known = moved(known, Tick(), later(61))
    assert (of(known).phase, of(known).step) == (phase, step)


@pytest.mark.parametrize("action", ["abort", "hold", "promote"])
@pytest.mark.parametrize("phase", [Phase.PROGRESSING, Phase.PAUSED, Phase.HOLDING, Phase.WAITING_APPROVAL])
def test_max_duration_ends_every_wait_and_nothing_is_promoted_without_evidence(action: str, phase: Phase) -> None:
    rollout = in_phase(phase, checks=[CHECK], on_deadline=action, max_duration="1h")
    assert advance(Tick(), rollout, later(3601)).rollout.phase is Phase.ABORTING


def test_without_any_check_a_deadline_never_promotes() -> None:
    rollout = in_phase(Phase.PAUSED, on_deadline="promote", max_duration="1h")
    assert advance(Tick(), rollout, later(3601)).rollout.phase is Phase.ABORTING


def test_a_candidate_that_never_gets_ready_is_given_up() -> None:
    assert of(moved(begun(), Tick(), later(601))).phase is Phase.ABORTING


def test_an_instant_rollout_has_no_step() -> None:
    known = begun(strategy="instant", canary=None)
    known = moved(moved(known, Ready({})), Compared(IDENTICAL))
    assert (of(known).phase, weights(known)) == (Phase.PROMOTING, {"2": PPM})


# The gate


@pytest.mark.parametrize(
    ("kind", "allowed", "passes"),
    [
        ("identical", "identical", True),
        ("compatible", "identical", False),
        ("compatible", "compatible", True),
        ("unknown", "compatible", False),
        ("breaking", "compatible", False),
        ("unknown", "breaking", True),
        ("breaking", "breaking", True),
    ],
)
def test_the_contract_gate_lets_through_what_the_spec_allows(kind: str, allowed: str, passes: bool) -> None:
    known = moved(begun(contract=allowed), Ready({}))
    made = advance(Compared(Contract(ContractKind(kind), ("output y is gone",))), of(known), START)
    assert made.rollout.phase is (Phase.PROGRESSING if passes else Phase.ABORTING)
    if not passes:
        assert "output y is gone" in made.rollout.why.reason
        assert made.events[0].after["weights_ppm"] == {"1": PPM}


# Ends


def test_a_promotion_takes_the_stable_alias_along_and_a_rollback_brings_it_back() -> None:
    before = state(route(PPM, aliases={"stable": 1, "first": 1}))
    known = launched(Launch(parse_spec(document()), BOB), a_sight(before), START).state
    known = followed(moved(moved(known, Ready({})), Compared(IDENTICAL)))
    known = followed(moved(known, command(Move.PROMOTE)))
    assert known.table.routes["digits"].aliases == {"stable": 2, "first": 1}
    assert of(known).phase is Phase.WINDOW
    known = moved(known, command(Move.ROLLBACK))
    assert of(known).phase is Phase.ROLLING_BACK
    assert (weights(known), known.table.routes["digits"].aliases) == ({"1": PPM}, {"stable": 1, "first": 1})
    assert of(followed(known)).phase is Phase.ROLLED_BACK


def test_the_rollback_window_closes() -> None:
    known = followed(moved(walking(rollback_window="1m"), command(Move.PROMOTE)))
    assert of(moved(known, Tick(), later(59))).phase is Phase.WINDOW
    closed = moved(known, Tick(), later(60))
    assert of(closed).phase is Phase.PROMOTED
    with pytest.raises(IllegalTransition, match="window is over"):
        moved(closed, command(Move.ROLLBACK))


def test_without_a_window_a_promotion_is_final_at_once() -> None:
    known = moved(walking(rollback_window=0), command(Move.PROMOTE))
    made = advance(Acked(of(known).route_revision), of(known), later(1))
    assert (made.rollout.phase, events(made)) == (Phase.PROMOTED, ["rollout.promoted"])


def test_trouble_in_the_window_rolls_back() -> None:
    rollout = in_phase(Phase.WINDOW)
    made = advance(Trouble("digits:2 is in quarantine"), rollout, later(1))
    assert (made.rollout.phase, made.route) == (Phase.ROLLING_BACK, rollout.stable)


def test_an_abort_is_over_only_when_all_workers_follow() -> None:
    known = moved(walking(), command(Move.ABORT))
    assert of(known).phase is Phase.ABORTING
    assert moved(known, Acked(of(known).route_revision - 1)) is known
    assert moved(known, command(Move.ABORT)) is known
    done = followed(known)
    assert (of(done).phase, of(done).why) == (Phase.ABORTED, BOB)


def test_a_worker_that_refuses_a_step_ends_it() -> None:
    known = moved(moved(begun(), Ready({})), Compared(IDENTICAL))
    revision = of(known).route_revision
    assert moved(known, Refused(revision - 1, "no")) is known
    assert of(moved(known, Refused(revision, "no room"))).phase is Phase.ABORTING


def test_an_ab_ends_with_its_result_and_promotes_nobody_unasked() -> None:
    known = walking(**AB)
    assert weights(known) == {"1": 500_000, "2": 200_000, "c": 300_000}
    known = moved(known, assessed(of(known), v1=500, v2=100, c=99), later(5))
    assert of(known).phase is Phase.PROGRESSING
    known = moved(known, assessed(of(known), v1=500, v2=100, c=100), later(6))
    assert of(known).phase is Phase.WAITING_APPROVAL
    assert of(known).result is not None
    assert of(known).result["requests"] == {"1": 500, "2": 100, "c": 100}
    for word in (Move.APPROVE, Move.PROMOTE_STEP):
        with pytest.raises(IllegalTransition, match="decision"):
            moved(known, command(word))
    with pytest.raises(IllegalTransition, match="one of 2, c"):
        moved(known, command(Move.PROMOTE))
    assert weights(moved(known, command(Move.PROMOTE, "3"))) == {"c": PPM}
    assert weights(moved(known, command(Move.ABORT))) == {"1": PPM}


def test_an_ab_without_an_end_waits_for_a_decision() -> None:
    known = walking(**{**AB, "ab": {}})
    assert missing(of(known), of(known).seen, later(9e5)) == ("a decision",)
    known = moved(known, command(Move.PROMOTE, "c"), later(50))
    assert of(known).result is not None


def test_an_ab_that_ends_by_date_looks_at_the_wall_clock() -> None:
    known = walking(**{**AB, "ab": {"until": "2023-11-15T00:00:00Z"}})
    assert of(moved(known, Tick(), later(3600))).phase is Phase.PROGRESSING
    assert of(moved(known, Tick(), later(7000))).phase is Phase.WAITING_APPROVAL


# What people may do


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("move", PEOPLE)
def test_a_word_that_is_not_in_the_table_changes_nothing(phase: Phase, move: Move) -> None:
    rollout = in_phase(phase)
    asks_nothing = move in (Move.APPROVE, Move.REJECT) and phase is not Phase.WAITING_APPROVAL
    if move in TABLE[phase] and not asks_nothing:
        if move is not Move.RETRY:
            assert advance(command(move), rollout, later(1)).rollout.phase in {TABLE[phase][move], phase}
            assert move in possible(rollout)
        return
    with pytest.raises(IllegalTransition):
        advance(command(move), rollout, later(1))
    assert move not in possible(rollout)


def test_promoting_by_one_step_skips_what_the_step_waits_for() -> None:
    known = moved(walking(checks=[CHECK]), command(Move.PROMOTE_STEP), later(1))
    assert of(known).step == 1
    known = moved(moved(known, command(Move.PROMOTE_STEP), later(2)), command(Move.PROMOTE_STEP), later(3))
    assert of(known).phase is Phase.PROMOTING


@pytest.mark.parametrize("phase", Phase)
def test_a_supersession_changes_only_what_may_be_replaced(phase: Phase) -> None:
    rollout = in_phase(phase)
    if Move.SUPERSEDE in TABLE[phase]:
        made = advance(Superseded(BOB), rollout, later(1))
        assert made.rollout.phase is TABLE[phase][Move.SUPERSEDE]
        return
    with pytest.raises(IllegalTransition):
        advance(Superseded(BOB), rollout, later(1))


# Beginning


def refused(spec: dict[str, Any], known: State | None = None, **more: Any) -> str:
    with pytest.raises((FailedPrecondition, NotFound, Conflict)) as error:
        launched(Launch(parse_spec(spec), BOB, **more), a_sight(known), START)
    return error.value.message


def test_what_does_not_fit_the_route_is_refused_with_the_field() -> None:
    assert refused(document(to=9)).startswith("to: digits has no version 9")
    assert refused(document(to="best")).startswith("to: digits has no alias")
    assert refused(document(to=1)).startswith("to: version 1 of digits has all the traffic already")
    assert refused(document(), state(route(500_000, 500_000))).startswith("from: digits splits its traffic")
    assert refused({**document(), "from": 3}).startswith("from: version 1 of digits has all the traffic")


def test_the_same_document_again_changes_nothing() -> None:
    known = walking()
    assert launched(Launch(parse_spec(document(reason="again")), BOB), a_sight(known), later(5)).state is known


def test_another_document_replaces_an_open_rollout_only_by_name() -> None:
    known = walking()
    other = parse_spec(document(to=3))
    assert "`abort` ends it" in refused(document(to=3), known)
    assert "read it again" in refused(document(to=3), known, match=Match(frozenset({7})))
    change = launched(Launch(other, BOB, Match(frozenset({of(known).number}))), a_sight(known), later(5))
    assert [event.kind for event in change.events] == ["rollout.superseded", "rollout.started"]
    assert [(closed.id, closed.phase) for closed in change.closed] == [(of(known).id, Phase.SUPERSEDED)]
    assert weights(change.state) == {"1": PPM}
    assert of(change.state).stable.salt == ""
    assert of(change.state).number == change.state.table.revision


def test_a_new_rollout_closes_the_window_of_the_last() -> None:
    known = followed(moved(walking(), command(Move.PROMOTE)))
    change = launched(Launch(parse_spec(document(to=3)), BOB), a_sight(known), later(5))
    assert [(closed.phase, events_) for closed in change.closed for events_ in [change.events[0].kind]] == [
        (Phase.PROMOTED, "rollout.window_closed")
    ]
    assert of(change.state).source.version == 2


def test_a_retry_is_a_rollout_of_its_own() -> None:
    known = followed(moved(walking(), command(Move.ABORT)))
    change = retried("digits", BOB, a_sight(known), later(9))
    assert of(change.state).phase is Phase.PENDING
    assert of(change.state).id != of(known).id
    with pytest.raises(IllegalTransition):
        retried("digits", BOB, a_sight(walking()), START)


# The routes


def test_testers_keep_the_candidate_from_their_step_on() -> None:
    steps = [{"cohort": {"header": "X-Beta"}, "approval": True}, {"weight": 1, "pause": "1m"}]
    known = walking(steps=steps, canary=None)
    rule = Rule("x-beta", "2", None)
    assert known.table.routes["digits"].rules == (rule,)
    assert weights(known) == {"1": PPM, "2": 0}
    known = moved(known, command(Move.PROMOTE_STEP))
    assert (known.table.routes["digits"].rules, weights(known)) == ((rule,), {"1": 990_000, "2": 10_000})
    known = moved(known, command(Move.PROMOTE))
    assert known.table.routes["digits"].rules == ()


def test_a_shadow_step_only_mirrors() -> None:
    known = walking(steps=[{"shadow": 10, "requests": 5}, {"weight": 1}], canary=None)
    made = known.table.routes["digits"]
    assert [(m.version, m.share_ppm, m.variant, m.against) for m in made.mirrors] == [(2, 100_000, "2", "1")]
    assert (weights(known), made.fallback) == ({"1": PPM, "2": 0}, None)
    assert of(moved(known, assessed(of(known), mirrored=4))).step == 0
    known = moved(known, assessed(of(known), mirrored=5))
    made = known.table.routes["digits"]
    assert made.mirrors == ()
    assert made.fallback is not None
    assert made.fallback.to == "1"


def test_the_exposure_limit_ends_with_the_first_evidence() -> None:
    options = {"canary": {"weights": [1, 5], "pause": "10s"}, "checks": [CHECK], "exposure": {"requests": 100}}
    known = walking(**options)
    limit = known.table.routes["digits"].exposure
    assert limit is not None
    assert (limit.rollout, limit.variant, limit.to, limit.requests) == (of(known).id, "2", "1", 100)
    known = moved(known, assessed(of(known), PASS), later(10))
    assert (of(known).step, known.table.routes["digits"].exposure) == (1, None)


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_has_a_sound_route_and_a_document(phase: Phase) -> None:
    for more in ({}, {"checks": [CHECK]}, {"strategy": "blue-green", "canary": None}):
        rollout = in_phase(phase, **more)
        validate_route(route_of(rollout))
        told = rollout_document(rollout, route_of(rollout), later(3))
        assert told["phase"] == phase
        assert isinstance(next_words(rollout, later(3)), str)
        assert decode_rollout(encode_rollout(rollout)) == rollout


def test_an_unchanged_rollout_is_not_recorded() -> None:
    known = walking()
    made = recorded(known, advance(Tick(), of(known), later(1)))
    assert made.state is known
    assert not made.events


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (90, "1 min 30 s"), (7200, "2 h"), (90_061, "1 d 1 h")])
def test_times_are_told_in_words(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_rollout_is_never_taken_for_another_phase_by_its_record() -> None:
    rollout: Rollout = in_phase(Phase.HOLDING)
    assert decode_rollout(encode_rollout(rollout)).phase is Phase.HOLDING


# ---- evidence and the watch -----------------------------------------------------------------------------------------


def test_lines_for_the_log_of_blocks_come_with_the_record_they_were_judged_in() -> None:
    known = walking(checks=None)
    rollout = of(known)
    said = Assessment((Verdict(VerdictKind.INCONCLUSIVE, "evidence"),), memory={"evidence": 1}, log=({"number": 1},))
    change = recorded(known, advance(Assessed(rollout.id, rollout.step, said), rollout, START))
    assert change.log == ((rollout.id, {"number": 1}),)
    overtaken = advance(Assessed(rollout.id, rollout.step + 1, said), rollout, START)
    assert (overtaken.rollout, overtaken.log) == (rollout, ())


def test_without_checks_evidence_must_pass_before_a_step_with_weight_is_left() -> None:
    rollout = of(walking(checks=None))
    assert rollout.spec.checks == ()
    waited = advance(Tick(), rollout, later(3600))
    assert waited.rollout.step == 0


def watched(kind: VerdictKind, rollout: Rollout) -> Advance:
    said = Assessment((Verdict(kind, "watch", "errors: the limit is not kept any more"),), memory={"watch": 1})
    return advance(Watched(rollout.id, said), rollout, later(5))


def test_a_promoted_version_that_breaks_its_limits_is_rolled_back_with_the_reason() -> None:
    moved = watched(VerdictKind.FAIL, in_phase(Phase.WINDOW))
    assert moved.rollout.phase is Phase.ROLLING_BACK
    assert moved.route == moved.rollout.stable
    assert moved.rollout.why.reason == "errors: the limit is not kept any more"
    assert moved.events[0].after["evidence"]["checks"][0]["check"] == "watch"


def test_a_promoted_version_that_keeps_its_limits_stays_and_what_was_seen_is_remembered() -> None:
    moved = watched(VerdictKind.PASS, in_phase(Phase.WINDOW))
    assert (moved.rollout.phase, moved.rollout.memory) == (Phase.WINDOW, {"watch": 1})
    assert watched(VerdictKind.PASS, moved.rollout).rollout == moved.rollout


def test_the_watch_says_nothing_to_a_rollout_that_is_not_in_its_window() -> None:
    rollout = in_phase(Phase.PROGRESSING)
    assert watched(VerdictKind.FAIL, rollout).rollout == rollout


def test_a_baseline_takes_the_candidates_share_of_stable_while_that_is_small() -> None:
    steps = [{"shadow": 10, "checks": False}, {"weight": 5}, {"weight": 25}, {"weight": 50}]
    more = {"steps": steps, "canary": None, "analysis": {"baseline": True}, "checks": None}
    rollout = of(walking(**more))
    routes = [route_of(replace(rollout, step=step)) for step in range(4)]
    for each in routes:
        validate_route(each)
    shares = [{v.name: v.weight_ppm // 10_000 for v in each.variants} for each in routes]
    assert shares == [
        {"1": 100, "2": 0},
        {"1": 90, "2": 5, "baseline": 5},
        {"1": 50, "2": 25, "baseline": 25},
        {"1": 50, "2": 50},
    ]
    beside = routes[1].variants[-1]
    assert (beside.version, beside.apart) == (1, True)
    assert route_of(replace(rollout, phase=Phase.ABORTED)).variants == rollout.stable.variants


def test_golden_rows_are_run_where_requests_are_compared() -> None:
    steps = [{"shadow": 10, "checks": False}, {"weight": 5}, {"weight": 100, "checks": False}]
    more = {"steps": steps, "canary": None, "analysis": {"golden": 2}, "checks": None}
    rollout = of(walking(**more))
    routes = [route_of(replace(rollout, step=step)) for step in range(3)]
    assert [each.golden for each in routes] == [None, Golden("2", "1", 2.0), None]
    for each in routes:
        validate_route(each)
    assert route_of(in_phase(Phase.PROMOTED)).golden is None


def test_callers_belong_to_the_steps_that_compare_and_are_counted_nowhere_else() -> None:
    steps = [{"shadow": 10, "checks": False}, {"weight": 5}, {"weight": 50}, {"weight": 100, "checks": False}]
    more = {"steps": steps, "canary": None, "analysis": {"unit": "key"}, "checks": None}
    rollout = of(walking(**more))
    units = [route_of(replace(rollout, step=step)).units for step in range(4)]
    assert units == [None, Units(rollout.id, 0, 2), Units(rollout.id, 1, 2), None]
    assert route_of(in_phase(Phase.PROMOTED)).units is None
