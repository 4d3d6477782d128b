"""The reference pages say what the code says."""

import pytest

from router.errors import Kind
from router.phases import PEOPLE, Move, Phase
from router.status import STATUS
from service.cli.explain import PHASES, WORDS
from tests.docs.generated import KINDS, PARTS, SCHEMA, rewritten, rollout_schema
from tests.docs.rollouts import MOVES


@pytest.mark.parametrize("name", PARTS)
def test_a_generated_part_is_up_to_date(name: str) -> None:
    found, wanted = rewritten(name)
    assert found == wanted, "run `make docs`"


def test_the_published_schema_of_a_rollout_is_the_one_in_use() -> None:
    assert SCHEMA.read_text() == rollout_schema(), "run `make docs`"


def test_every_kind_of_error_has_a_status_and_a_meaning() -> None:
    assert set(Kind) == set(STATUS) == set(KINDS)


def test_every_phase_and_every_move_of_a_rollout_is_explained() -> None:
    assert set(PHASES) == {str(phase) for phase in Phase}
    assert set(WORDS) == {str(move) for move in PEOPLE}
    assert set(MOVES) == set(Move) - set(PEOPLE)
