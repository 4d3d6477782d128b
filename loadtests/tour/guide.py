"""Where the tour stands, and the three things it does: type a command, send traffic, read the metrics."""

import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from loadtests.processes import ROOT, Server, serin
from loadtests.tour import traffic
from loadtests.tour.scrape import Scrape
from loadtests.tour.screen import Screen
from loadtests.tour.traffic import Answer, HeldOut

MODEL = "digits"
COMMAND_SECONDS = 40.0


class CommandFailed(Exception):
    """A `serin` command ended with an error."""


@dataclass(slots=True)
class Tour:
    """Where the tour stands: the gateway, the rows, who was answered by whom last.

    `outdated`: answers from a table older than the one that a command had confirmed before they were sent.
    `refusal`: what the first request that was not answered with 200 was told.
    """

    server: Server
    screen: Screen
    rows: HeldOut
    keys: list[str]
    weights: dict[int, float] = field(default_factory=lambda: {1: 100})
    answers: list[Answer] = field(default_factory=list)
    grown: Scrape = field(default_factory=lambda: Scrape({}))
    revision: int = 0
    outdated: int = 0
    refusal: str = ""
    everything: Counter[int] = field(default_factory=Counter)

    def command(self, *words: str, code: int = 0) -> str:
        """Type a `serin` command, show what it printed, and return that. Raises CommandFailed for another exit code."""
        shown = "serin " + " ".join(f"'{word}'" if " " in word else word for word in words)
        command = serin(*words, "--admin-url", self.server.admin)
        with self.screen.waiting(shown):
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=COMMAND_SECONDS, cwd=ROOT, check=False
            )
        printed = done.stderr if code else done.stdout
        if done.returncode != code:
            raise CommandFailed(f"{shown}: exit code {done.returncode}: {(done.stderr or done.stdout).strip()}")
        self.screen.typed(shown, printed)
        return printed

    def route(self, weights: dict[int, float], reason: str) -> None:
        """Give the versions these weights, in percent."""
        words = [f"{version}={weight:g}" for version, weight in weights.items()]
        printed = self.command("route", "set", MODEL, *words, "--reason", reason)
        self.weights = weights
        self.revision = int(printed.split()[1].rstrip(","))  # "revision 7, applied by 2 of 2 workers"

    def send(self) -> None:
        """Every user sends a row; `answers` and `grown` are what came of it."""
        before = Scrape.of(self.server.http)
        with self.screen.waiting(f"{len(self.keys):,} requests"):
            self.answers = traffic.send(self.server, MODEL, self.rows, self.keys)
        self.grown = Scrape.of(self.server.http).since(before)
        self.note(self.answers)

    def note(self, answers: Sequence[Answer]) -> None:
        """Keep count of answers for the look back at the end."""
        self.everything += traffic.per_version(answers)
        self.outdated += sum(answer.status == 200 and answer.revision < self.revision for answer in answers)
        self.refusal = self.refusal or next((answer.refusal for answer in answers if answer.refusal), "")
