"""`make demo`: two rollouts with real traffic and labels, under two minutes. Exit code 0 only if all of it was so."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import httpx

from loadtests.processes import ROOT, NotStarted, complaints, end_with_the_run, gateway
from loadtests.tour.crowd import Crowd
from loadtests.tour.guide import MODEL, CommandFailed, Tour
from loadtests.tour.screen import Screen
from loadtests.tour.steps import STEPS
from loadtests.tour.traffic import held_out
from router.client import AdminClient
from router.errors import SerinError

MODELS = ROOT / "models"
WORKERS = 2
FAILED, INTERRUPTED = 1, 130


def main() -> int:
    """Take the tour; the exit code."""
    end_with_the_run()
    screen, started = Screen.standard(), monotonic()
    try:
        with TemporaryDirectory(prefix="serin-demo-") as folder:
            story = take(screen, Path(folder))
    except KeyboardInterrupt:
        screen.say("\nStopped; the gateway has been ended.")
        return INTERRUPTED
    except (NotStarted, CommandFailed, SerinError, OSError, TimeoutError, subprocess.TimeoutExpired,
            httpx.HTTPError) as error:  # fmt: skip
        screen.console.print(f"\ndemo: {str(error) or type(error).__name__}", style="red", markup=False)
        return FAILED
    screen.console.print("\n[bold cyan]In short[/]")
    screen.table(["", "<ended", "after", "requests on it until then", "right, by the labels"], story)
    screen.console.print()
    screen.summary()
    verdict = "All of it held" if screen.held else "Not all of it held"
    screen.console.print(f"\n{verdict}; {monotonic() - started:.0f} seconds. Your turn: make run\n")
    return 0 if screen.held else FAILED


def take(screen: Screen, folder: Path) -> list[tuple[str, ...]]:
    """Start a gateway and walk through the steps; what each rollout came to. Raises what a step raises; callers and
    gateway are ended either way."""
    screen.console.print("[bold]Serin: new versions of a model, promoted or taken back by evidence[/]\n")
    with ExitStack() as opened:
        with screen.waiting("starting the gateway"):
            server = opened.enter_context(gateway(MODELS, folder / "state", workers=WORKERS))
        screen.say(f"A gateway with {WORKERS} workers runs at {server.http}, its state in a temporary directory.")
        rows = held_out(MODELS / MODEL / "heldout.json")
        crowd = Crowd(server, MODEL, rows)
        opened.callback(crowd.stop)
        admin = AdminClient.at(server.admin, "demo")
        opened.callback(admin.close)
        tour = Tour(server, screen, rows, crowd, folder, admin)
        for step in STEPS:
            step(tour)
        if not screen.held:
            for line in complaints(server.log):
                screen.console.print(f"the gateway logged: {line}", markup=False)
        return tour.story


if __name__ == "__main__":
    sys.exit(main())
