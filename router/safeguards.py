"""What a route may carry beside its split: who answers for whom, who runs along, how many are exposed."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Final, Literal

from router.names import MAX_VERSION, NAME_RULE, PPM, is_int, is_name, is_text, require

MAX_MIRRORS: Final = 8
MAX_COMPARISONS: Final = 32
MAX_WORST: Final = 100
DEFAULT_WORST: Final = 10
MAX_EXPOSURE: Final = 1_000_000_000
MAX_EXPOSED_KEYS: Final = 1_000_000
MAX_UNIT_STEPS: Final = 1000

FallbackReason = Literal["timeout", "shed", "error", "nonfinite"]
FALLBACK_REASONS: Final[tuple[FallbackReason, ...]] = ("timeout", "shed", "error", "nonfinite")
ComparisonKind = Literal["exact", "tolerance", "argmax", "top_k", "cosine"]
COMPARISON_KINDS: Final[tuple[ComparisonKind, ...]] = ("exact", "tolerance", "argmax", "top_k", "cosine")


@dataclass(frozen=True, slots=True)
class Fallback:
    """What another variant of the split fails to answer, variant `to` answers. `reasons`: failures this is done for.

    `budget_ppm`: at most this share of the route's requests in 10 s is run twice (rulings 24); when it is spent a
    worker stops choosing the variants that fail.
    """

    to: str
    reasons: tuple[FallbackReason, ...] = FALLBACK_REASONS
    budget_ppm: int = 200_000


@dataclass(frozen=True, slots=True)
class Comparison:
    """When two answers count as the same in one output. `output` "*" stands for those that no other entry names.

    exact: every element equal. tolerance: |a - b| <= absolute + relative * |b|, b the stable answer. argmax: the same
    place of the greatest number in the last dimension. top_k: of the `k` greatest, a share of `least` in common.
    cosine: the cosine of the two rows is at least `least`.
    """

    output: str
    kind: ComparisonKind
    absolute: float = 0.0
    relative: float = 0.0
    k: int = 5
    least: float = 0.999


@dataclass(frozen=True, slots=True)
class Mirror:
    """A share of the split's requests is also run on `version`; nobody waits for it, and it answers nobody.

    `variant`: the name it is counted under, "" is the version's number. `against`: the variant whose requests are
    copied; "" means every one that has another version. A mirror of the version that answers (named by `against`)
    measures the noise floor. `compare`: by output; what is not named follows the model's meaning, else the datatype.
    `worst`: how many of the most different pairs a worker keeps; `keep_inputs` keeps their inputs too, `keep_values`
    what both answered.
    """

    version: int
    share_ppm: int = PPM
    variant: str = ""
    against: str = ""
    compare: tuple[Comparison, ...] = ()
    worst: int = DEFAULT_WORST
    keep_inputs: bool = False
    keep_values: bool = True


MOST_GOLDEN: Final = 100
"""Golden rows a second, in a worker."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """At most so many requests, keys or failures on `variant` in this rollout; later requests go to variant `to`.

    A limit of None does not limit. Counted by host, over all steps of the rollout `rollout`, beyond restarts.
    """

    rollout: str
    variant: str
    to: str
    requests: int | None = None
    keys: int | None = None
    failures: int | None = None


@dataclass(frozen=True, slots=True)
class Units:
    """Callers are counted beside requests, each with its first one, in this step of the rollout if it belongs there: a
    caller belongs to one of `steps` steps, by its key."""

    rollout: str
    step: int = 0
    steps: int = 1


@dataclass(frozen=True, slots=True)
class Golden:
    """Each worker also runs so many golden rows a second on the variant and on the one that it is held against."""

    variant: str
    against: str
    per_second: float


def check_golden(golden: Golden | None, versions: Mapping[str, int]) -> None:
    """Raises InvalidArgument. `versions`: of the route's variants by name."""
    if golden is None:
        return
    known = ", ".join(sorted(versions))
    for name in (golden.variant, golden.against):
        require(name in versions, "golden", f"names no variant of this route ({known})")
    require(0 < golden.per_second <= MOST_GOLDEN, "golden.per_second", f"must be above 0 and at most {MOST_GOLDEN}")


def check_fallback(fallback: Fallback | None, versions: Mapping[str, int]) -> None:
    """Raises InvalidArgument. `versions`: of the route's variants by name."""
    if fallback is None:
        return
    known = ", ".join(sorted(versions))
    require(fallback.to in versions, "fallback.to", f"names no variant of this route ({known})")
    require(bool(fallback.reasons), "fallback.reasons", "must name at least one reason; leave fallback out for none")
    for index, reason in enumerate(fallback.reasons):
        require(reason in FALLBACK_REASONS, f"fallback.reasons[{index}]", f"must be of {', '.join(FALLBACK_REASONS)}")
    share = is_int(fallback.budget_ppm) and 0 <= fallback.budget_ppm <= PPM
    require(share, "fallback.budget_ppm", "must be 0 to 1000000")


