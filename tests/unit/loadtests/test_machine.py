"""Who gets which core."""

from collections.abc import Collection

import pytest

from loadtests.machine import Cores, facts, load_words, share_cores


@pytest.mark.parametrize(
    ("usable", "workers", "cores"),
    [
        ({0, 1}, 1, Cores(frozenset({0}), frozenset({1}))),
        ({4, 2, 7}, 2, Cores(frozenset({2, 4}), frozenset({7}))),
        ({0, 1}, 2, Cores(None, None)),
        ({5}, 1, Cores(None, None)),
    ],
)
def test_server_and_client_are_kept_apart_where_that_is_possible(
    usable: Collection[int], workers: int, cores: Cores
) -> None:
    assert share_cores(usable, workers) == cores


def test_a_busy_machine_is_said_to_be_busy() -> None:
    assert "measure again" in load_words(1.5, 2)
    assert "measure again" not in load_words(0.1, 2)


def test_the_facts_name_machine_python_and_libraries() -> None:
    assert {"processor", "python", "onnxruntime", "uvicorn"} <= facts().keys()
