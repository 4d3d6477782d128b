"""A rollout's document in few words and in tables: what status, list, history and the plain watch print."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from router.rollout import span
from service.cli import output

Document = dict[str, Any]
Row = tuple[object, ...]

VARIANTS: Final = ["VARIANT", ">VERSION", "ROLE", ">WANTED %", ">MEASURED %", ">REQUESTS"]
CHECKS: Final = ["CHECK", "VERDICT", "WHY"]
PAIRS: Final = ["MIRROR", "REQUEST", "OUTPUT", ">DISTANCE", ">ROWS", "STABLE", "MIRRORED"]
HISTORY: Final = [">ID", "AT", "WHO", "WHAT", "STEP", "WEIGHTS %", "WHY"]
LIST: Final = ["ROLLOUT", "STRATEGY", "TO", "PHASE", "STEP", "STARTED", "WHO", "WHY"]


def headline(found: Document) -> str:
    """`digits-7: canary of digits, version 1 -> 2: progressing, step 2 of 4 (weight 5 %)`."""
    arms = ", ".join(str(one["version"]) for one in found["to"])
    where = found["phase"].replace("_", " ")
    return f"{found['id']}: {found['strategy']} of {found['model']}, {found['from']} -> {arms}: {where}{_at(found)}"


def step_words(found: Document) -> str:
    """`step 2 of 4 (weight 5 %)`; empty before the first step and where there is none."""
    step = found.get("step")
    return f"step {step['number']} of {step['of']} ({step['label']})" if step else ""


def time_words(found: Document) -> list[str]:
    """What is left of the step, of all, of the rollback window."""
    step, limits = found.get("step"), found["deadlines"]
    words = []
    if step and step["pause_seconds"] and found["phase"] in WALKING:
        words.append(f"{left(step['left_seconds'])} of {span(step['pause_seconds'])} left at this step")
    for name, told in _LIMITS:
        if limits[name] is not None:
            words.append(told.format(left(limits[name]), **limits))
    return words


WALKING: Final = frozenset({"progressing", "holding", "waiting_approval", "paused"})
_LIMITS: Final = (
    ("step_left_seconds", "{} until the step's deadline (then {on_deadline})"),
    ("total_left_seconds", "{} until all must be done"),
    ("window_left_seconds", "{} left to roll back"),
)


def left(seconds: float) -> str:
    """A time that may be over."""
    return span(seconds) if seconds > 0 else "none"


def variant_rows(found: Document) -> list[Row]:
    """A row each arm."""
    return [
        (
            one["name"],
            one["version"],
            one["role"],
            output.number(one["desired"]),
            "" if one["measured"] is None else f"{one['measured']:.2f}",
            one["requests"],
        )
        for one in found["variants"]
    ]


def check_rows(found: Document) -> list[Row]:
    """A row each check."""
    return [(one["name"], one["verdict"], one["reason"]) for one in found["checks"]]


def list_rows(found: list[Document]) -> list[Row]:
    """A row each rollout."""
    return [
        (
            one["id"],
            one["strategy"],
            ", ".join(str(arm["version"]) for arm in one["to"]),
            one["phase"],
            f"{one['step_number']}/{one['step_count']}",
            moment(one["started_at"]),
            one["actor"],
            one["reason"],
        )
        for one in found
    ]


def event_rows(events: list[Document]) -> list[Row]:
    """A row each line of the history."""
    return [
        (
            one["id"],
            moment(one["at"]),
            one["actor"],
            one["kind"].removeprefix("rollout."),
            event_step(one),
            event_weights(one["after"]),
            one["reason"],
        )
        for one in events
    ]


def event_step(event: Document) -> str:
    """`2/4 weight 5 %`."""
    after = event["after"] or {}
    if not after.get("step"):
        return ""
    return f"{after['step']}/{after['steps']} {after.get('label', '')}".strip()


def event_weights(after: Any) -> str:
    """`1=95 2=5`; empty for what says no weights."""
    weights = after.get("weights_ppm") if isinstance(after, dict) else None
    return " ".join(f"{name}={output.number(ppm / 10_000)}" for name, ppm in (weights or {}).items())


def brief(value: Any) -> str | None:
    """One side of a rollout's event: `holding, step 1/4, 1=99 2=1`; None for what is no such thing."""
    if not isinstance(value, dict) or not {"rollout", "phase"} <= set(value):
        return None
    step = f"step {value['step']}/{value['steps']}" if value.get("step") else ""
    return ", ".join(filter(None, (value["phase"], step, event_weights(value))))


