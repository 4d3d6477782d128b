"""`model.toml`: what inputs and outputs mean, which versions to load, how to run them. Every key is optional."""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from router.errors import InvalidArgument
from service.runtime.repository import MANIFEST_FILE
from service.watch import Kind, OutputMeaning

Version = Annotated[int, Field(ge=1, lt=10**18)]
Number = Annotated[float, Field(allow_inf_nan=False)]
MAX_LABELS = 1000
MAX_EDGES = 200


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


class Execution(_Part):
    """How its versions are run; what is not said follows the settings of the server."""

    mode: Literal["auto", "inline", "thread"] = "auto"
    max_concurrency: int | None = Field(default=None, ge=1, le=1024)
    max_queue: int | None = Field(default=None, ge=0, le=1_000_000)
    timeout_seconds: float | None = Field(default=None, gt=0, le=86_400)


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
    execution: Execution = Execution()
    golden: Golden | None = None

    @model_validator(mode="after")
    def _default_is_loaded(self) -> "Manifest":
        if self.default_version and self.versions is not None and self.default_version not in self.versions:
            raise ValueError(f"default_version {self.default_version} is not among versions")
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

    def strangers(self, inputs: set[str], outputs: set[str]) -> list[str]:
        """Keys that speak of inputs or outputs that a version does not have: worth a note, not a refusal."""
        return [
            f"{part}.{name}"
            for part, names, known in (
                ("inputs", self.inputs, inputs),
                ("outputs", self.outputs, outputs),
                ("reference", self.reference, outputs),
            )
            for name in names
            if name not in known
        ]

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
        "execution": Execution,
        "golden": Golden,
    }
    return list((Manifest if len(where) == 1 else parts.get(str(where[0]), Manifest)).model_fields)
