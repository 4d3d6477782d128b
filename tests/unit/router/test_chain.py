"""The chain of the history: what was recorded fits, what was touched does not; a kept head tells what was cut off."""

import hashlib
from typing import Any

import pytest

from router.chain import GENESIS, ChainBroken, canonical, link, walk
from router.errors import InvalidArgument

Document = dict[str, Any]


def history(count: int = 5) -> list[Document]:
    head, events = GENESIS, []
    for number in range(1, count + 1):
        event = {
            "id": number,
            "at": f"2025-01-31T12:00:0{number}.000Z",
            "revision": number,
            "actor": "ann",
            "kind": "route.set",
            "model": "digits",
            "reason": "",
            "rollout": None,
            "before": {"1": 90 + number},
            "after": [number, 0.5, "\u00e9"],
        }
        head = link(head, event)
        events.append({**event, "hash": head})
    return events


def test_a_link_can_be_computed_by_anybody() -> None:
    event = {
        "id": 1,
        "kind": "a",
        "model": None,
        "reason": "",
        "before": "",
        "after": {"z": 1, "a": "\u00e9"},
        "hash": "?",
    }
    text = b'{"after":{"a":"\\u00e9","z":1},"before":"","id":1,"kind":"a"}'
    assert canonical(event) == text
    assert link(GENESIS, event) == hashlib.sha256(b"0" * 64 + b"\n" + text).hexdigest()


def test_a_whole_chain_has_its_last_hash_as_head() -> None:
    events = history()
    found = walk(events)
    assert (found.events, found.head, found.kept_at) == (5, events[-1]["hash"], None)
    assert walk([]).head == GENESIS


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("field", list(history(1)[0]))
def test_every_changed_field_is_found_where_it_stands(number: int, field: str) -> None:
    events = history()
    value = events[number][field]
    events[number][field] = value + 1 if isinstance(value, int) else "x"
    with pytest.raises(ChainBroken, match=f"^event {number + 1} "):
        walk(events)


@pytest.mark.parametrize("number", range(4))
def test_a_row_that_is_gone_or_new_or_moved_is_found(number: int) -> None:
    for spoil in (_without, _twice, _swapped, _renumbered):
        with pytest.raises(ChainBroken, match=f"^event {number + 1} |^event {number + 2} "):
            walk(spoil(history(), number))


def _without(events: list[Document], number: int) -> list[Document]:
    return [event for index, event in enumerate(events) if index != number]


def _twice(events: list[Document], number: int) -> list[Document]:
    return [*events[: number + 1], *events[number:]]


def _swapped(events: list[Document], number: int) -> list[Document]:
    events[number], events[number + 1] = events[number + 1], events[number]
    return events


def _renumbered(events: list[Document], number: int) -> list[Document]:
    """A row is taken out and those after it move up, with their hashes."""
    return [{**event, "id": index} for index, event in enumerate(_without(events, number), 1)]


def test_a_cut_at_the_end_is_found_by_a_kept_head_only() -> None:
    events = history()
    assert walk(events[:3]).events == 3
    with pytest.raises(ChainBroken, match="cut off at the end, or the history was written anew"):
        walk(events[:3], events[4]["hash"])
    assert walk(events, events[2]["hash"]).kept_at == 3
    assert walk(events, events[2]["hash"][:12].upper()).kept_at == 3


@pytest.mark.parametrize("kept", ["abc", "x" * 64, "0" * 65])
def test_what_is_no_head_is_wrong_usage(kept: str) -> None:
    with pytest.raises(InvalidArgument, match="hexadecimal digits"):
        walk(history(), kept)