def line(found: Document) -> str:
    """The whole state on one line, for a terminal that is none."""
    weights = " ".join(f"{one['name']}={output.number(one['desired'])}{_measured(one)}" for one in found["variants"])
    verdicts = " ".join(f"{one['name']}:{one['verdict']}" for one in found["checks"])
    return "  ".join(filter(None, (found["phase"], step_words(found), weights, verdicts, found["next"])))


def lines(found: Document) -> Iterator[str]:
    """What status says above its tables."""
    yield headline(found)
    why = f": {found['reason']}" if found["reason"] else ""
    yield f"last moved by {found['actor']}{why}"
    if found["obstacle"]:
        yield f"held up: {found['obstacle']}"
    if found["next"]:
        yield f"next: {found['next']}"
    yield from time_words(found)
    if found["contract"] and found["contract"]["differences"]:
        yield f"contract {found['contract']['kind']}: {'; '.join(found['contract']['differences'])}"
    if found["winner"] and len(found["to"]) > 1:
        yield f"promoted: {found['winner']}"
    yield from seen(found)


def seen(found: Document) -> Iterator[str]:
    """What was seen of stable beside itself, what the candidate may have and has had, and what workers say."""
    floor = found["noise_floor"]
    if floor and floor["requests"]:
        yield (
            f"noise floor: {100 * floor['flip_rate']:.3g} % of stable's own answers differ "
            f"({floor['flipped']} of {floor['requests']} requests that were run on it twice)"
        )
    exposure = found["exposure"]
    if exposure:
        used = [f"{one['used']} of {one['allowed']} {name}" for name, one in exposure["limits"].items()]
        lifted = " (no longer limited: the checks of a step have passed)" if exposure["lifted"] else ""
        yield f"exposure used: {', '.join(used)}{lifted}"
    for told in found["notices"]:
        yield f"note: {told}"


def pair_rows(mirrors: list[Document]) -> list[Row]:
    """A row each output of each pair, the worst pair first."""
    return [
        (
            mirror["variant"],
            pair.get("body", ""),
            name,
            _distance(one["distance"]),
            f"{one['rows_different']}/{one['rows']}",
            _values(one["stable"]),
            _values(one["candidate"]),
        )
        for mirror in mirrors
        for pair in mirror["pairs"]
        for name, one in pair.get("outputs", {"(too large)": _NOTHING}).items()
    ]


SHOWN_VALUES: Final = 4
_NOTHING: Final[Document] = {"distance": "", "rows_different": "", "rows": "", "stable": {}, "candidate": {}}


def _distance(distance: float | str) -> str:
    """JSON has no infinities, so they come as text."""
    return distance if isinstance(distance, str) else f"{distance:.4g}"


def _values(shown: Document) -> str:
    """The first of what was answered; only the shape where the values are not kept."""
    data = shown.get("data")
    if data is None:
        return "x".join(map(str, shown.get("shape", ())))
    first = ", ".join(f"{one:.4g}" if isinstance(one, float) else str(one) for one in data[:SHOWN_VALUES])
    return first + (", ..." if len(data) > SHOWN_VALUES else "")


def moment(text: str) -> str:
    """A date without what nobody reads: `2026-01-31 09:30:00Z`."""
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%SZ")
    except ValueError:
        return text


def _at(found: Document) -> str:
    step = step_words(found)
    return f", {step}" if step and found["phase"] in WALKING else ""


def _measured(one: Document) -> str:
    return "" if one["measured"] is None else f" (seen {one['measured']:.2f})"
