"""What the variants of a rollout did since its present step began, from the counters of all workers.

Split and mirrored requests are those of the route's epoch; direct ones and fallbacks know no epochs, so what had been
counted when the step was first looked at is taken off. The same is done where two steps share one epoch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import add, sub
from typing import Any

from router import telemetry
from router.figures import Cells, Counts, Family
from router.layout import ASSIGNED, OUTCOME
from router.mirrors import DROPPED, MIRROR, PAIRS
from router.routes import Route
from router.safeguards import FALLBACK_REASONS
from router.tally import BlockCopy, by_epoch, total
from router.telemetry import watched_of

SPLIT, DIRECT, MIRRORED, FALLBACK = "split", "direct", "mirrored", "fallback"
_OF_EPOCH = (SPLIT, MIRRORED)

Base = Mapping[str, Mapping[str, Mapping[str, Mapping[str, int]]]]
"""section -> variant -> family -> cell -> count: JSON, zeros left out."""


@dataclass(frozen=True, slots=True)
class Reading:
    """All counts of the variants of one route, by section and variant."""

    epoch: int
    sections: Mapping[str, Mapping[str, Counts]] = field(default_factory=dict)

    def counts(self, section: str, variant: str) -> Counts:
        """What is counted there; nothing when there is nothing."""
        return self.sections.get(section, {}).get(variant, Counts())


def read_counts(copies: Sequence[BlockCopy], route: Route) -> Reading:
    """One reading of the workers (`tally.Reader.read`), for the variants and mirrors of a route."""
    own = [copy for copy in copies if copy.spec.labels.get("model") == route.model]
    of_epoch = by_epoch(copy for copy in own if copy.spec.kind in (telemetry.VARIANT, MIRROR))
    blocks = of_epoch.get(route.epoch, [])
    names = {variant.name: str(variant.version) for variant in route.variants}
    mirrors = {mirror.variant or str(mirror.version): str(mirror.version) for mirror in route.mirrors}
    variants = (copy for copy in own if copy.spec.kind == telemetry.VARIANT)
    direct = total(copy for copy in variants if copy.spec.labels["assignment"] == DIRECT)
    served = total(copy for copy in own if copy.spec.kind == telemetry.SERVED)
    sections = {
        SPLIT: _variants((copy for copy in blocks if copy.spec.kind == telemetry.VARIANT), names),
        DIRECT: _variants(direct, names),
        MIRRORED: _mirrors((copy for copy in blocks if copy.spec.kind == MIRROR), mirrors),
        FALLBACK: _fallbacks(served, names),
    }
    return Reading(route.epoch, sections)


def base_of(reading: Reading, sections: Iterable[str]) -> Base:
    """What is to be taken off later readings."""
    of = reading.sections
    return {section: {name: _sparse(counts) for name, counts in of[section].items()} for section in sections}


def base_at_start(reading: Reading, epoch_before: int | None) -> Base:
    """The base of a step that begins with this reading. `epoch_before`: in which the step before ended."""
    shared = _OF_EPOCH if epoch_before == reading.epoch else ()
    return base_of(reading, (DIRECT, FALLBACK, *shared))


def without_epoch(base: Base) -> Base:
    """The base when the epoch has changed since."""
    return {section: counts for section, counts in base.items() if section not in _OF_EPOCH}


def since(reading: Reading, base: Base) -> Reading:
    """The reading less its base. Counts that are below it began again (a lost state directory): all of them count."""
    sections = {
        section: {name: _less(counts, base.get(section, {}).get(name, {})) for name, counts in variants.items()}
        for section, variants in reading.sections.items()
    }
    return Reading(reading.epoch, sections)


def _variants(copies: Iterable[BlockCopy], names: Mapping[str, str]) -> dict[str, Counts]:
    found: dict[str, Counts] = {}
    for copy in copies:
        name = copy.spec.labels["variant"]
        if names.get(name) == copy.spec.labels["version"]:
            found[name] = _plus(found.get(name), _of_variant(copy))
    return found


def _of_variant(copy: BlockCopy) -> Counts:
    first, start, families = copy.family(telemetry.FIRST), 0, {}
    for watched in watched_of(copy.spec):
        cells = tuple(first[start : start + watched.cell_count])
        start += watched.cell_count
        families[f"{watched.kind}:{watched.output}"] = Family(cells, watched.labels, watched.edges)
    plain = {OUTCOME: tuple(copy.family(OUTCOME)), telemetry.LATENCY: tuple(telemetry.latency_of(copy.family))}
    return Counts(plain, families)


def _mirrors(copies: Iterable[BlockCopy], names: Mapping[str, str]) -> dict[str, Counts]:
    found: dict[str, Counts] = {}
    for copy in copies:
        name = copy.spec.labels["variant"] or copy.spec.labels["version"]
        if names.get(name) == copy.spec.labels["version"]:
            counts = Counts(
                {
                    OUTCOME: tuple(copy.family(OUTCOME)),
                    telemetry.LATENCY: tuple(copy.family(telemetry.LATENCY)),
                    PAIRS: tuple(copy.family(PAIRS)),
                    "sampled": (sum(copy.family(ASSIGNED)), sum(copy.family(DROPPED))),
                }
            )
            found[name] = _plus(found.get(name), counts)
    return found


def _fallbacks(copies: Iterable[BlockCopy], names: Mapping[str, str]) -> dict[str, Counts]:
    found: dict[str, Counts] = {}
    for copy in copies:
        name = copy.spec.labels["instead_of"]
        if name in names and copy.spec.labels["reason"] in FALLBACK_REASONS:
            found[name] = _plus(found.get(name), Counts({FALLBACK: (sum(copy.family(ASSIGNED)),)}))
    return found


def _plus(one: Counts | None, other: Counts) -> Counts:
    """The sum; of watched families that were cut differently (the files changed) the later one."""
    if one is None:
        return other
    plain, families = dict(one.plain), dict(one.families)
    for name, cells in other.plain.items():
        plain[name] = tuple(map(add, plain.get(name, (0,) * len(cells)), cells))
    for name, family in other.families.items():
        known = families.get(name)
        same = known is not None and (known.labels, known.edges) == (family.labels, family.edges)
        summed = tuple(map(add, known.cells, family.cells)) if known is not None and same else family.cells
        families[name] = Family(summed, family.labels, family.edges)
    return Counts(plain, families)


def _sparse(counts: Counts) -> dict[str, dict[str, int]]:
    cells: dict[str, Cells] = {**counts.plain, **{name: family.cells for name, family in counts.families.items()}}
    return {name: {str(at): count for at, count in enumerate(found) if count} for name, found in cells.items()}


def _less(counts: Counts, base: Mapping[str, Any]) -> Counts:
    plain = {name: _cells_less(cells, base.get(name, {})) for name, cells in counts.plain.items()}
    families = {
        name: Family(_cells_less(family.cells, base.get(name, {})), family.labels, family.edges)
        for name, family in counts.families.items()
    }
    return Counts(plain, families)


def _cells_less(cells: Cells, base: Mapping[str, int]) -> Cells:
    if not base:
        return cells
    left = tuple(map(sub, cells, (base.get(str(at), 0) for at in range(len(cells)))))
    return cells if any(count < 0 for count in left) else left
