"""`model.toml`: what inputs and outputs mean, which versions to load, how to run them. Every key is optional."""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from router.errors import InvalidArgument
from router.inputs import MAX_FEATURES, Feature
from service.features import Declared
from service.runtime.repository import MANIFEST_FILE
from service.watch import Kind, OutputMeaning

Version = Annotated[int, Field(ge=1, lt=10**18)]
Number = Annotated[float, Field(allow_inf_nan=False)]
MAX_LABELS = 1000
MAX_EDGES = 200
MAX_PROVIDERS = 8
MAX_CATEGORIES = 20
MAX_FEATURE_EDGES = 50


class ManifestError(InvalidArgument):
    """`model.toml` cannot be used; the message names the key."""


class _Part(BaseModel):
    # Lists of TOML become tuples; all else is strict, so that "1" is never a version and 1 never a label.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _tuple(longest: int) -> Any:
    return Field(default=(), strict=False, max_length=longest)


class InputFacts(_Part):
    """Of one input: for people, and the range in which its values are expected."""

    description: str = ""
    units: str = ""
    range: tuple[Number, ...] = _tuple(2)

    @model_validator(mode="after")
    def _range_is_a_pair(self) -> "InputFacts":
        if self.range and (len(self.range) != 2 or self.range[0] > self.range[1]):
            raise ValueError("range must be [lowest, highest]")
        return self


class OutputFacts(_Part):
    """Of one output: what it is. Without a kind it is not watched."""

    kind: Kind | None = None
    description: str = ""
    units: str = ""
    labels: tuple[str, ...] = _tuple(MAX_LABELS)


