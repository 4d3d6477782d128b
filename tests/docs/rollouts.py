"""What the reference says of rollouts: the document by its schema, the phases by their table, the words by both."""

import json
from collections.abc import Iterator
from typing import Any

from router.phases import PEOPLE, TABLE, Move, Phase
from router.spec import schema
from service.cli.explain import PHASES, WORDS
from tests.docs.markdown import table

Document = dict[str, Any]

ROOT_NAME = "the document"

MOVES = {
    Move.CHECK: "the candidate is ready in every live worker",
    Move.BEGIN: "the contract is kept",
    Move.NEXT: "a step is done",
    Move.HOLD: "a step has waited long enough, but its checks do not pass",
    Move.ASK: "only an approval or a decision is missing",
    Move.FINISH: "the last step is done",
    Move.FAIL: "a check fails, the contract is broken, or a worker refuses the route",
    Move.TROUBLE: "the candidate is unavailable, in quarantine, unloaded or replaced, or the fallback budget is spent",
    Move.DEADLINE: "a limit of time says so",
    Move.CONFIRMED: "every live worker follows the route",
    Move.EXPIRE: "the rollback window is over",
    Move.SUPERSEDE: "a new rollout, or a route that a person set",
}


def phases() -> str:
    """Each phase, what it means, where people's words and everything else lead."""
    rows = []
    for phase in Phase:
        moves = TABLE[phase]
        words = [f"`{_word(move)}` → {target}" for move, target in moves.items() if move in PEOPLE]
        rest = [f"{move} → {target}" for move, target in moves.items() if move not in PEOPLE]
        rows.append([f"`{phase}`", _meaning(phase), "<br>".join(words) or "-", "<br>".join(rest) or "-"])
    return table(["Phase", "Meaning", "People may say", "By itself"], rows)


def words() -> str:
    """What people say, and what happens by itself."""
    rows = [[f"`serin rollout {_word(move).replace('_', ' ')}`", WORDS[str(move)]] for move in PEOPLE]
    return table(["Word", "What it does"], rows)


def causes() -> str:
    """What each move that nobody says means."""
    return table(["Move", "When"], [[f"{move}", MOVES[move]] for move in Move if move not in PEOPLE])


def spec() -> str:
    """A table for the document and for each part of it, in the order in which they are first named."""
    found = schema()
    parts = [_section(ROOT_NAME, found, found)]
    for name in _order(found):
        part = found["$defs"][name]
        if "properties" in part:
            parts.append(_section(_title(name), part, found))
    return "\n\n".join(parts)


def _section(title: str, part: Document, whole: Document) -> str:
    heading = f"### {title[0].upper()}{title[1:]}\n\n{part.get('description', '')}\n"
    required = part.get("required", [])
    rows = [
        [
            f"`{name}`",
            _type(field, whole),
            "**required**" if name in required else _default(field),
            field.get("description", ""),
        ]
        for name, field in part["properties"].items()
    ]
    return f"{heading}\n{table(['Field', 'Value', 'Default', 'Meaning'], rows)}"


def _order(whole: Document) -> list[str]:
    """The definitions, each after the part that names it first."""
    found: list[str] = []
    waiting = list(_named(whole["properties"]))
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found.append(name)
            waiting += _named(whole["$defs"][name])
    return found


def _named(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"].rpartition("/")[2]
        for value in part.values():
            yield from _named(value)
    elif isinstance(part, list):
        for value in part:
            yield from _named(value)


def _type(field: Document, whole: Document) -> str:
    if "$ref" in field:
        return _referred(field["$ref"].rpartition("/")[2], whole)
    if "anyOf" in field:
        kinds = field["anyOf"]
        if any("pattern" in kind for kind in kinds):
            return "time"
        if {kind.get("maximum") for kind in kinds} >= {100}:
            return "percent"
        return " or ".join(dict.fromkeys(_type(kind, whole) for kind in kinds if kind.get("type") != "null"))
    if "enum" in field or "const" in field:
        return " ".join(f"`{_json(value)}`" for value in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}), whole)}"
    return {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` `false`"}.get(
        field.get("type", ""), "any"
    )


def _referred(name: str, whole: Document) -> str:
    part = whole["$defs"][name]
    if "enum" in part:
        return " ".join(f"`{value}`" for value in part["enum"])
    return f"[{_title(name)}](#{_title(name).replace(' ', '-')})"


def _title(name: str) -> str:
    """`BlueGreenBody` -> `blue green`."""
    text = name.removesuffix("Body")
    return "".join(f" {sign.lower()}" if sign.isupper() else sign for sign in text).strip()


def _default(field: Document) -> str:
    if "default" not in field or field["default"] in (None, ""):
        return "-"
    value = field["default"]
    return " ".join(f"`{_json(one)}`" for one in value) if isinstance(value, list) else f"`{_json(value)}`"


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _meaning(phase: Phase) -> str:
    return PHASES[str(phase)].format(step="its step", actor="Somebody")


def _word(move: Move) -> str:
    return "promote --step" if move is Move.PROMOTE_STEP else str(move)
