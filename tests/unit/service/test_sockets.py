"""Sockets: who accepts the connections of a dead worker, and how addresses are written."""

import pytest

from service.sockets import Cover, neighbour, url


@pytest.mark.parametrize(
    ("slot", "listening", "expected"),
    [(0, [0, 1, 2], 1), (1, [0, 1, 2], 2), (2, [0, 1, 2], 0), (2, [1], 1), (1, [1], None), (0, [], None)],
)
def test_the_next_worker_that_listens_takes_over(slot: int, listening: list[int], expected: int | None) -> None:
    assert neighbour(slot, listening) == expected


def test_a_dead_workers_socket_is_adopted_until_the_replacement_listens() -> None:
    cover = Cover()
    assert cover.lost(1, [0, 2]) == [(2, {"adopt": 1})]
    assert cover.listens(1, [0, 1, 2]) == [(2, {"release": 1})]
    assert cover.by_slot == {}


def test_when_the_adopter_dies_both_sockets_move_on() -> None:
    cover = Cover()
    cover.lost(1, [0, 2])
    assert cover.lost(2, [0]) == [(0, {"adopt": 1}), (0, {"adopt": 2})]


def test_what_nobody_could_adopt_goes_to_the_first_that_listens_again() -> None:
    cover = Cover()
    assert cover.lost(0, []) == []
    assert cover.lost(1, []) == []
    assert cover.listens(1, [1]) == [(1, {"adopt": 0})]
    assert cover.listens(0, [0, 1]) == [(1, {"release": 0})]


def test_the_first_start_of_a_worker_tells_nobody_anything() -> None:
    assert Cover().listens(0, [0]) == []


def test_an_ipv6_host_has_brackets_in_a_url() -> None:
    assert url(("::1", 8000)) == "http://[::1]:8000"
    assert url(("127.0.0.1", 8000)) == "http://127.0.0.1:8000"
