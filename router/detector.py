"""After promotion there is no control left: the new stable version against its limits, until the window ends. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from router.errors import InvalidArgument
from router.evidence import Block
from router.rates import counts_of_limit, limit_llr
from router.sequential import LimitCheck
from router.verdict import Verdict, VerdictKind
from router.wealth import EDetector, merge

DETECTOR_VERSION = 1
_NOTHING = -700.0


@dataclass(frozen=True, slots=True, eq=False)
class Detector:
    """What the watch after promotion remembers: e-detectors by check, what of each source was last, and the check
    that raised the alarm."""

    detectors: Mapping[str, EDetector] = field(default_factory=dict)
    seen: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    alarm: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; floats come back exactly."""
        detectors = {name: detector.to_json() for name, detector in self.detectors.items()}
        seen = {source: list(last) for source, last in self.seen.items()}
        return {"version": DETECTOR_VERSION, "detectors": detectors, "seen": seen, "alarm": self.alarm}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Detector":
        """Raises InvalidArgument for another version's."""
        if content.get("version") != DETECTOR_VERSION:
            raise InvalidArgument(f"a detector of version {content.get('version')} cannot be read")
        detectors = {name: EDetector.from_json(value) for name, value in content["detectors"].items()}
        seen = {source: (index, epoch, stratum) for source, (index, epoch, stratum) in content["seen"].items()}
        return cls(detectors, seen, content["alarm"])


def detect(
    checks: Sequence[LimitCheck], detector: Detector, blocks: Iterable[Block], horizon: int, alpha: float = 0.01
) -> tuple[Detector, Verdict]:
    """Watch blocks of at most `horizon` ticks. `fail`: roll back; while every limit is kept, alarms are raised with
    probability at most alpha in the whole horizon (Doob; statistics.md 3.3 bounds the mean run only), however late a
    fault begins. Otherwise `pass`, or `error` or `no_data` for the blocks given."""
    threshold, problem, requests = math.log(horizon / alpha), "", 0
    merged = _merged(checks, detector)
    for block in sorted(blocks, key=lambda block: block.order):
        if block.order[:3] <= detector.seen.get(block.source, (-1, -1, -1)):
            continue
        problem = block.problem or problem
        requests += sum(counts_of_limit(check, block)[0] for check in checks)
        detector = _update(checks, detector, block)
        merged = _merged(checks, detector)
        if merged >= threshold and not detector.alarm:
            worst = max(checks, key=lambda check: detector.detectors[check.name].log_m[0] + math.log(check.weight))
            detector = Detector(detector.detectors, detector.seen, worst.name)
    numbers = {"log_m": merged, "threshold": threshold}
    if detector.alarm:
        return detector, Verdict(VerdictKind.FAIL, detector.alarm, "the limit is not kept any more", numbers)
    if problem:
        return detector, Verdict(VerdictKind.ERROR, "", problem, numbers)
    if not requests:
        return detector, Verdict(VerdictKind.NO_DATA, "", "nothing was counted", numbers)
    return detector, Verdict(VerdictKind.PASS, "", "limits are kept", numbers)


def _update(checks: Sequence[LimitCheck], detector: Detector, block: Block) -> Detector:
    detectors = dict(detector.detectors)
    for check in checks:
        llr = limit_llr(check, block)
        detectors[check.name] = (detectors.get(check.name) or EDetector.start(1, llr.shape[1])).update(llr)
    return Detector(detectors, {**detector.seen, block.source: block.order[:3]}, detector.alarm)


def _merged(checks: Sequence[LimitCheck], detector: Detector) -> float:
    found = [detector.detectors.get(check.name) for check in checks]
    logs = [_NOTHING if one is None else float(one.log_m[0]) for one in found]
    return merge(logs, [check.weight for check in checks]) if checks else _NOTHING
