"""`make demo`: a tour with real traffic, under a minute. It ends with 0 only if all that it claims was so."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import httpx

from loadtests.processes import ROOT, NotStarted, complaints, end_with_the_run, gateway
from loadtests.tour.guide import MODEL, CommandFailed, Tour
from loadtests.tour.screen import Screen
from loadtests.tour.steps import STEPS
from loadtests.tour.traffic import held_out, users

MODELS = ROOT / "models"
WORKERS = 2
USERS = 4500
FAILED, INTERRUPTED = 1, 130


def main() -> int:
    """Take the tour; the exit code."""
    end_with_the_run()
    screen, started = Screen.standard(), monotonic()
    try:
        with TemporaryDirectory(prefix="serin-demo-") as folder:
            take(screen, Path(folder))
    except KeyboardInterrupt:
        screen.say("\nStopped; the gateway has been ended.")
        return INTERRUPTED
    except (NotStarted, CommandFailed, OSError, TimeoutError, subprocess.TimeoutExpired, httpx.HTTPError) as error:
        screen.console.print(f"\ndemo: {str(error) or type(error).__name__}", style="red", markup=False)
        return FAILED
    screen.console.print("\n[bold cyan]Seen in this run[/]")
    screen.summary()
    verdict = "All of it held" if screen.held else "Not all of it held"
    screen.console.print(f"\n{verdict}; {monotonic() - started:.0f} seconds. Your turn: make run\n")
    return 0 if screen.held else FAILED


def take(screen: Screen, folder: Path) -> None:
    """Start a gateway and walk through the steps. Raises what a step raises; the gateway is ended either way."""
    screen.console.print("[bold]Serin: versions of ONNX models, and traffic split among them[/]\n")
    with ExitStack() as open_servers:
        with screen.waiting("starting the gateway"):
            server = open_servers.enter_context(gateway(MODELS, folder / "state", workers=WORKERS))
        screen.say(f"A gateway with {WORKERS} workers runs at {server.http}, its state in a temporary directory.")
        tour = Tour(server, screen, held_out(MODELS / MODEL / "heldout.json"), users(USERS))
        for step in STEPS:
            step(tour)
        if not screen.held:
            for line in complaints(server.log):
                screen.console.print(f"the gateway logged: {line}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
