"""Real rows for the tour: held-out digits, and what came back."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtests import client
from loadtests.client import Reply
from loadtests.processes import Server
from loadtests.requests import Input, Target, build

CONNECTIONS = 32
SEND_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Rows that no version was trained on, and the digit that each of them is."""

    given: Input
    truth: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one caller was told. `version` 0: no answer, or one without the headers that say who gave it."""

    key: str
    status: int
    version: int
    revision: int
    label: int
    truth: int
    refusal: str = ""


def held_out(file: Path) -> HeldOut:
    """Read `heldout.json` of a model with one input and class labels."""
    told = json.loads(file.read_text())
    [(name, rows)] = told["inputs"].items()
    return HeldOut(Input(name, np.asarray(rows, np.float32)), tuple(told["truth"]["label"]))


def send(server: Server, model: str, rows: HeldOut, keys: Sequence[str]) -> list[Answer]:
    """The n-th caller sends the n-th row, and so on around; answers in the same order. Raises TimeoutError."""
    requests = build(Target(model), rows.given, keys=keys)
    host, port = server.address
    replies = client.run(client.exchange(host, port, requests, connections=CONNECTIONS, seconds=SEND_SECONDS))
    truths = (rows.truth[number % len(rows.truth)] for number in range(len(keys)))
    return [answer_of(key, reply, truth) for key, reply, truth in zip(keys, replies, truths, strict=True)]


def answer_of(key: str, reply: Reply, truth: int) -> Answer:
    """What a reply says; `truth`: the digit that it was."""
    if reply.status != 200:
        refusal = reply.body[:200].decode(errors="replace") or "no answer"
        return Answer(key, reply.status, 0, 0, -1, truth, refusal)
    outputs = {output["name"]: output["data"] for output in json.loads(reply.body)["outputs"]}
    version, revision = (int(reply.header(name) or 0) for name in ("Serin-Version", "Serin-Revision"))
    return Answer(key, 200, version, revision, int(outputs["label"][0]), truth)
