"""The evidence of a rollout in tables and sentences: what status, watch and explain say about it. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

Document = dict[str, Any]
Row = tuple[object, ...]

EVIDENCE: Final = ["EVIDENCE", "VERDICT", ">CANDIDATE", ">STABLE", "SEEN", ">HARM", ">SAFE", ">STILL NEEDED"]
MOST_CLASSES: Final = 3

_UNITS: Final[Mapping[str, str]] = {"odds ratio": "times", "difference": "points", "shift": "shift", "rate": ""}


def evidence_rows(found: Document) -> list[Row]:
    """A row each check of the evidence."""
    evidence = found.get("evidence") or {}
    return [
        (
            one["name"],
            one["verdict"],
            *_counts(one),
            "; ".join(estimates(one, 1)) or "-",
            one["harm"]["odds"],
            "-" if one["safe"] is None else one["safe"]["odds"],
            _needed(one),
        )
        for one in evidence.get("checks", [])
    ]


def evidence_lines(found: Document) -> Iterator[str]:
    """What is said above the table, besides the verdict itself."""
    evidence = found.get("evidence")
    if not evidence or "lost" in evidence:
        return
    yield from _notes(evidence)


def evidence_sentences(found: Document) -> Iterator[str]:
    """All of it, for `explain`."""
    evidence = found.get("evidence")
    if not evidence:
        return
    if "lost" in evidence:
        yield f"The evidence cannot be read: {evidence['lost']}."
        return
    harm = evidence["harm"]
    yield (
        f"Evidence of harm is {harm['odds']} over all metrics that abort; it aborts at {harm['needed']}, "
        f"whenever that is reached. {evidence['blocks']} blocks were weighed."
    )
    for one in evidence["checks"]:
        yield from _check(one)
    yield from (f"{note[0].upper()}{note[1:]}." for note in _notes(evidence))


def _check(one: Document) -> Iterator[str]:
    candidate, stable = _counts(one)
    yield (
        f"  {one['name']}: {one['verdict'].replace('_', ' ')} - {one['reason']}. Harm {one['harm']['odds']} "
        f"(then: {one['action']}); {candidate} requests of the candidate, {stable} of stable."
    )
    for text in estimates(one, MOST_CLASSES):
        yield f"    {text}"
    if one["safe"] is not None:
        yield f"    to be shown: {one['safe']['margin']} - {one['safe']['odds']} of {one['safe']['needed']}{_when(one)}"


def _when(one: Document) -> str:
    needed = one["requests_needed"]
    if needed == 0:
        return ", which is shown"
    return "" if needed is None else f"; about {needed:,} more requests, if there is no difference"


def estimates(one: Document, most: int) -> list[str]:
    """`p99 1.1 times (0.9 to 1.4): 12 of 1,000 against 60 of 5,000`, those that are furthest off first."""
    found = [estimate for estimate in one["estimates"] if estimate["candidate"]["requests"]]
    if len(found) > most and one["name"] != "latency":
        found = sorted(found, key=lambda estimate: -abs(estimate["value"] or 0.0))[:most]
    return [_estimate(estimate) for estimate in found]


def _estimate(estimate: Document) -> str:
    unit = _UNITS.get(estimate["scale"], estimate["scale"])
    low, value, high = (_number(estimate[name]) for name in ("low", "value", "high"))
    label = f"{estimate['label']} " if estimate["label"] else ""
    counts = "" if estimate["scale"] == "shift" else f": {_of(estimate['candidate'])} against {_of(estimate['stable'])}"
    about = "" if estimate["exact"] else ", for large samples"
    return f"{label}{value} {unit} ({low} to {high}{about}){counts}"


def _of(arm: Document) -> str:
    return f"{arm['marked']:,} of {arm['requests']:,}"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.3g}"


def _counts(one: Document) -> tuple[str, str]:
    return f"{one['requests']['candidate']:,}", f"{one['requests']['stable']:,}"


def _needed(one: Document) -> str:
    needed = one["requests_needed"]
    if one["safe"] is None:
        return "-"
    return "?" if needed is None else f"{needed:,}"


def _notes(evidence: Document) -> Iterator[str]:
    assignment, mirrored, warming = evidence["assignment"], evidence["mirrored"], evidence["warming"]
    if assignment["broken"]:
        yield (
            f"the assignment is broken: the candidate got {assignment['candidate']:,} of {assignment['of']:,} "
            f"requests, {assignment['expected']:,.0f} were due"
        )
    if mirrored["requests"]:
        yield (
            f"{mirrored['requests']:,} requests of the candidate were only mirrored ({mirrored['failed']:,} failed); "
            "they are counted among its errors and nowhere else"
        )
    golden = evidence.get("golden", {"requests": 0})  # an older controller has none
    if golden["requests"]:
        yield (
            f"{golden['requests']:,} requests of the candidate were golden rows ({golden['failed']:,} failed), run on "
            "stable too; they are counted among its errors and nowhere else"
        )
    if warming["workers"]:
        workers = ", ".join(map(str, warming["workers"]))
        yield (
            f"worker {workers} is still warming up: nothing counts there before {warming['seconds']:g} s and "
            f"{warming['requests']} requests of the candidate"
        )
