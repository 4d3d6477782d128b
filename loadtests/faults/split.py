"""The split against its weights: keyed, keyless and by worker; and who moves when a weight changes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import erfc, exp, sqrt

from loadtests import client
from loadtests.client import Reply
from loadtests.faults.counting import answered, request
from loadtests.faults.outcome import Figure, Outcome, at_least, at_most, exactly, shown
from loadtests.faults.stand import Gateway, stand

ROW = "C16"
REQUESTS, LONG_REQUESTS = 20_000, 100_000
CONNECTIONS, SECONDS, WORKERS = 32, 300.0, 2
SPLITS: tuple[Mapping[str, float], ...] = (
    {"v1": 90, "v2": 10},
    {"v1": 99, "v2": 1},
    {"v1": 33, "v2": 33, "v3": 34},
    {"v1": 99.9, "v2": 0.1},
)
LEAST_P = 0.001


def run(long: bool) -> Outcome:
    """20,000 requests for each split, or 100,000."""
    count, figures = LONG_REQUESTS if long else REQUESTS, []
    with stand(1, 2, 3) as at, at.gateway(workers=WORKERS) as gateway:
        for weights in SPLITS:
            gateway.route(**weights).raise_for_status()
            name = "/".join(f"{weight:g}" for weight in weights.values())
            for kind, keyed in (("keyed", True), ("keyless", False)):
                figures += judged(f"{name} {kind}", asked(gateway, count // 2, keyed=keyed), weights)
        figures += moves(gateway, count // 10)
    return Outcome([shown("workers", WORKERS), *figures])


def asked(gateway: Gateway, count: int, *, keyed: bool) -> list[int]:
    """The version that answered each of so many requests; 0 for none. Raises TimeoutError."""
    requests = [request(number, key=f"caller-{number}" if keyed else None) for number in range(count)]
    replies = client.run(client.exchange(*gateway.address, requests, connections=CONNECTIONS, seconds=SECONDS))
    return [version_of(reply, number) for number, reply in enumerate(replies)]


def version_of(reply: Reply, number: int) -> int:
    """Who answered, when header and value agree; else 0."""
    if reply.status != 200:
        return 0
    version, echo = answered(reply.body)
    return version if echo == number and reply.header("serin-version") == str(version) else 0


def judged(name: str, versions: Sequence[int], weights: Mapping[str, float]) -> list[Figure]:
    """One split: everybody was answered, and the shares are those of chance."""
    seen = Counter(versions)
    shares = {int(version[1:]): weight / 100 for version, weight in weights.items()}
    return [
        exactly(f"{name}: not answered right", seen[0]),
        at_least(f"{name}: p of chi-square", chance(seen, shares, len(versions)), LEAST_P),
    ]


def chance(seen: Mapping[int, int], shares: Mapping[int, float], count: int) -> float:
    """Pearson's chi-square test: how often a fair split is off by as much. For two or three versions."""
    off = sum((seen.get(version, 0) - count * share) ** 2 / (count * share) for version, share in shares.items())
    return erfc(sqrt(off / 2)) if len(shares) == 2 else exp(-off / 2)


def moves(gateway: Gateway, count: int) -> list[Figure]:
    """Sticky callers: from 10 to 20 % only those move who must, and to the version that grows."""
    gateway.route(v1=90, v2=10).raise_for_status()
    before, again = (asked(gateway, count, keyed=True) for _ in range(2))
    gateway.route(v1=80, v2=20).raise_for_status()
    after = asked(gateway, count, keyed=True)
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    return [
        exactly(f"{count:,} callers: not with the version they had", sum(map(int.__ne__, before, again))),
        exactly("10 to 20 %: moved away from what grows", sum(pair != (1, 2) for pair in moved)),
        at_most("10 to 20 %: moved, points of percent off 10", abs(100 * len(moved) / count - 10), 1.0),
    ]
