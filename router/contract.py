"""Does a candidate keep what stable promised its callers? Signature, meaning and golden answers, compared. Pure.

The inventory reports all three: `signature` {"inputs": [{"name", "datatype", "shape"}], "outputs": ...}; `meaning`
{"labels": {output: [...]}, "units": {tensor: text}, "columns": [...]}; `golden` {"applicable", "non_finite",
"answers": {output: [class of each golden row]}}.

compatible: every request to stable is one to the candidate, and every answer has all that stable's had, of the same
type and size. Anything less is breaking, and so is an answer that means something else.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from router.assessor import Contract, ContractKind
from router.reports import InventoryVersion

MAX_SHOWN: Final = 6

Tensor = Mapping[str, Any]
Shape = list[int] | None


@dataclass(frozen=True, slots=True)
class _Difference:
    """A sentence. `breaks`: whether a caller of stable may notice it."""

    text: str
    breaks: bool = True


def compare_versions(stable: InventoryVersion, candidate: InventoryVersion) -> Contract:
    """`unknown` when one of the two has no signature; differences that break come first."""
    if stable.signature is None or candidate.signature is None:
        which = "stable" if stable.signature is None else "the candidate"
        return Contract(ContractKind.UNKNOWN, (f"{which} has no signature",))
    found = [
        *_inputs(_tensors(stable, "inputs"), _tensors(candidate, "inputs")),
        *_outputs(_tensors(stable, "outputs"), _tensors(candidate, "outputs")),
        *_meaning(stable.meaning or {}, candidate.meaning or {}),
        *_golden(stable.golden or {}, candidate.golden or {}),
    ]
    if not found:
        return Contract(ContractKind.IDENTICAL)
    kind = ContractKind.BREAKING if any(one.breaks for one in found) else ContractKind.COMPATIBLE
    return Contract(kind, tuple(one.text for one in sorted(found, key=lambda one: not one.breaks)))


def renumbered(stable: Sequence[Any], candidate: Sequence[Any]) -> dict[Any, Any]:
    """Classes that seem to have changed places: class of stable -> class of the candidate, where every row that stable
    answers with the one the candidate answers with the other, and

    - these classes form a circle (0 -> 1 -> 0), or
    - no class at all kept its place (0 -> 1, 1 -> 2, ...), of at least two.

    Empty when nothing points to it: a candidate that is merely wrong now and then is no such case.
    """
    answers: dict[Any, set[Any]] = {}
    for ours, theirs in zip(stable, candidate, strict=False):
        answers.setdefault(ours, set()).add(theirs)
    steady = {ours: next(iter(theirs)) for ours, theirs in answers.items() if len(theirs) == 1}
    moved = {ours: theirs for ours, theirs in steady.items() if ours != theirs}
    if len(moved) == len(answers) > 1 and len(set(moved.values())) == len(moved):
        return moved
    return {ours: theirs for ours, theirs in moved.items() if _is_in_circle(ours, moved)}


def _is_in_circle(start: Any, moved: Mapping[Any, Any]) -> bool:
    at = moved.get(start)
    for _ in moved:
        if at is None or at == start:
            break
        at = moved.get(at)
    return at is not None and bool(at == start)


def _tensors(version: InventoryVersion, part: str) -> dict[str, Tensor]:
    return {tensor["name"]: tensor for tensor in (version.signature or {}).get(part, ())}


def _inputs(stable: Mapping[str, Tensor], candidate: Mapping[str, Tensor]) -> Iterator[_Difference]:
    for name in candidate.keys() - stable.keys():
        yield _Difference(f"input {name!r} is new, and every input must be given")
    for name, ours in stable.items():
        theirs = candidate.get(name)
        if theirs is None:
            yield _Difference(f"input {name!r} is gone")
        elif ours["datatype"] != theirs["datatype"]:
            yield _Difference(f"input {name!r} is {theirs['datatype']}, was {ours['datatype']}")
        else:
            # An input must take at least what it took.
            yield from _shape(f"input {name!r}", ours["shape"], theirs["shape"], _takes_more)


def _outputs(stable: Mapping[str, Tensor], candidate: Mapping[str, Tensor]) -> Iterator[_Difference]:
    for name in candidate.keys() - stable.keys():
        yield _Difference(f"output {name!r} is new", breaks=False)
    for name, ours in stable.items():
        theirs = candidate.get(name)
        if theirs is None:
            yield _Difference(f"output {name!r} is gone")
        elif ours["datatype"] != theirs["datatype"]:
            yield _Difference(f"output {name!r} is {theirs['datatype']}, was {ours['datatype']}")
        else:
            # An output must give no more than it gave.
            yield from _shape(f"output {name!r}", ours["shape"], theirs["shape"], lambda a, b: _takes_more(b, a))
    kept = [name for name in stable if name in candidate]
    if kept != [name for name in candidate if name in stable]:
        yield _Difference("the outputs are in another order", breaks=False)


def _shape(of: str, ours: Shape, theirs: Shape, fits: Callable[[Shape, Shape], bool]) -> Iterator[_Difference]:
    if ours != theirs:
        yield _Difference(f"{of} has shape {_shown(theirs)}, was {_shown(ours)}", breaks=not fits(ours, theirs))


def _takes_more(ours: Shape, theirs: Shape) -> bool:
    """Whether `theirs` holds every shape that `ours` does. None: any rank; -1: any size."""
    if theirs is None:
        return True
    if ours is None or len(ours) != len(theirs):
        return False
    return all(size in (-1, given) for given, size in zip(ours, theirs, strict=True))


def _shown(shape: Shape) -> str:
    return "of any rank" if shape is None else str(shape)


def _meaning(stable: Mapping[str, Any], candidate: Mapping[str, Any]) -> Iterator[_Difference]:
    """Only what both say is compared."""
    labels, others = stable.get("labels") or {}, candidate.get("labels") or {}
    for output in sorted(labels.keys() & others.keys()):
        yield from _labels(f"output {output!r}", list(labels[output]), list(others[output]))
    units, others = stable.get("units") or {}, candidate.get("units") or {}
    for tensor in sorted(units.keys() & others.keys()):
        if units[tensor] != others[tensor]:
            yield _Difference(f"{tensor!r} is in {others[tensor]!r}, was in {units[tensor]!r}")
    columns, now = list(stable.get("columns") or ()), list(candidate.get("columns") or ())
    if columns and now and columns != now:
        same = sorted(columns) == sorted(now)
        yield _Difference(f"the columns {'are in another order' if same else 'are others'}: {_first(columns, now)}")


def _labels(of: str, ours: list[str], theirs: list[str]) -> Iterator[_Difference]:
    if ours == theirs:
        return
    if theirs[: len(ours)] == ours:
        yield _Difference(f"{of} knows more classes: {_listed(theirs[len(ours) :])}", breaks=False)
    elif sorted(ours) == sorted(theirs):
        yield _Difference(f"the classes of {of} are in another order: {_first(ours, theirs)}")
    else:
        yield _Difference(f"the classes of {of} are others: {_first(ours, theirs)}")


def _first(ours: list[str], theirs: list[str]) -> str:
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    was, now = (repr(names[at]) if at < len(names) else "nothing" for names in (ours, theirs))
    return f"number {at} is {now}, was {was}"


def _golden(stable: Mapping[str, Any], candidate: Mapping[str, Any]) -> Iterator[_Difference]:
    if not candidate:
        return
    if not candidate.get("applicable", True) and stable.get("applicable", False):
        yield _Difference("the golden rows do not fit its inputs")
    odd = [name for name in candidate.get("non_finite") or () if name not in (stable.get("non_finite") or ())]
    if odd:
        yield _Difference(f"golden rows: not finite: {_listed(odd)}")
    ours, theirs = stable.get("answers") or {}, candidate.get("answers") or {}
    for output in sorted(ours.keys() & theirs.keys()):
        moved = renumbered(ours[output], theirs[output])
        if moved:
            pairs = _listed([f"{was} became {now}" for was, now in moved.items()])
            yield _Difference(f"golden rows: the classes of output {output!r} seem to have changed places: {pairs}")


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - MAX_SHOWN} more" if len(texts) > MAX_SHOWN else ""
    return ", ".join(texts[:MAX_SHOWN]) + more
