"""From the counters of all workers to arms of evidence: what one variant did in one epoch, worker by worker. Pure.

Only requests of the split are read: those that a rule or a named version sent are counted elsewhere. Mirrored runs come
as a number of their own. Failures are `figures.FAILURES`, also where stable stepped in; what callers caused or gave up,
what was lost with a worker that another version killed, and what was diverted untried is in neither arm.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import add
from typing import Final

from router import telemetry
from router.cursor import Counted, Subject
from router.cutting import TOGETHER
from router.demands import INVALID, Shape, Watched
from router.evidence import Arm
from router.figures import ERROR, FAILURES, NONFINITE, OK
from router.goldens import GOLDEN
from router.layout import ASSIGNED, OUTCOME, How, Outcome
from router.mirrors import MIRROR
from router.tally import BlockCopy
from router.telemetry import FOLLOWED, LED, UNITS, VARIANT, watched_of

SPLIT: Final = "split"


def read_arms(copies: Iterable[BlockCopy], subject: Subject, shape: Shape, kind: str = VARIANT) -> dict[int, Counted]:
    """By epoch, what was counted since it began. `kind`: of the blocks of requests, or of those of callers."""
    candidate: dict[int, dict[int, Arm]] = {}
    stable: dict[int, dict[int, Arm]] = {}
    baseline: dict[int, dict[int, Arm]] = {}
    golden: dict[int, list[Arm]] = {}
    wanted = ((subject.candidate, (candidate,)), (subject.stable, (stable,)), (subject.baseline, (stable, baseline)))
    mirrored: dict[int, tuple[int, int]] = {}
    for copy in copies:
        epoch, labels = copy.epoch, copy.spec.labels
        if epoch is None or labels.get("model") != subject.model:
            continue
        if copy.spec.kind == GOLDEN:
            for place, owner in enumerate((subject.candidate, subject.stable)):
                if (labels["variant"], labels["version"]) == _named(owner):
                    pair = golden.setdefault(epoch, [Arm(), Arm()])
                    pair[place] = pair[place] + _golden(copy)
        elif copy.spec.kind == MIRROR:
            if (labels["variant"] or labels["version"], labels["version"]) == _named(subject.candidate):
                mirrored[epoch] = _plus(mirrored.get(epoch, (0, 0)), _mirrored(copy))
        elif copy.spec.kind == kind and labels["assignment"] == SPLIT:
            named = (labels["variant"], labels["version"])
            for whose, arms in wanted:
                for found in arms if whose is not None and named == _named(whose) else ():
                    slots, slot, arm = found.setdefault(epoch, {}), copy.slot or 0, arm_of(copy, shape)
                    slots[slot] = slots[slot] + arm if slot in slots else arm
    return {
        e: Counted(
            candidate.get(e, {}), stable.get(e, {}), mirrored.get(e, (0, 0)), baseline.get(e, {}),
            (golden[e][0], golden[e][1]) if e in golden else (Arm(), Arm()),
        )
        for e in candidate.keys() | stable.keys() | mirrored.keys() | golden.keys()
    }  # fmt: skip


def arm_of(copy: BlockCopy, shape: Shape) -> Arm:
    """What one worker counted of one variant in its epoch. Of requests that ran
    together the first one stands for the run. `assigned` are those that chance alone assigned: a caller's
    key decides for all of its requests at once, so such requests say nothing about the split. Callers do."""
    cells, spans = copy.in_epoch, copy.spec.spans
    outcomes, assigned = cells[spans[OUTCOME]], cells[spans[ASSIGNED]]
    errors = sum(outcomes[cell] for cell in FAILURES)
    families, finite = _watched(copy)
    answered = outcomes[OK] + outcomes[NONFINITE]
    invalid = min(answered, max([outcomes[NONFINITE], *finite]))
    led, followed = cells[spans[LED]], cells[spans[FOLLOWED]]
    behind = sum(followed)
    return Arm(
        assigned=assigned[How.SPLIT_KEYED if copy.spec.kind == UNITS else How.SPLIT_DRAWN],
        done=outcomes[OK] + errors,
        errors=errors,
        latency=tuple(led),
        followed=tuple(followed) if behind else (),
        classes=_cells(families, shape.classes),
        scores=_cells(families, shape.scores),
        flags={INVALID: (answered, invalid), TOGETHER: (sum(led) + behind, behind)},
    )


def shape_of(copies: Iterable[BlockCopy], subject: Subject, outputs: tuple[str, str] = ("", "")) -> Shape | None:
    """Which watched outputs stand for classes and scores; None while one of the two versions has not been counted.
    `outputs`: those that the document names, else the first that both count alike."""
    seen: dict[tuple[str, str], dict[str, telemetry.WatchedFamily]] = {}
    for copy in copies:
        labels = copy.spec.labels
        if labels.get("model") == subject.model and copy.spec.kind == VARIANT and labels["assignment"] == SPLIT:
            families = {f"{family.kind}:{family.output}": family for family in watched_of(copy.spec)}
            seen[labels["variant"], labels["version"]] = families or seen.get(
                (labels["variant"], labels["version"]), {}
            )
    if not all(_named(whose) in seen for whose in (subject.candidate, subject.stable)):
        return None
    ours, theirs = seen[_named(subject.candidate)], seen[_named(subject.stable)]
    return Shape(
        _alike(ours, theirs, ("class",), outputs[0]), _alike(ours, theirs, ("value", "confidence"), outputs[1])
    )


def _alike(
    ours: Mapping[str, telemetry.WatchedFamily],
    theirs: Mapping[str, telemetry.WatchedFamily],
    kinds: Sequence[str],
    output: str,
) -> Watched:
    named = f" {output}" if output else ""
    found = [name for kind in kinds for name in ours if name.startswith(f"{kind}:{output}")]
    if not found:
        return Watched(problem=f"no output{named} of this kind is watched; see `watch` in model.toml")
    for name in found:
        if theirs.get(name) == ours[name]:
            family = ours[name]
            return Watched(name, len(family.labels) or len(family.edges) + 1, family.labels)
    return Watched(problem=f"the two versions do not count {found[0].partition(':')[2]} alike")


def _watched(copy: BlockCopy) -> tuple[dict[str, Sequence[int]], list[int]]:
    """Cells by `kind:output`, and how many requests had numbers that are not finite, for each output of numbers."""
    first, start = copy.in_epoch[copy.spec.spans[telemetry.FIRST]], 0
    families: dict[str, Sequence[int]] = {}
    infinite = []
    for kind, output, count in _layout(copy):
        cells = first[start : start + count]
        start += count
        if kind != "class":
            infinite.append(cells[-1])
            cells = cells[:-1]
        families[f"{kind}:{output}"] = cells
    return families, infinite


def _layout(copy: BlockCopy) -> list[tuple[str, str, int]]:
    return [
        (kind, output, len(labels) if kind == "class" else len(edges) + 2)
        for output, kind, labels, edges in copy.spec.meta["watched"]
    ]


def _cells(families: Mapping[str, Sequence[int]], watched: Watched) -> tuple[int, ...]:
    """None where this worker counts something else under the name: the files changed."""
    found = families.get(watched.family, ())
    return tuple(found) if len(found) == watched.cells else ()


def _golden(copy: BlockCopy) -> Arm:
    """Rows that ended, and those that failed; what found no room, or was taken back, says nothing."""
    outcomes = copy.in_epoch[copy.spec.spans[OUTCOME]]
    failed = sum(outcomes[cell] for cell in (ERROR, Outcome.TIMEOUT, NONFINITE))
    return Arm(done=outcomes[OK] + failed, errors=failed)


def _mirrored(copy: BlockCopy) -> tuple[int, int]:
    """Runs that ended, and those of them that raised. What a busy worker could not run in time says nothing about the
    version, and stable's numbers that are not finite are no errors either unless the route refuses them."""
    outcomes = copy.in_epoch[copy.spec.spans[OUTCOME]]
    return outcomes[OK] + outcomes[NONFINITE] + outcomes[ERROR], outcomes[ERROR]


def _named(whose: tuple[str, int]) -> tuple[str, str]:
    return whose[0], str(whose[1])


def _plus(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    first, second = map(add, one, other)
    return first, second
