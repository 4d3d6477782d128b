import pytest

from router.phases import (
    AT_A_STEP,
    ENDED,
    OPEN,
    PEOPLE,
    TABLE,
    UNCONFIRMED,
    IllegalTransition,
    Move,
    Phase,
    after,
    words,
)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("move", Move)
def test_every_pair_is_either_in_the_table_or_illegal_with_what_is_possible(phase: Phase, move: Move) -> None:
    target = TABLE[phase].get(move)
    if target is not None:
        assert after(phase, move) is target
        return
    with pytest.raises(IllegalTransition) as refused:
        after(phase, move)
    text = refused.value.message
    assert text.startswith(f"cannot {move.replace('_', ' ')} while {phase}")
    assert all(str(word) in text for word in words(phase))


def test_every_phase_is_reached_from_the_first() -> None:
    reached, fresh = {Phase.PENDING}, [Phase.PENDING]
    while fresh:
        new = set(TABLE[fresh.pop()].values()) - reached
        reached |= new
        fresh += new
    assert reached == set(Phase)


@pytest.mark.parametrize("phase", sorted(OPEN - UNCONFIRMED))
def test_abort_is_possible_wherever_the_rollout_owns_the_route(phase: Phase) -> None:
    assert after(phase, Move.ABORT) is Phase.ABORTING
    assert after(phase, Move.TROUBLE) is Phase.ABORTING


@pytest.mark.parametrize("phase", sorted(AT_A_STEP | {Phase.PENDING, Phase.CHECKING}))
def test_every_wait_ends_by_a_deadline(phase: Phase) -> None:
    assert after(phase, Move.DEADLINE) is Phase.ABORTING


@pytest.mark.parametrize("phase", sorted(ENDED))
def test_what_has_ended_moves_only_by_a_retry(phase: Phase) -> None:
    assert set(TABLE[phase]) <= {Move.RETRY}


@pytest.mark.parametrize("move", [Move.PROMOTE, Move.FINISH])
def test_promotion_comes_only_from_a_step_or_the_gate(move: Move) -> None:
    sources = {phase for phase in Phase if move in TABLE[phase]}
    assert sources <= AT_A_STEP | {Phase.CHECKING}


def test_the_phases_are_parted_into_open_window_and_ended() -> None:
    assert OPEN | ENDED | {Phase.WINDOW} == set(Phase)
    assert not OPEN & ENDED


def test_people_have_nine_words() -> None:
    assert len(PEOPLE) == 9
    assert {move for phase in Phase for move in words(phase)} == set(PEOPLE)
