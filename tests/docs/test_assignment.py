"""docs/assignment.md says what router/split.py does, and its recipe needs nothing of Serin."""

import re
from collections.abc import Callable

import pytest

from router.split import choose
from tests.docs.markdown import ROOT
from tests.docs.vectors import KEYS, SALTS, SPLITS, route

Winner = Callable[[str, bytes, dict[str, int]], str]


@pytest.fixture(scope="module")
def winner() -> Winner:
    """The function of the page's Python block."""
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/assignment.md").read_text(), re.DOTALL)
    names: dict[str, Winner] = {}
    exec(block, names)
    return names["winner"]


def test_the_vectors_show_a_canary_that_gets_some_keys() -> None:
    assert {choose(route("digits", SPLITS[0]), key, 0.0).name for key in KEYS} == {"1", "2"}


@pytest.mark.parametrize("salt", SALTS)
@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_the_recipe_agrees_with_the_router(winner: Winner, salt: str, split: dict[str, int]) -> None:
    keys = [*KEYS, *(b"caller %d" % number for number in range(2000))]
    assert [winner(salt, key, split) for key in keys] == [choose(route(salt, split), key, 0.0).name for key in keys]