def check_mirrors(mirrors: tuple[Mirror, ...], versions: Mapping[str, int]) -> None:
    """Raises InvalidArgument."""
    require(len(mirrors) <= MAX_MIRRORS, "mirrors", f"must be at most {MAX_MIRRORS}")
    names = [mirror.variant or str(mirror.version) for mirror in mirrors]
    require(len(set(names)) == len(names), "mirrors", "two of them have the same name; give `variant`")
    for index, mirror in enumerate(mirrors):
        _check_mirror(mirror, f"mirrors[{index}]", versions)


def check_exposure(exposure: Exposure | None, versions: Mapping[str, int]) -> None:
    """Raises InvalidArgument."""
    if exposure is None:
        return
    known = f"names no variant of this route ({', '.join(sorted(versions))})"
    named = exposure.rollout != "" and is_text(exposure.rollout, 256)
    require(named, "exposure.rollout", "must be 1 to 256 printable characters")
    require(exposure.variant in versions, "exposure.variant", known)
    require(exposure.to in versions and exposure.to != exposure.variant, "exposure.to", known + " but the exposed one")
    limits = (exposure.requests, exposure.keys, exposure.failures)
    require(any(limit is not None for limit in limits), "exposure", "must limit requests, keys or failures")
    _check_limit(exposure.requests, "exposure.requests", MAX_EXPOSURE)
    _check_limit(exposure.keys, "exposure.keys", MAX_EXPOSED_KEYS)
    _check_limit(exposure.failures, "exposure.failures", MAX_EXPOSURE)


def check_units(units: Units | None) -> None:
    """Raises InvalidArgument."""
    if units is None:
        return
    named = units.rollout != "" and is_text(units.rollout, 256)
    require(named, "units.rollout", "must be 1 to 256 printable characters")
    fits = is_int(units.step) and is_int(units.steps) and 0 <= units.step < units.steps <= MAX_UNIT_STEPS
    require(fits, "units.step", f"must be 0 or more and below units.steps, of which there are at most {MAX_UNIT_STEPS}")


def _check_mirror(mirror: Mirror, at: str, versions: Mapping[str, int]) -> None:
    require(is_int(mirror.version) and 0 < mirror.version <= MAX_VERSION, f"{at}.version", "must be 1 or more")
    require(is_int(mirror.share_ppm) and 0 <= mirror.share_ppm <= PPM, f"{at}.share_ppm", "must be 0 to 1000000")
    require(mirror.variant == "" or is_name(mirror.variant), f"{at}.variant", NAME_RULE)
    against = mirror.against == "" or mirror.against in versions
    require(against, f"{at}.against", f"names no variant of this route ({', '.join(sorted(versions))})")
    require(is_int(mirror.worst) and 0 <= mirror.worst <= MAX_WORST, f"{at}.worst", f"must be 0 to {MAX_WORST}")
    require(len(mirror.compare) <= MAX_COMPARISONS, f"{at}.compare", f"must be at most {MAX_COMPARISONS}")
    outputs = [comparison.output for comparison in mirror.compare]
    require(len(set(outputs)) == len(outputs), f"{at}.compare", "names an output twice")
    for index, comparison in enumerate(mirror.compare):
        _check_comparison(comparison, f"{at}.compare[{index}]")


def _check_comparison(comparison: Comparison, at: str) -> None:
    named = comparison.output != "" and is_text(comparison.output, 256)
    require(named, f"{at}.output", "must be an output's name, or * for the others")
    require(comparison.kind in COMPARISON_KINDS, f"{at}.kind", f"must be one of {', '.join(COMPARISON_KINDS)}")
    for name in ("absolute", "relative"):
        amount: float = getattr(comparison, name)
        require(isfinite(amount) and amount >= 0, f"{at}.{name}", "must be a number of 0 or more")
    require(is_int(comparison.k) and 1 <= comparison.k <= 1000, f"{at}.k", "must be 1 to 1000")
    require(isfinite(comparison.least) and -1 <= comparison.least <= 1, f"{at}.least", "must be -1 to 1")


def _check_limit(limit: int | None, at: str, most: int) -> None:
    require(limit is None or (is_int(limit) and 0 < limit <= most), at, f"must be 1 to {most}")
