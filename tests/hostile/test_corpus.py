"""Hostile requests over HTTP: each is refused in its place, in our words, and the next good request is served."""

import json
import re
from collections import Counter

import pytest

from tests.hostile import bodies, documents, framing, oddities, others, places
from tests.hostile.case import MARK, Case
from tests.hostile.conftest import GOOD, LIMIT_SECONDS, House, assert_good
from tests.hostile.wire import Answer, Conversation

CORPUS = [case for part in (framing, documents, bodies, others, places, oddities) for case in part.cases()]
LEAKS = re.compile(
    rb'Traceback|File "|site-packages|\.py\b|/home|/usr|/tmp|/etc|/proc|"detail"|[Ee]rrno|object at 0x|msgspec|pydantic'
)
FEW_BYTES = 2000


def of(cases: list[Case]) -> list[object]:
    return [pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.slow else []) for case in cases]


@pytest.mark.parametrize("case", of(CORPUS))
def test_a_hostile_request_is_refused_and_the_next_good_one_is_served(case: Case, house: House) -> None:
    content = case.make()  # before the clock of the connection runs
    with Conversation(house.port, LIMIT_SECONDS) as conversation:
        answer = conversation.ask(content, case.bodyless)
        assert answer.status in case.statuses, answer
        assert_is_ours(answer, case)
        assert answer.said_close or not case.closes, answer
        if answer.said_close:
            assert conversation.has_ended(), "the connection was to end, with nothing more said"
        else:
            assert_good(conversation.ask([GOOD]))
    house.assert_serves()


def assert_is_ours(answer: Answer, case: Case) -> None:
    """A refusal in the shape of all errors, that tells nothing of the server and repeats nothing of the request."""
    assert MARK.encode() not in answer.head
    if answer.status < 400:
        return
    assert b"\r\ncontent-type: application/json\r\n" in answer.head, answer
    assert not LEAKS.search(answer.body), answer
    assert MARK.encode() not in answer.body
    assert len(answer.body) < FEW_BYTES
    if not case.bodyless:
        told = json.loads(answer.body)
        assert isinstance(told["error"], str)
        assert told["error"]


def test_no_two_cases_have_one_name_and_there_are_enough_of_them() -> None:
    names = Counter(case.name for case in CORPUS)

    assert [name for name, count in names.items() if count > 1] == []
    assert len(names) > 330


def test_after_all_of_them_the_worker_is_the_same_and_its_memory_is_back(house: House) -> None:
    house.assert_serves()
    house.assert_unharmed()
    house.assert_memory_is_back()
