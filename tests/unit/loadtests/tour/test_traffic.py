"""What came back to the callers of the demo."""

import json
from pathlib import Path

import numpy as np

from loadtests.client import Reply
from loadtests.processes import ROOT
from loadtests.tour.crowd import Tally
from loadtests.tour.traffic import Answer, answer_of, held_out

BODY = json.dumps({"outputs": [{"name": "label", "data": ["3"]}]}).encode()


def test_an_answer_says_who_gave_it_and_what_it_is() -> None:
    found = answer_of(
        "me", Reply(200, b"HTTP/1.1 200 OK\r\nServin: 1\r\nSerin-Version: 2\r\nserin-revision: 7", BODY), 4
    )
    assert found == Answer("me", 200, 2, 7, label=3, truth=4)


def test_a_refusal_keeps_its_words() -> None:
    assert answer_of("me", Reply(503, b"HTTP/1.1 503 No", b"draining"), 4).refusal == "draining"
    assert answer_of("me", Reply(0, b"", b""), 4).refusal == "no answer"


def test_accuracy_is_of_one_version_only() -> None:
    tally = Tally()
    tally.answers.update({1: 4, 2: 2})
    tally.right.update({1: 3})
    assert [tally.accuracy(version) for version in (1, 2, 3)] == [0.75, 0.0, 0.0]


def test_held_out_rows_and_truths_belong_together(tmp_path: Path) -> None:
    file = tmp_path / "heldout.json"
    file.write_text(json.dumps({"inputs": {"pixels": [[1, 2], [3, 4]]}, "truth": {"label": [7, 8]}}))
    found = held_out(file)
    assert (found.given.name, found.truth) == ("pixels", (7, 8))
    assert np.array_equal(found.given.rows, np.array([[1, 2], [3, 4]], np.float32))


def test_the_sample_digits_have_a_truth_for_every_row() -> None:
    found = held_out(ROOT / "models" / "digits" / "heldout.json")
    assert len(found.truth) == len(found.given.rows)
