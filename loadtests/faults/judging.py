"""Figures that every experiment has: what was lost, what was wrong, what the probes and the counters said."""

from collections import Counter
from collections.abc import Iterable, Sequence

from loadtests.faults.callers import Look, Sent
from loadtests.faults.counting import request
from loadtests.faults.outcome import Figure, exactly, shown
from loadtests.load import Own, Round
from loadtests.measured import percentile
from loadtests.tour.scrape import Scrape

CAPACITY_SECONDS, CAPACITY_CONNECTIONS = 2.0, 16
SHARE, LEAST_RATE, MOST_RATE = 0.5, 50.0, 800.0
"""Half of the capacity, and no more than our callers can send from a thread beside the gateway."""


def measured_rate(address: tuple[str, int]) -> float:
    """Half of what a closed loop gets answered, in requests a second. Raises LoadFailed."""
    requests = [request(number, key=f"warm-{number}") for number in range(64)]
    measured = Own()(address, Round(requests, CAPACITY_CONNECTIONS, CAPACITY_SECONDS))
    return min(MOST_RATE, max(LEAST_RATE, SHARE * measured.per_second))


def lost(sent: Iterable[Sent]) -> list[Sent]:
    """No answer, or a 5xx that is not shedding."""
    return [one for one in sent if one.status == 0 or (one.status >= 500 and one.status != 503)]


def failed(sent: Iterable[Sent]) -> list[Sent]:
    """Everything that is not 200."""
    return [one for one in sent if one.status != 200]


def wrong(sent: Iterable[Sent]) -> list[Sent]:
    """Answered with 200 and a value that is not that of this request and of the version that is named."""
    return [one for one in sent if one.status == 200 and not one.right]


def p99_ms(sent: Iterable[Sent], since: float = 0.0, until: float = float("inf")) -> float:
    """Of the answered ones that were due in this time, from the moment they were due."""
    times = sorted(one.late for one in sent if one.status == 200 and since <= one.due < until)
    return percentile(times, 0.99) * 1000


def why(sent: Iterable[Sent]) -> str:
    """What became of those that failed."""
    found = Counter(one.error or f"status {one.status}" for one in failed(sent))
    return ", ".join(f"{name}: {times}" for name, times in found.most_common()) or "none"


def liveness(looks: Sequence[Look]) -> Figure:
    """Looks at /v2/health/live that did not get 200."""
    return exactly("live said no", sum(look.status != 200 for look in looks if look.what == "live"))


def readiness(looks: Sequence[Look]) -> Figure:
    """Looks at /v2/health/ready that did not get 200, where nothing documented makes it so."""
    return exactly("ready said no", sum(look.status != 200 for look in looks if look.what == "ready"))


def truth(sent: Sequence[Sent], counted: Scrape, model: str) -> list[Figure]:
    """The counters by version against what the callers counted, answered ones only."""
    by_version = Counter(one.version for one in sent if one.status == 200)
    told = counted.by("version", "serin_requests_total", model=model, outcome="ok")
    versions = {*by_version, *(int(version) for version in told)}
    off = sum(abs(by_version[version] - told.get(str(version), 0.0)) for version in versions)
    return [shown("requests answered", sum(by_version.values())), exactly("counted otherwise by /metrics", off)]
