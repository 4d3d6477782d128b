"""What came back to the users of the demo."""

import json
from pathlib import Path

import numpy as np

from loadtests.processes import ROOT
from loadtests.tour.traffic import Answer, accuracy, held_out, per_version, placed, users
from loadtests.tour.views import favourite_mistake

ANSWERS = [
    Answer("a", 200, 1, 5, label=3, truth=3),
    Answer("b", 200, 1, 5, label=4, truth=3),
    Answer("c", 200, 2, 5, label=3, truth=3),
    Answer("d", 503, 0, 0, label=-1, truth=3),
]


def test_accuracy_is_of_one_version_only() -> None:
    assert accuracy(ANSWERS, 1) == 0.5
    assert accuracy(ANSWERS, 2) == 1.0
    assert accuracy(ANSWERS, 3) == 0.0


def test_users_are_counted_and_found_by_the_version_that_answered() -> None:
    assert per_version(ANSWERS) == {1: 2, 2: 1, 0: 1}
    assert placed(ANSWERS, 1) == {"a", "b"}


def test_the_most_frequent_mistake_is_told() -> None:
    assert favourite_mistake(ANSWERS, 1) == "1 times it read 3 as 4"
    assert favourite_mistake(ANSWERS, 2) == "no mistake"


def test_users_have_keys_that_differ() -> None:
    assert len(set(users(5000))) == 5000


def test_held_out_rows_and_truths_belong_together(tmp_path: Path) -> None:
    file = tmp_path / "heldout.json"
    file.write_text(json.dumps({"inputs": {"pixels": [[1, 2], [3, 4]]}, "truth": {"label": [7, 8]}}))
    found = held_out(file)
    assert (found.given.name, found.truth) == ("pixels", (7, 8))
    assert np.array_equal(found.given.rows, np.array([[1, 2], [3, 4]], np.float32))


def test_the_sample_digits_have_a_truth_for_every_row() -> None:
    found = held_out(ROOT / "models" / "digits" / "heldout.json")
    assert len(found.truth) == len(found.given.rows)
