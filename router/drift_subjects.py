"""From the counters of all workers to what is watched for drift: inputs of a model, and outputs of its main version."""

from collections.abc import Iterable, Mapping, Sequence
from operator import add

from router import telemetry
from router.drift import Counts
from router.drift_windows import Bad, Subject
from router.input_match import Arm, Split
from router.inputs import BAD, QUALITY, FeatureCounts, input_counts
from router.leaving import INPUTS
from router.routes import Route, Variant
from router.tally import BlockCopy, by_epoch, total
from router.telemetry import WatchedFamily, watched_of

NON_FINITE = "non_finite"


def subjects_of(copies: Sequence[BlockCopy], route: Route) -> tuple[Subject, ...]:
    """All that is watched of a model: every version's inputs together, which must look alike, and the outputs of the
    variant with the largest weight."""
    own = [copy for copy in copies if copy.spec.labels.get("model") == route.model]
    looked = _newest(copy for copy in own if copy.spec.kind == INPUTS)
    inputs = _merged(found.features for found in input_counts(total(looked)))
    references = {output: tuple(counts) for copy in looked[:1] for output, counts in copy.spec.meta["outputs"].items()}
    main = main_variant(route)
    outputs = () if main is None else _outputs(own, main, references)
    return (*(_input(found) for found in inputs.values()), *outputs)


def main_variant(route: Route) -> Variant | None:
    """The variant with the largest weight."""
    return max(route.variants, key=lambda variant: variant.weight_ppm, default=None)


def pairs_of(route: Route) -> dict[str, tuple[Variant, Variant]]:
    """Who is compared with whom while both have weight: the first variant (a rollout's stable one) with each other one,
    under a name that no other rollout's comparison has."""
    weighted = [variant for variant in route.variants if variant.weight_ppm > 0]
    if not weighted:
        return {}
    first, salt = weighted[0], route.salt or route.model
    return {f"{salt} {first.name}:{first.version} {one.name}:{one.version}": (first, one) for one in weighted[1:]}


def splits_of(copies: Sequence[BlockCopy], route: Route) -> tuple[Split, ...]:
    """The counts of each pair of which both have had requests in the route's epoch."""
    own = (c for c in copies if c.spec.kind == INPUTS and c.spec.labels.get("model") == route.model)
    arms: dict[str, dict[str, FeatureCounts]] = {}
    for found in input_counts(by_epoch(own).get(route.epoch, ())):
        arms[found.variant] = _merged([found.features], arms.get(found.variant))
    return tuple(
        _split(name, route.epoch, arms[stable.name], arms[other.name])
        for name, (stable, other) in pairs_of(route).items()
        if stable.name in arms and other.name in arms
    )


def _split(name: str, epoch: int, stable: Mapping[str, FeatureCounts], own: Mapping[str, FeatureCounts]) -> Split:
    names = [one for one in own if one in stable and own[one].feature == stable[one].feature]
    kinds = {one: own[one].feature.kind for one in names}
    return Split(name, epoch, kinds, candidate=_arm(own, names), stable=_arm(stable, names))


def _arm(found: Mapping[str, FeatureCounts], names: Iterable[str]) -> Arm:
    return {name: found[name].match for name in names}


def _newest(copies: Iterable[BlockCopy]) -> list[BlockCopy]:
    """Blocks whose features are declared as in the newest epoch: `model.toml` may have changed since others."""
    found = list(copies)
    newest = max(found, key=lambda copy: -1 if copy.epoch is None else copy.epoch, default=None)
    return [copy for copy in found if newest is not None and copy.spec.meta == newest.spec.meta]


def _merged(
    parts: Iterable[tuple[FeatureCounts, ...]], before: Mapping[str, FeatureCounts] | None = None
) -> dict[str, FeatureCounts]:
    sums = dict(before or {})
    for part in parts:
        for one in part:
            known = sums.get(one.feature.name)
            sums[one.feature.name] = one if known is None or known.feature != one.feature else _plus(known, one)
    return sums


def _plus(one: FeatureCounts, other: FeatureCounts) -> FeatureCounts:
    pairs = ((one.bins, other.bins), (one.quality, other.quality), (one.match, other.match))
    return FeatureCounts(one.feature, *(tuple(map(add, *pair)) for pair in pairs))


def _input(found: FeatureCounts) -> Subject:
    feature = found.feature
    bad = tuple(Bad(word, found.quality[QUALITY.index(word)], feature.baseline(word)) for word in BAD)
    return Subject(
        side="input",
        name=feature.name,
        kind=feature.kind,
        counts=found.bins,
        reference=feature.reference,
        edges=feature.edges,
        bad=bad,
        critical=feature.critical,
    )


def _outputs(own: Sequence[BlockCopy], main: Variant, references: Mapping[str, Counts]) -> tuple[Subject, ...]:
    copies = [copy for copy in own if copy.spec.kind == telemetry.VARIANT and _is_split_of(copy, main)]
    # A variant that got its weight before its version was loaded also has a block that watches nothing.
    newest = max((c for c in copies if watched_of(c.spec)), key=lambda copy: copy.epoch or 0, default=None)
    if newest is None:
        return ()
    watched = watched_of(newest.spec)
    alike = [copy for copy in total(copies) if watched_of(copy.spec) == watched]
    sums: list[int] = []
    for copy in alike:
        first = copy.family(telemetry.FIRST)
        sums = list(map(add, sums, first)) if sums else list(first)
    subjects, start = [], 0
    for family in watched:
        cells = tuple(sums[start : start + family.cell_count])
        start += family.cell_count
        subjects.append(_output(family, cells, references.get(family.output, ()), main.version))
    return tuple(subjects)


def _is_split_of(copy: BlockCopy, main: Variant) -> bool:
    labels = copy.spec.labels
    return labels["assignment"] == "split" and labels["version"] == str(main.version)


def _output(family: WatchedFamily, cells: Counts, reference: Counts, version: int) -> Subject:
    """The last cell is "other" for classes and "not finite" for numbers; references know neither."""
    fits = len(reference) == len(cells) - 1
    is_class = family.kind == "class"
    return Subject(
        side="output",
        name=family.output if family.kind != "confidence" else f"{family.output} (confidence)",
        kind="category" if is_class else "number",
        counts=cells,
        reference=(*reference, 0) if fits else (),
        edges=family.edges,
        bad=() if is_class else (Bad(NON_FINITE, cells[-1]),),
        version=version,
    )
