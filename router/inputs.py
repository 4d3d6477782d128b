"""What is counted of sampled inputs: where the values of declared features fall, and which of them are no good.

Each sampled request adds one cell to each family of each feature: `bins`, `quality`, and, where the request was dealt
to its version independently of the others, `match`. A block belongs to one epoch of the route at a time; its directory
entry carries the reference, so that whoever reads the counts needs no model file.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from router.blocks import Block
from router.drift import Counts, ValueKind
from router.layout import BlockSpec
from router.leaving import INPUTS
from router.tally import BlockCopy, labels_of
from router.telemetry import Recorder, SeriesName

QUALITY = ("ok", "missing", "out_of_range", "unseen", "wrong_type")
BAD = QUALITY[1:]
DROPPED_INPUTS = ("queue_full", "too_large")
MAX_FEATURES = 64
TAKEN, DROPPED, BINS, GOODNESS, MATCH = "taken", "dropped", "bins", "quality", "match"


@dataclass(frozen=True, slots=True)
class Feature:
    """One declared feature. A number has a bin each edge (value <= edge) and one above; a category one each label and
    one for the others; behind them both have one for missing values. `reference`: counts of these bins when the model
    was trained, () where nobody says."""

    name: str
    kind: ValueKind
    edges: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    reference: Counts = ()
    critical: bool = False

    @property
    def bins(self) -> int:
        return (len(self.edges) if self.kind == "number" else len(self.labels)) + 2

    def baseline(self, quality: str) -> tuple[int, int]:
        """How many values of the reference were bad in this way, and how many there were."""
        found = {"missing": self.reference[-1:], "unseen": self.reference[-2:-1] if self.kind == "category" else ()}
        return sum(found.get(quality, ())), sum(self.reference)


@dataclass(frozen=True, slots=True)
class FeatureCounts:
    """One feature, all workers added up."""

    feature: Feature
    bins: Counts
    quality: Counts
    match: Counts


@dataclass(frozen=True, slots=True)
class InputCounts:
    """One variant's sampled inputs. `references`: counts of the model's outputs when it was trained, by output."""

    model: str
    version: int
    variant: str
    taken: int
    dropped: Mapping[str, int]
    features: tuple[FeatureCounts, ...]
    references: Mapping[str, Counts]


class InputSeries:
    """Where one worker counts the inputs of one variant. `taken` and `dropped` are for the event loop, `count` for one
    thread."""

    def __init__(self, block: Block, features: int) -> None:
        self._taken, self._dropped = block.family(TAKEN), block.family(DROPPED)
        families = (BINS, GOODNESS, MATCH)
        self._features = [tuple(block.family(f"{name}:{at}") for name in families) for at in range(features)]

    def taken(self) -> None:
        """A request was put in the queue."""
        self._taken[0] += 1

    def dropped(self, reason: str) -> None:
        """One of DROPPED_INPUTS."""
        self._dropped[DROPPED_INPUTS.index(reason)] += 1

    def count(self, feature: int, cells: Sequence[int], qualities: Sequence[int], independent: Sequence[bool]) -> None:
        """Values of one feature, by its number in the block: a bin, a place in QUALITY, and whether it was dealt
        independently."""
        bins, goodness, match = self._features[feature]
        for cell, quality, own in zip(cells, qualities, independent, strict=True):
            bins[cell] += 1
            goodness[quality] += 1
            if own:
                match[cell] += 1


def input_series(
    recorder: Recorder, name: SeriesName, features: Sequence[Feature], references: Mapping[str, Counts], now_ns: int
) -> InputSeries:
    """Where to count. Raises ResourceExhausted without room."""
    return InputSeries(recorder.epoch_block(input_spec(name, features, references), name.epoch, now_ns), len(features))


def input_spec(name: SeriesName, features: Sequence[Feature], references: Mapping[str, Counts]) -> BlockSpec:
    """The block of a variant's inputs."""
    labels = {"model": name.model, "version": str(name.version), "variant": name.variant}
    families = [(TAKEN, 1), (DROPPED, 8)]
    for at, feature in enumerate(features):
        families += [(f"{BINS}:{at}", feature.bins), (f"{GOODNESS}:{at}", 8), (f"{MATCH}:{at}", feature.bins)]
    told = [[f.name, f.kind, f.edges, f.labels, f.reference, f.critical] for f in features]
    meta = {"features": told, "outputs": {output: list(counts) for output, counts in references.items()}}
    return BlockSpec(INPUTS, labels, tuple(families), epochs=True, meta=meta)


def input_counts(copies: Iterable[BlockCopy]) -> Iterator[InputCounts]:
    """The counts in each block of inputs; add the blocks up first (`tally.total`, `tally.by_epoch`)."""
    for copy in copies:
        if copy.spec.kind == INPUTS:
            yield _counts_of(copy)


def features_of(spec: BlockSpec) -> tuple[Feature, ...]:
    """The features of a block, in the order of their cells."""
    return tuple(
        Feature(name, kind, tuple(edges), tuple(labels), tuple(reference), critical)
        for name, kind, edges, labels, reference, critical in spec.meta["features"]
    )


def _counts_of(copy: BlockCopy) -> InputCounts:
    model, version, variant = labels_of(copy, "model", "version", "variant")
    dropped = zip(DROPPED_INPUTS, copy.family(DROPPED), strict=False)
    return InputCounts(
        model=model,
        version=int(version),
        variant=variant,
        taken=copy.family(TAKEN)[0],
        dropped={reason: count for reason, count in dropped if count},
        features=tuple(_feature(copy, at, feature) for at, feature in enumerate(features_of(copy.spec))),
        references={output: tuple(counts) for output, counts in copy.spec.meta["outputs"].items()},
    )


def _feature(copy: BlockCopy, at: int, feature: Feature) -> FeatureCounts:
    bins, quality, match = (tuple(copy.family(f"{name}:{at}")) for name in (BINS, GOODNESS, MATCH))
    return FeatureCounts(feature, bins, quality[: len(QUALITY)], match)
