"""Callers of the demo: they send held-out digits all the time, see what came back, and later say what was right."""

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from loadtests import client
from loadtests.client import Reply
from loadtests.processes import Server
from loadtests.requests import Target, build
from loadtests.tour.traffic import Answer, HeldOut, answer_of

ROUND, ROUND_SECONDS = 120, 0.4
"""So many digits at a time, and a round at most so often: 300 a second where the machine is quick enough."""
CONNECTIONS = 16
ANSWER_SECONDS = 30.0
STOP_SECONDS = 60.0
MOST_WAITING = 50_000
"""Answers whose labels nobody has sent yet; the oldest are forgotten behind that."""
AT_A_TIME = 1000


@dataclass(slots=True)
class Tally:
    """What the callers saw. right: by version; failed: answers that were not 200; versions: of the last round."""

    answers: Counter[int] = field(default_factory=Counter)
    right: Counter[int] = field(default_factory=Counter)
    failed: int = 0
    refusal: str = ""
    labels: int = 0
    labels_refused: str = ""
    versions: tuple[int, ...] = ()
    rounds: int = 0

    def accuracy(self, version: int) -> float:
        """The share of its answers that were right; 0 without any."""
        return self.right[version] / self.answers[version] if self.answers[version] else 0.0


class Crowd:
    """A thread of its own between `start` and `stop`. `labels`: whether what is known is sent back; while it is not,
    it is kept for later."""

    def __init__(self, server: Server, model: str, rows: HeldOut) -> None:
        self.tally = Tally()
        self.labels = True
        self.last_token = ""
        self._server, self._model, self._rows = server, model, rows
        self._requests = build(Target(model), rows.given, keys=[None] * len(rows.truth))
        self._known: deque[tuple[str, int]] = deque(maxlen=MOST_WAITING)
        self._ended = threading.Event()
        self._trouble: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="crowd", daemon=True)

    def start(self) -> None:
        """Callers come."""
        self._thread.start()

    def stop(self) -> None:
        """They go, once their last labels are sent; a second time it does nothing."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def check(self) -> None:
        """Raises what ended the callers, if anything did."""
        if self._trouble is not None:
            raise self._trouble

    def whole_round(self, seconds: float = ANSWER_SECONDS) -> tuple[int, ...]:
        """Wait for a round that begins from now on; the versions that answered it. Raises TimeoutError."""
        wanted, until = self.tally.rounds + 2, time.monotonic() + seconds
        while self.tally.rounds < wanted:
            self.check()
            if time.monotonic() > until:
                raise TimeoutError("the callers get no answers any more")
            time.sleep(0.05)
        return self.tally.versions

    def _run(self) -> None:
        number = 0
        try:
            with httpx.Client(base_url=self._server.http, timeout=ANSWER_SECONDS, trust_env=False) as http:
                while not self._ended.is_set():
                    began = time.monotonic()
                    self._send([(number + place) % len(self._rows.truth) for place in range(ROUND)])
                    number += ROUND
                    if self.labels:
                        self._tell(http)
                    self._ended.wait(max(0.0, ROUND_SECONDS - (time.monotonic() - began)))
                self._tell(http)
        except (OSError, TimeoutError, httpx.HTTPError) as error:
            self._trouble = error

    def _send(self, places: Sequence[int]) -> None:
        host, port = self._server.address
        requests = [self._requests[place] for place in places]
        sent = client.exchange(host, port, requests, connections=CONNECTIONS, seconds=ANSWER_SECONDS)
        tally = self.tally
        answers = [self._note(reply, place) for reply, place in zip(client.run(sent), places, strict=True)]
        tally.versions = tuple(sorted({answer.version for answer in answers}))
        tally.rounds += 1

    def _note(self, reply: Reply, place: int) -> Answer:
        truth, tally = self._rows.truth[place], self.tally
        answer = answer_of("", reply, truth)
        tally.answers[answer.version] += 1
        tally.right[answer.version] += answer.label == truth
        if answer.status != 200:
            tally.failed += 1
            tally.refusal = tally.refusal or answer.refusal
        token = reply.header("Serin-Assignment")
        if token:
            self._known.append((token, truth))
        return answer

    def _tell(self, http: httpx.Client) -> None:
        """Send back what is known, in pieces that the gateway takes."""
        while self._known:
            piece = [self._known.popleft() for _ in range(min(AT_A_TIME, len(self._known)))]
            items = [{"assignment": token, "label": str(truth)} for token, truth in piece]
            answer = http.post(f"/v2/models/{self._model}/feedback", json={"feedback": items})
            answer.raise_for_status()
            told = answer.json()
            self.tally.labels += told["counted"]
            self.last_token = piece[-1][0]
            errors = told.get("errors") or [{}]
            self.tally.labels_refused = self.tally.labels_refused or errors[0].get("error", "")
