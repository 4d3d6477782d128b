"""Where the tour stands, and the things it does: type a command, look at the rollout, read the metrics."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtests.processes import ROOT, Server, serin
from loadtests.tour.crowd import Crowd
from loadtests.tour.screen import Screen
from loadtests.tour.traffic import HeldOut
from router.client import AdminClient

MODEL = "digits"
COMMAND_SECONDS = 60.0


class CommandFailed(Exception):
    """A `serin` command ended with an error."""


@dataclass(slots=True)
class Tour:
    """The gateway, the rows, the callers, a directory for documents, and what the steps tell each other.

    `story`: what each rollout came to, for the end.
    """

    server: Server
    screen: Screen
    rows: HeldOut
    crowd: Crowd
    folder: Path
    admin: AdminClient
    story: list[tuple[str, ...]] = field(default_factory=list)

    def command(self, *words: str, shown: str = "", lines: int | None = None) -> str:
        """Type a `serin` command, show (the first `lines` of) what it printed, and return that.

        Raises CommandFailed.
        """
        text = shown or "serin " + " ".join(f"'{word}'" if " " in word else word for word in words)
        where = ("--url", self.server.http) if words[0] == "feedback" else ("--admin-url", self.server.admin)
        command = serin(*words, *where)
        with self.screen.waiting(text):
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=COMMAND_SECONDS, cwd=ROOT, check=False
            )
        if done.returncode:
            raise CommandFailed(f"{text}: exit code {done.returncode}: {(done.stderr or done.stdout).strip()}")
        self.screen.typed(text, "\n".join(done.stdout.splitlines()[:lines]))
        return done.stdout

    def rollout(self) -> dict[str, Any]:
        """Where the model's rollout is. Raises SerinError."""
        self.crowd.check()
        return dict(self.admin.rollout(MODEL))