class Reference(_Part):
    """How an output was distributed when the model was trained: counts per class, or per bin between edges."""

    counts: tuple[Annotated[int, Field(ge=0)], ...] = _tuple(MAX_LABELS)
    edges: tuple[Number, ...] = _tuple(MAX_EDGES)

    @model_validator(mode="after")
    def _bins_fit(self) -> "Reference":
        if any(later <= earlier for earlier, later in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges must grow")
        if self.edges and self.counts and len(self.counts) != len(self.edges) + 1:
            bins = len(self.edges) + 1
            raise ValueError(f"{len(self.edges)} edges make {bins} bins, but there are {len(self.counts)} counts")
        return self


class FeatureFacts(_Part):
    """One feature that is watched for drift: where it is, and how it was distributed when the model was trained.

    With `categories` it is one of these; else a number, in bins between `edges` or, without them, ten in its range.
    """

    input: str
    column: int = Field(default=0, ge=0, lt=10**9)
    categories: tuple[str, ...] = _tuple(MAX_CATEGORIES)
    edges: tuple[Number, ...] = _tuple(MAX_FEATURE_EDGES)
    counts: tuple[Annotated[int, Field(ge=0)], ...] = _tuple(MAX_CATEGORIES + 1)
    missing: int = Field(default=0, ge=0)
    range: tuple[Number, ...] = _tuple(2)

    @model_validator(mode="after")
    def _says_where_values_fall(self) -> "FeatureFacts":
        if self.categories and (self.edges or self.range):
            raise ValueError("categories have neither edges nor a range")
        if any(later <= earlier for earlier, later in pairwise(self.edges)):
            raise ValueError("edges must grow")
        if self.range and (len(self.range) != 2 or self.range[0] >= self.range[1]):
            raise ValueError("range must be [lowest, highest]")
        if self.counts and self.categories and len(self.counts) != len(self.categories) + 1:
            raise ValueError(f"counts must be {len(self.categories) + 1}: one each category, and the others")
        if self.counts and not self.categories and len(self.counts) != len(self.edges) + 1:
            raise ValueError(f"{len(self.edges)} edges make {len(self.edges) + 1} bins, not {len(self.counts)}")
        return self


class DriftFacts(_Part):
    """How inputs are watched. `critical`: features of which one alone raises the alarm of the whole model."""

    per_second: int = Field(default=100, ge=0, le=10_000)
    critical: tuple[str, ...] = _tuple(MAX_FEATURES)


class Execution(_Part):
    """How its versions are run; what is not said follows the settings of the server."""

    mode: Literal["auto", "inline", "thread"] = "auto"
    max_concurrency: int | None = Field(default=None, ge=1, le=1024)
    adaptive_concurrency: bool | None = None
    max_queue: int | None = Field(default=None, ge=0, le=1_000_000)
    max_queue_seconds: float | None = Field(default=None, ge=0, le=86_400)
    timeout_seconds: float | None = Field(default=None, gt=0, le=86_400)
    max_batch_rows: int | None = Field(default=None, ge=1, le=65_536)
    max_wait_seconds: float = Field(default=0.0, ge=0, le=10)


class RuntimeFacts(_Part):
    """How ONNX Runtime computes its versions. `providers`: in the order in which they are wanted."""

    threads: int | None = Field(default=None, ge=1, le=256)
    spinning: bool = False
    arena: bool = True
    graph: Literal["all", "extended", "basic", "off"] = "all"
    providers: tuple[str, ...] = _tuple(MAX_PROVIDERS)


class Golden(_Part):
    """A file of inputs with the outputs that are expected of each version."""

    file: str = "golden.json"


class Manifest(_Part):
    """One `model.toml`, as a value."""

    description: str = ""
    default_version: Version | None = None
    versions: tuple[Version, ...] | None = Field(default=None, strict=False)
    labels: tuple[str, ...] = _tuple(MAX_LABELS)
    non_finite: Literal["null", "string", "token", "error"] = "null"
    inputs: Mapping[str, InputFacts] = Field(default_factory=dict)
    outputs: Mapping[str, OutputFacts] = Field(default_factory=dict)
    reference: Mapping[str, Reference] = Field(default_factory=dict)
    features: Mapping[str, FeatureFacts] = Field(default_factory=dict)
    drift: DriftFacts = DriftFacts()
    execution: Execution = Execution()
    runtime: RuntimeFacts = RuntimeFacts()
    golden: Golden | None = None

    @model_validator(mode="after")
    def _default_is_loaded(self) -> "Manifest":
        if self.default_version and self.versions is not None and self.default_version not in self.versions:
            raise ValueError(f"default_version {self.default_version} is not among versions")
        return self

    @model_validator(mode="after")
    def _features_are_known(self) -> "Manifest":
        if len(self.features) > MAX_FEATURES:
            raise ValueError(f"{len(self.features)} features are too many; at most {MAX_FEATURES} are watched")
        for name in self.drift.critical:
            if name not in self.features:
                raise ValueError(f"drift.critical names {name!r}, and there is no [features.{name}]")
        for name, facts in self.features.items():
            if not (facts.categories or facts.edges or self._limits_of(facts)):
                raise ValueError(f"features.{name} needs categories, edges or a range")
        return self

    def loads(self, version: int) -> bool:
        """Whether this version is to be loaded at all."""
        return self.versions is None or version in self.versions

    def meanings(self) -> tuple[OutputMeaning, ...]:
        """The outputs to watch, in the order of the file."""
        return tuple(
            OutputMeaning(name, facts.kind, facts.labels or self._labels_of(facts.kind), self._edges_of(name))
            for name, facts in self.outputs.items()
            if facts.kind
        )

    def declared_features(self) -> tuple[Declared, ...]:
        """The features to watch, in the order of the file."""
        return tuple(self._declared(name, facts) for name, facts in self.features.items())

    def output_references(self) -> dict[str, tuple[int, ...]]:
        """How outputs were distributed when the model was trained, by output."""
        return {name: facts.counts for name, facts in self.reference.items() if facts.counts}

    def class_labels(self, output: str) -> tuple[str, ...]:
        """The names of an output's classes, in order; none where the file gives none, or it is a plain number."""
        facts = self.outputs.get(output, OutputFacts())
        return facts.labels or self._labels_of(facts.kind or "class")

    def strangers(self, inputs: set[str], outputs: set[str]) -> list[str]:
        """Keys that speak of inputs or outputs that a version does not have: worth a note, not a refusal."""
        lost = [f"features.{name}" for name, facts in self.features.items() if facts.input not in inputs]
        return lost + [
            f"{part}.{name}"
            for part, names, known in (
                ("inputs", self.inputs, inputs),
                ("outputs", self.outputs, outputs),
                ("reference", self.reference, outputs),
            )
            for name in names
            if name not in known
        ]

    def _declared(self, name: str, facts: FeatureFacts) -> Declared:
        limits = self._limits_of(facts)
        edges = facts.edges
        if not edges and not facts.categories and limits is not None:
            low, high = limits
            edges = tuple(low + (high - low) * step / 10 for step in range(1, 10))
        feature = Feature(
            name=name,
            kind="category" if facts.categories else "number",
            edges=edges,
            labels=facts.categories,
            reference=(*facts.counts, facts.missing) if facts.counts else (),
            critical=name in self.drift.critical,
        )
        return Declared(feature, facts.input, facts.column, limits)

    def _limits_of(self, facts: FeatureFacts) -> tuple[float, float] | None:
        """The feature's own range, else that of its input."""
        of_input = self.inputs[facts.input].range if facts.input in self.inputs else ()
        found = facts.range or of_input
        return (found[0], found[1]) if found and found[0] < found[1] else None

    def _labels_of(self, kind: Kind) -> tuple[str, ...]:
        return () if kind == "value" else self.labels

    def _edges_of(self, name: str) -> tuple[float, ...]:
        return self.reference[name].edges if name in self.reference else ()


def parse_manifest(content: bytes | None) -> Manifest:
    """Read a `model.toml`; None is one that says nothing. Raises ManifestError with the key and what is wrong there."""
    if content is None:
        return Manifest()
    try:
        return Manifest.model_validate(tomllib.loads(content.decode()))
    except UnicodeDecodeError:
        raise ManifestError(f"{MANIFEST_FILE} is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{MANIFEST_FILE} is not valid TOML: {error}") from None
    except RecursionError:
        raise ManifestError(f"{MANIFEST_FILE} is nested too deeply") from None
    except ValidationError as error:
        raise ManifestError(f"{MANIFEST_FILE}: {_complaint(error)}") from None


def _complaint(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = get_close_matches(str(first["loc"][-1]), _keys_beside(first["loc"]), 1)
        return f"{key}: unknown key" + (f"; did you mean {near[0]!r}?" if near else "")
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    message = message.replace("dictionary", "table").replace("tuple", "list")
    return f"{key}: {message}" if key else message


def _keys_beside(where: tuple[int | str, ...]) -> list[str]:
    parts: dict[str, type[_Part]] = {
        "inputs": InputFacts,
        "outputs": OutputFacts,
        "reference": Reference,
        "features": FeatureFacts,
        "drift": DriftFacts,
        "execution": Execution,
        "runtime": RuntimeFacts,
        "golden": Golden,
    }
    return list((Manifest if len(where) == 1 else parts.get(str(where[0]), Manifest)).model_fields)
