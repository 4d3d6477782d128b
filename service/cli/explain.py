"""A rollout in sentences: what holds it, what would have to happen next, who may do what. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from service.cli.evidence_text import evidence_sentences
from service.cli.rollout_text import WALKING, headline, left, seen, step_words

Document = dict[str, Any]

PHASES: Final[Mapping[str, str]] = {
    "pending": "It waits until the candidate is loaded and warm in every live worker. No request reaches it yet.",
    "checking": "The candidate's contract is being compared with stable's. No request reaches it yet.",
    "progressing": "It is walking {step}.",
    "holding": "It has waited long enough at {step}, but its checks do not pass: without evidence it goes no further.",
    "waiting_approval": "It waits for a person at {step}.",
    "paused": "{actor} paused it at {step}; the weights stay as they are, and checks can still abort it.",
    "promoting": "The candidate has won; the route is recorded, and every live worker is taking it over.",
    "window": "The candidate is promoted and has all the traffic; the old version is kept warm for a rollback.",
    "promoted": "The candidate is promoted, and the rollback window is closed.",
    "aborting": "It goes back to stable; every live worker is taking the route over.",
    "aborted": "It was aborted: all traffic is on stable.",
    "rolling_back": "It goes back to the version before; every live worker is taking the route over.",
    "rolled_back": "It was rolled back: all traffic is on the version before.",
    "superseded": "Something else took its place.",
}

WORDS: Final[Mapping[str, str]] = {
    "promote": "gives the candidate all traffic now, whatever the steps and checks say",
    "promote_step": "goes on to the next step now",
    "pause": "stops the clock of the step and keeps the weights",
    "resume": "lets it go on",
    "abort": "sends all traffic back to stable at once",
    "approve": "lets this step pass once all else it waits for is there, or accepts the shift that holds it",
    "reject": "refuses this step and aborts",
    "retry": "begins the same rollout anew",
    "rollback": "returns to the version before at once",
}

VERDICTS: Final[Mapping[str, str]] = {
    "pass": "passes",
    "fail": "fails",
    "inconclusive": "cannot tell yet",
    "no_data": "has no data, which never passes",
    "error": "cannot be measured, which never passes",
}


def sentences(found: Document) -> Iterator[str]:
    """All there is to say, one sentence or two a line."""
    yield headline(found)
    started = found["started_by"]
    reason = f", because: {started['reason']}" if started["reason"] else ""
    yield f"Started by {started['actor']} at {found['started_at']}{reason}."
    yield PHASES.get(found["phase"], "").format(step=step_words(found) or "its way", actor=found["actor"])
    yield from _why(found)
    yield from _holds(found)
    yield from evidence_sentences(found)
    yield from _next(found)
    yield from _people(found)


def _why(found: Document) -> Iterator[str]:
    if found["reason"]:
        yield f"The last move was made by {found['actor']}: {found['reason']}."
    contract = found["contract"]
    if contract and contract["differences"]:
        yield f"The contract is {contract['kind']}: {'; '.join(contract['differences'])}."
    if found["result"]:
        counts = ", ".join(f"{name} {count}" for name, count in found["result"]["requests"].items())
        yield f"What was found so far, for whoever decides: requests {counts or 'none'}."
    for one in found["approvals"]:
        told = f": {one['reason']}" if one["reason"] else ""
        if one["accepted"]:
            names = ", ".join(one["accepted"])
            yield f"What {names} showed was accepted by {one['actor']} at step {one['step']}{told}."
        else:
            yield f"Step {one['step']} was approved by {one['actor']}{told}."


def _holds(found: Document) -> Iterator[str]:
    if found["obstacle"]:
        yield f"Something is in the way: {found['obstacle']}. It is tried again every second."
    step = found["step"]
    if step and found["phase"] in WALKING:
        if step["waits_for"]:
            yield f"The step still waits for {', '.join(step['waits_for'])}."
        if step["approval"] and not step["approved"]:
            yield "The step asks for an approval."
    yield from (f"{told[0].upper()}{told[1:]}." for told in seen(found))
    for mirror in found["pairs"]:
        if mirror["pairs"]:
            furthest, differs = mirror["pairs"][0]["distance"], sum(bool(pair["differs"]) for pair in mirror["pairs"])
            yield (
                f"Of what was mirrored to {mirror['variant']}, the answer that lies furthest apart has distance "
                f"{furthest}; {differs} of the {len(mirror['pairs'])} worst count as different."
            )
    for one in found["checks"]:
        yield f"Check {one['name']} {VERDICTS.get(one['verdict'], one['verdict'])}: {one['reason']}."


def _next(found: Document) -> Iterator[str]:
    if found["next"]:
        yield f"Next: {found['next']}."
    limits = found["deadlines"]
    if limits["step_left_seconds"] is not None:
        yield f"If the step is not done in {left(limits['step_left_seconds'])}: {_DEADLINE[limits['on_deadline']]}."
    if limits["total_left_seconds"] is not None:
        last = "abort" if limits["on_deadline"] == "hold" else limits["on_deadline"]
        yield f"If all is not done in {left(limits['total_left_seconds'])}: {_DEADLINE[last]}."
    if limits["window_left_seconds"] is not None:
        yield f"The old version is kept warm for another {left(limits['window_left_seconds'])}."


_DEADLINE: Final[Mapping[str, str]] = {
    "abort": "it is aborted",
    "hold": "it holds where it is",
    "promote": "it goes on if every check passes, else it is aborted",
}


def _people(found: Document) -> Iterator[str]:
    if not found["possible"]:
        yield "Nobody can move it any more; `serin rollout start` begins another."
        return
    yield "Whoever reaches the admin API may say now:"
    for word in found["possible"]:
        flag = "promote --step" if word == "promote_step" else word
        yield f"  serin rollout {flag} {found['model']}  -  {WORDS.get(word, '')}"
