"""Memory over time at a quarter of the capacity, with new content in place each minute, and 1 to 512 rows a request."""

import json
from time import monotonic, sleep

import numpy as np

from loadtests.faults.callers import Callers
from loadtests.faults.counting import MODEL, answered, document
from loadtests.faults.judging import failed, liveness, measured_rate, why
from loadtests.faults.leftovers import leftovers
from loadtests.faults.outcome import Outcome, at_most, exactly, shown
from loadtests.faults.stand import Gateway, Stand, eventually, http, stand
from loadtests.observed import family, memory
from loadtests.requests import post

ROW = "C20"
SECONDS, LONG_SECONDS = 180.0, 4 * 3600.0
RELOAD_SECONDS, LONG_RELOAD_SECONDS = 15.0, 60.0
SAMPLE_SECONDS, MOST_ROWS, BODIES, SEED = 1.0, 512, 256, 13
MIB = 1 << 20
HOURLY_MIB, SHORT_GROWTH_MIB = 1.0, 24.0
"""Growth that is allowed: an hour's after the first hour; in minutes only what an allocator needs to settle."""


def run(long: bool) -> Outcome:
    """3 minutes, or 4 hours. The slope is fitted to what lies behind the first third (the first hour)."""
    seconds, every = (LONG_SECONDS, LONG_RELOAD_SECONDS) if long else (SECONDS, RELOAD_SECONDS)
    settle = 3600.0 if long else seconds / 3
    bodies = asked()
    with stand(1) as at, at.gateway() as gateway:
        rate = measured_rate(gateway.address) / 2
        gateway.route(v1=100).raise_for_status()
        before, begun, version = leftovers(gateway.pid, at.state), monotonic(), 1
        samples: list[tuple[float, float]] = []
        with Callers(gateway.address, rate, lambda number: bodies[number % BODIES], keep=False) as callers:
            while (now := monotonic() - begun) < seconds:
                samples.append((now, memory(family(gateway.pid)).proportional / MIB))
                if now > every * version:
                    version += 1
                    reload(at, gateway, version)
                callers.wait(SAMPLE_SECONDS)
            callers.stop()
        sleep(1.0)
        after = leftovers(gateway.pid, at.state)
    late = [(at_, size) for at_, size in samples if at_ >= settle]
    slope = float(np.polyfit([at_ for at_, _ in late], [size for _, size in late], 1)[0]) * 3600
    tenth = max(1, len(late) // 10)
    first, last = (float(np.median([size for _, size in part])) for part in (late[:tenth], late[-tenth:]))
    return Outcome(
        [
            shown("reloads", version - 1),
            shown("requests", callers.count),
            shown("memory of all processes (PSS) after the settling, MiB", first),
            shown("at the end, MiB", last),
            at_most("growth, MiB/h", slope, HOURLY_MIB)
            if long
            else at_most("growth, MiB", last - first, SHORT_GROWTH_MIB),
            exactly("requests failed", len(failed(callers.sent))),
            liveness(callers.looks),
            at_most("open files more than before", after.files - before.files, 5),
        ],
        [f"failed: {why(callers.sent)}"],
    )


def reload(at: Stand, gateway: Gateway, content: int) -> None:
    """Put other content in the place of version 1, by rename, and wait until it answers."""
    file = at.models / MODEL / "1" / "model.onnx"
    coming = file.with_name("coming")
    coming.write_bytes(document(content))
    coming.rename(file)
    body = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "INT64", "data": [7]}]}
    url = f"{gateway.server.http}/v2/models/{MODEL}/infer"
    eventually(lambda: answered(http().post(url, json=body).content)[0] == content or None, 60.0, 0.1)


def asked() -> list[bytes]:
    """Requests of 1 to 512 rows."""
    draw, found = np.random.default_rng(SEED), []
    for rows in draw.integers(1, MOST_ROWS, BODIES, endpoint=True).tolist():
        tensor = {"name": "x", "shape": [rows, 1], "datatype": "INT64", "data": draw.integers(0, 10**9, rows).tolist()}
        body = json.dumps({"inputs": [tensor]}).encode()
        found.append(post(f"/v2/models/{MODEL}/infer", body, {"Content-Type": "application/json"}))
    return found
