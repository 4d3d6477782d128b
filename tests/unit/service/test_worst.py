"""Which pairs are kept, and how much of them."""

import numpy as np

from router.mirrors import OutputDifference
from service.worst import SHOWN_ELEMENTS, WorstPairs, shown_pair


def kept(pairs: WorstPairs) -> list[str]:
    return [document["name"] for document in pairs.documents()]


def test_what_differs_goes_before_what_is_only_far_apart():
    pairs = WorstPairs(3)
    for name, differs, distance in (("a", False, 9.0), ("b", True, 0.1), ("c", True, 0.5), ("d", False, 1.0)):
        pairs.offer(differs, distance, lambda name=name: {"name": name})

    assert kept(pairs) == ["c", "b", "a"]


def test_of_equals_the_first_are_kept_and_the_rest_is_not_described():
    pairs = WorstPairs(2)
    taken = [pairs.offer(True, 1.0, lambda number=number: {"name": number}) for number in range(5)]

    assert taken == [True, True, False, False, False]
    assert kept(pairs) == [0, 1]


def test_equal_answers_and_a_limit_of_none_keep_nothing():
    assert not WorstPairs(2).offer(False, 0.0, dict)
    assert not WorstPairs(0).offer(True, 1.0, dict)


def test_kept_pairs_can_be_taken_up_again():
    pairs = WorstPairs(2)
    pairs.offer(True, float("inf"), lambda: {"name": "a"})
    again = WorstPairs.of(2, pairs.documents())
    again.offer(True, 1.0, lambda: {"name": "b"})

    assert kept(again) == ["a", "b"]
    assert again.documents()[0]["distance"] == "inf"


def test_a_pair_without_values_says_how_far_apart_and_shows_no_number():
    stable, found = {"y": np.arange(3.0)}, {"y": OutputDifference(3, 1, 2.5)}
    pair = shown_pair(stable, stable, found, None, values=False)

    shown = {"shape": [3]}
    assert pair["outputs"]["y"] == {
        "distance": 2.5,
        "rows": 3,
        "rows_different": 1,
        "stable": shown,
        "candidate": shown,
    }


def test_a_pair_shows_the_start_of_both_answers_and_inputs_only_when_given():
    stable = {"y": np.arange(100.0).reshape(1, 100), "z": np.array([1])}
    candidate = {"y": np.full((1, 100), np.nan)}
    found = {"y": OutputDifference(1, 1, 3.0)}
    pair = shown_pair(stable, candidate, found, None)

    assert set(pair) == {"outputs"}
    assert pair["outputs"]["y"]["stable"]["shape"] == [1, 100]
    assert len(pair["outputs"]["y"]["stable"]["data"]) == SHOWN_ELEMENTS
    assert pair["outputs"]["y"]["candidate"]["data"][0] == "nan"
    assert shown_pair(stable, candidate, found, {"x": np.array([b"\xff", "text"], object)})["inputs"]["x"]["data"] == [
        "\N{REPLACEMENT CHARACTER}",
        "text",
    ]
