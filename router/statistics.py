"""What became of each version's requests and runs, added up over workers, variants and epochs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from router.layout import OUTCOME, Outcome
from router.runs import Runs, runs_of
from router.tally import BlockCopy
from router.telemetry import FAILED_NS, SERVED, TIME_NS, VARIANT, VERSION

FAILURES: Mapping[Outcome, str] = {
    Outcome.SHED: "REJECTED",
    Outcome.TIMEOUT: "REJECTED",
    Outcome.CANCELLED: "CANCELED",
    Outcome.ERROR: "BACKEND",
    Outcome.LOST: "BACKEND",
    Outcome.CLIENT_ERROR: "OTHER",
}
"""How requests failed, in Triton's words. What was answered with numbers that are not finite was answered."""

_ANSWERED = (Outcome.OK, Outcome.NONFINITE)


@dataclass(frozen=True, slots=True)
class VersionStatistics:
    """One version since the counters began. Times are nanoseconds and of requests that were answered, but `failed_ns`.

    `waiting`: requests that wait for their turn now.
    """

    answered: int = 0
    decode_ns: int = 0
    queue_ns: int = 0
    compute_ns: int = 0
    encode_ns: int = 0
    request_ns: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    failed_ns: int = 0
    waiting: int = 0
    runs: Runs = field(default_factory=Runs)


def statistics(copies: Sequence[BlockCopy]) -> dict[tuple[str, int], VersionStatistics]:
    """By (model, version). `copies`: of single blocks, as a Reader gives them."""
    requests = _by_version(copies, (VARIANT, SERVED))
    gauges = _by_version(copies, (VERSION,))
    runs = runs_of(copies)
    return {
        key: _of(requests.get(key, ()), gauges.get(key, ()), runs.get(key, Runs()))
        for key in {*requests, *gauges, *runs}
    }


def _by_version(copies: Iterable[BlockCopy], kinds: tuple[str, ...]) -> dict[tuple[str, int], list[BlockCopy]]:
    found: dict[tuple[str, int], list[BlockCopy]] = {}
    for copy in copies:
        if copy.spec.kind in kinds:
            found.setdefault((copy.spec.labels["model"], int(copy.spec.labels["version"])), []).append(copy)
    return found


def _of(requests: Iterable[BlockCopy], gauges: Iterable[BlockCopy], runs: Runs) -> VersionStatistics:
    outcomes = _summed(requests, OUTCOME)
    times, failed_times = _summed(requests, TIME_NS), _summed(requests, FAILED_NS)
    if not outcomes:
        return VersionStatistics(waiting=_waiting(gauges), runs=runs)
    total, decode, queue, compute, encode = (ns - lost for ns, lost in zip(times, failed_times, strict=True))
    failed: dict[str, int] = {}
    for outcome, word in FAILURES.items():
        failed[word] = failed.get(word, 0) + outcomes[outcome]
    return VersionStatistics(
        answered=sum(outcomes[outcome] for outcome in _ANSWERED),
        decode_ns=decode,
        queue_ns=queue,
        compute_ns=compute,
        encode_ns=encode,
        request_ns=decode + total + encode,
        failed=failed,
        failed_ns=failed_times[0] + failed_times[1] + failed_times[4],
        waiting=_waiting(gauges),
        runs=runs,
    )


def _summed(copies: Iterable[BlockCopy], family: str) -> list[int]:
    return [sum(cells) for cells in zip(*(copy.family(family) for copy in copies), strict=True)]


def _waiting(gauges: Iterable[BlockCopy]) -> int:
    return sum(copy.family("queued")[0] for copy in gauges)
