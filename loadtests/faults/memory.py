"""Memory over time at a quarter of the capacity, with new content in place each minute, and 1 to 512 rows a request."""

import json
from time import monotonic, sleep

import numpy as np

from loadtests.faults.apart import Apart
from loadtests.faults.callers import Callers
from loadtests.faults.counting import MODEL, answered, document
from loadtests.faults.judging import failed, liveness, measured_rate, why
from loadtests.faults.leftovers import leftovers
from loadtests.faults.outcome import Outcome, at_most, exactly, shown
from loadtests.faults.stand import Gateway, Stand, eventually, http, stand
from loadtests.observed import family, resident
from loadtests.requests import post

ROW = "C20"
SECONDS, LONG_SECONDS = 180.0, 4 * 3600.0
RELOAD_SECONDS, LONG_RELOAD_SECONDS = 15.0, 60.0
SAMPLE_SECONDS, MOST_ROWS, BODIES, SEED = 1.0, 512, 256, 13
MIB = 1 << 20
HOURLY_MIB, SHORT_GROWTH_MIB = 1.0, 24.0
"""Growth that is allowed to a process (RSS): an hour's after the first hour; in minutes what an allocator needs."""


def run(long: bool) -> Outcome:
    """3 minutes, or 4 hours. The slope is fitted to what lies behind the first third (the first hour)."""
    seconds, every = (LONG_SECONDS, LONG_RELOAD_SECONDS) if long else (SECONDS, RELOAD_SECONDS)
    settle = 3600.0 if long else seconds / 3
    bodies = asked()
    with stand(1) as at, at.gateway() as gateway:
        rate = measured_rate(gateway.address) / 2
        gateway.route(v1=100).raise_for_status()
        before, begun, version = leftovers(gateway.pid, at.state), monotonic(), 1
        samples: list[tuple[float, dict[int, float]]] = []
        with Apart(Callers(gateway.address, rate, lambda number: bodies[number % BODIES], keep=False)) as callers:
            while (now := monotonic() - begun) < seconds:
                samples.append((now, {pid: resident([pid]) / MIB for pid in family(gateway.pid)}))
                if now > every * version:
                    version += 1
                    reload(at, gateway, version)
                callers.wait(SAMPLE_SECONDS)
            callers.stop()
        sleep(1.0)
        after = leftovers(gateway.pid, at.state)
    late = [(at_, sizes) for at_, sizes in samples if at_ >= settle]
    tenth = max(1, len(late) // 10)
    first, last = ([sizes for _, sizes in part] for part in (late[:tenth], late[-tenth:]))
    growth = {pid: median(last, pid) - median(first, pid) for pid in first[0] if all(pid in sizes for _, sizes in late)}
    slopes = [slope([(at_, sizes[pid]) for at_, sizes in late]) for pid in growth]
    return Outcome(
        [
            shown("reloads", version - 1),
            shown("requests", callers.count),
            shown("processes", len(growth)),
            shown("largest process after the settling, MiB", max(median(first, pid) for pid in growth)),
            at_most("growth of the one that grows most, MiB/h", max(slopes), HOURLY_MIB)
            if long
            else at_most("growth of the one that grows most, MiB", max(growth.values()), SHORT_GROWTH_MIB),
            exactly("requests failed", len(failed(callers.sent))),
            liveness(callers.looks),
            at_most("open files more than before", after.files - before.files, 5),
        ],
        [f"failed: {why(callers.sent)}"],
    )


def median(samples: list[dict[int, float]], pid: int) -> float:
    """What the process took in the middle one of these."""
    return float(np.median([sizes[pid] for sizes in samples if pid in sizes]))


def slope(points: list[tuple[float, float]]) -> float:
    """Of a line through (seconds, MiB), for an hour."""
    return float(np.polyfit([at for at, _ in points], [size for _, size in points], 1)[0]) * 3600


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
