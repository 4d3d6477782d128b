"""Two gateways on one state directory, and two writers who want the opposite of each other."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from time import monotonic
from typing import Any

import httpx

from loadtests.faults.callers import Callers
from loadtests.faults.counting import MODEL
from loadtests.faults.judging import failed, liveness, wrong
from loadtests.faults.outcome import Outcome, exactly, shown, soon
from loadtests.faults.stand import Gateway, Stand, http, stand
from loadtests.processes import serin

ROW = "C14"
ROUNDS, LONG_ROUNDS = 50, 1000
STARTS, START_SECONDS, RATE = 2, 30.0, 100.0


def run(long: bool) -> Outcome:
    """50 rounds, or 1,000: both read the route, both write, with the version of what they read."""
    rounds = LONG_ROUNDS if long else ROUNDS
    with stand(1, 2) as at, at.gateway() as gateway, Callers(gateway.address, RATE) as callers:
        begun = monotonic()
        seconds = [second(at) for _ in range(STARTS)]
        first = _route(gateway)["revision"]
        with ThreadPoolExecutor(2) as writers:
            winners = [contest(gateway, writers, number) for number in range(rounds)]
        last, took = _route(gateway), monotonic() - begun
        callers.stop()
    revisions = [first, *(revision for _, revision, _ in winners)]
    kept = sum(after == percent for _, _, (percent, after) in winners)
    return Outcome(
        [
            shown("rounds", rounds),
            exactly("second gateways that were not refused with exit code 2", sum(code != 2 for code in seconds)),
            exactly("rounds in which not just one writer won", sum(won != 1 for won, _, _ in winners)),
            exactly("rounds whose winner is not what the gateway then says", rounds - kept),
            exactly("revisions lost or doubled", sum(old + 1 != new for old, new in pairwise(revisions))),
            exactly("the last revision is another than the last winner's", abs(last["revision"] - revisions[-1])),
            exactly("requests failed", len(failed(callers.sent))),
            exactly("wrong answers", len(wrong(callers.sent))),
            liveness(callers.looks),
            soon("seconds for a round", took / rounds, 2.0),
        ]
    )


def second(at: Stand) -> int:
    """Try to start another gateway on the same state: its exit code."""
    ports = [f"--{name}-port=0" for name in ("http", "admin", "grpc")]
    command = serin("serve", "--models", str(at.models), "--state", str(at.state), *ports)
    done = subprocess.run(command, capture_output=True, timeout=START_SECONDS, check=False)
    return done.returncode


def contest(gateway: Gateway, writers: ThreadPoolExecutor, number: int) -> tuple[int, int, tuple[float, float]]:
    """One round: how many won, the revision of the winner, and its weight with the one that is read afterwards."""
    url = f"{gateway.server.admin}/api/v1/routes/{MODEL}"
    tag = http().get(url).headers["ETag"]
    wishes = [10.0 + number % 7, 90.0 - number % 7]

    def write(percent: float) -> httpx.Response:
        variants = [{"version": 1, "weight": 100 - percent}, {"version": 2, "weight": percent}]
        body = {"variants": variants}
        return http().put(url, json=body, headers={"If-Match": tag})

    answers = dict(zip(wishes, writers.map(write, wishes), strict=True))
    won = {percent: answer for percent, answer in answers.items() if answer.status_code == 200}
    if len(won) != 1 or any(answer.status_code not in (200, 409, 412) for answer in answers.values()):
        return len(won) if len(won) != 1 else -1, 0, (0.0, -1.0)
    [(percent, answer)] = won.items()
    after = next(float(one["weight"]) for one in _route(gateway)["variants"] if one["version"] == 2)
    return 1, int(answer.json()["revision"]), (percent, after)


def _route(gateway: Gateway) -> dict[str, Any]:
    return dict(gateway.ask(f"/api/v1/routes/{MODEL}"))
