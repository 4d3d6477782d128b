"""The small grammar of `serin rollout start`: text that a person types, to parts of a rollout's document."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from router.amounts import seconds_of
from router.errors import InvalidArgument

Document = dict[str, Any]
Words = list[str]

WHOLE: Final = re.compile(r"^[0-9]{1,10}$")
NUMBER: Final = re.compile(r"^[0-9]+(?:\.[0-9]+)?$")
PERCENT: Final = re.compile(r"^([0-9]+(?:\.[0-9]+)?)%?$")
DURATION: Final = re.compile(r"^(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|min|m|h|d|w))+$")
CHECK: Final = re.compile(r"^(?P<metric>[a-z0-9_]+)(?:\[(?P<label>[^\]]+)\])?(?P<limits>(?:(?:<=|>=)\+?-?[0-9.]+x?)+)$")
LIMIT: Final = re.compile(r"(<=|>=)(\+?)(-?[0-9.]+)(x?)")
ARM: Final = re.compile(r"^(?:(?P<name>[^:=\s]+):)?(?P<version>[^:=\s]+)=(?P<weight>[^=]+)$")

STEPS_HELP: Final = "such as 'shadow 2000 requests, 1%, 5% 10m, 25% 1h approval, 100%'"
DEFAULT_PAUSE: Final = "5m"
"""What a weight waits that says nothing else, as in strategy canary; the whole traffic waits for its checks only."""


def steps(text: str, wait: Document) -> list[Document]:
    """`shadow 2000 requests, 1%, 5% 10m` as the steps of a document; `wait` is what a weight waits that says nothing.

    A step is one of `N%`, `noise [N%]`, `shadow [N%]`, `cohort HEADER[=VALUE]`, `preview [HEADER[=VALUE]]`, `switch`,
    `share`, `pause`; what it waits for comes after it: a time, `N requests`, `approval`. `unchecked`: whatever the
    checks say.
    """
    items = [item.strip() for item in text.split(",")]
    return [_with_wait(_step(item), wait) for item in items]


def weights_alone(found: Sequence[Document]) -> list[Any] | None:
    """The weights, where every step is a weight that waits for nothing of its own; else None."""
    return [step["weight"] for step in found] if all(set(step) == {"weight"} for step in found) else None


def to(words: Sequence[str]) -> Any:
    """`2` or an alias is one candidate; `2=10 new:3=10` are candidates with fixed shares."""
    if len(words) == 1 and "=" not in words[0]:
        return _version(words[0])
    found = []
    for word in words:
        match = ARM.match(word)
        if match is None:
            raise InvalidArgument(f"--to {word}: several candidates need their shares, such as --to 2=10 --to 3=10")
        name = {"name": match["name"]} if match["name"] else {}
        found.append({"version": _version(match["version"]), "weight": _percent(match["weight"]), **name})
    return found


def header(word: str) -> Document:
    """`x-beta` or `x-beta=yes`."""
    name, equals, value = word.partition("=")
    return {"header": name.strip(), **({"value": value.strip()} if equals else {})}


def checks(words: Sequence[str]) -> list[Document]:
    """`error_rate<=0.01`, `latency_p99_seconds<=1.2x` (of stable's), `error_rate<=+0.005` (above stable's) as checks.

    `class_share[7]>=0.05<=0.15`: a class, and both limits.
    """
    return [_check(word, index, words) for index, word in enumerate(words)]


def _check(word: str, index: int, words: Sequence[str]) -> Document:
    match = CHECK.match(word.replace(" ", ""))
    if match is None:
        raise InvalidArgument(f"--check {word}: is not METRIC<=LIMIT, such as error_rate<=0.01 or requests>=100")
    found: Document = {}
    for sign, plus, number, ratio in LIMIT.findall(match["limits"]):
        compare = "ratio" if ratio else "difference" if plus else "value"
        if found.get("compare", compare) != compare or (plus and ratio):
            raise InvalidArgument(f"--check {word}: its limits are compared in different ways")
        found |= {"compare": compare, "max" if sign == "<=" else "min": _number(word, number)}
    same = sum(other.startswith(match["metric"]) for other in words[:index])
    name = match["metric"] if not same else f"{match['metric']}_{same + 1}"
    return {"name": name, "metric": match["metric"], **({"label": match["label"]} if match["label"] else {}), **found}


def _number(word: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InvalidArgument(f"--check {word}: {text!r} is not a number") from error


def _step(item: str) -> Document:
    words = re.sub(r"\s+%", "%", item).split()
    if not words:
        raise InvalidArgument(f"--steps: a step is empty; write them {STEPS_HELP}")
    found: Document = {}
    while words:
        word = words.pop(0)
        part = _KNOWN[word](words) if word in _KNOWN else _amount(word, words)
        if part is None:
            raise InvalidArgument(f"--steps: {word!r} in {item!r} is not understood; write them {STEPS_HELP}")
        found |= part
    return found


def _amount(word: str, words: Words) -> Document | None:
    if WHOLE.match(word) and words[:1] in (["requests"], ["request"]):
        words.pop(0)
        return {"requests": int(word)}
    if PERCENT.match(word):
        return {"weight": _percent(word)}
    if DURATION.match(word):
        seconds_of(word)
        return {"pause": word}
    return None


def _share(words: Words) -> int | float:
    counts = words[1:2] in (["requests"], ["request"])
    return _percent(words.pop(0)) if words and PERCENT.match(words[0]) and not counts else 100


def _cohort(words: Words) -> Document:
    if not words:
        raise InvalidArgument("--steps: cohort needs a header, such as 'cohort x-beta=yes'")
    return {"cohort": header(words.pop(0))}


def _preview(words: Words) -> Document:
    named = words and words[0] not in _KNOWN and not NUMBER.match(words[0]) and not DURATION.match(words[0])
    return {"preview": header(words.pop(0)) if named else {}}


_KNOWN: Final[Mapping[str, Callable[[Words], Document]]] = {
    "noise": lambda words: {"noise_floor": _share(words)},
    "shadow": lambda words: {"shadow": _share(words)},
    "cohort": _cohort,
    "preview": _preview,
    "switch": lambda words: {"switch": True},
    "share": lambda words: {"share": True},
    "pause": lambda words: {},
    "for": lambda words: {},
    "approval": lambda words: {"approval": True},
    "unchecked": lambda words: {"checks": False},
}


def _with_wait(step: Document, wait: Document) -> Document:
    waits = {"pause", "requests", "approval"} & set(step)
    return step if "weight" not in step or waits or step["weight"] == 100 else {**step, **wait}


def _percent(text: str) -> int | float:
    match = PERCENT.match(text.strip())
    if match is None:
        raise InvalidArgument(f"{text.strip()!r} is not a percentage such as 12.5")
    return float(match[1]) if "." in match[1] else int(match[1])


def _version(text: str) -> int | str:
    return int(text) if WHOLE.match(text) else text
