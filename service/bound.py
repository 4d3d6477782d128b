"""A route made ready for requests: names as the bytes that arrive, and where its requests are counted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from router.errors import InvalidArgument
from router.routes import Route, Variant
from router.telemetry import ROUND_BITS, How, VariantSeries
from service.calls import Tap
from service.feedback import Stamp
from service.guards import Guards
from service.protocol.messages import Parameter
from service.runtime.loaded import Loaded
from service.virtual import VirtualArm

MOST_PICKS, MOST_KEY_BYTES = 4096, 128
"""Keys whose choice is remembered, of so many bytes at most."""


@dataclass(slots=True)
class Bound:
    """Of one variant: the version that this was made for, where it is counted, who takes its inputs, who signs.

    `virtual`: which of its requests are counted once more, for the self-check. `line`: what a front end has made for
    it.
    """

    model: str
    variant: Variant
    loaded: Loaded | None
    series: VariantSeries
    tap: Tap | None
    stamp: Stamp | None
    virtual: VirtualArm | None = None
    line: object = None

    def draw(self, key: bytes | None, now_ns: int) -> VariantSeries | None:
        """Where a request of the split counts once more, if it is drawn for the self-check."""
        virtual = self.virtual
        return virtual.series if virtual is not None and virtual.takes(key, now_ns) else None


class Pick(Struct):
    """Whom the split gives a request to. `twice`: where it counts once more, drawn for the self-check. `was_met`: its
    caller has been counted in this worker, if callers are, or is nobody."""

    arm: Bound
    how: How
    key: bytes | None
    twice: VariantSeries | None
    was_met: bool = False


class Picks:
    """What the split chose, so that it is worked out once for each key. Good while the same versions are loaded
    (`changes` of the engine) and for a round of the self-check, of which `now_ns` is a time.

    `by_draw`: of each variant what requests without a key get, and what they get when they are drawn for the
    self-check; `alone`: of the only one.
    """

    __slots__ = ("alone", "by_draw", "by_key", "changes", "until_ns")

    def __init__(self, changes: int, now_ns: int) -> None:
        self.changes = changes
        self.until_ns = ((now_ns >> ROUND_BITS) + 1) << ROUND_BITS
        self.by_key: dict[bytes, Pick] = {}
        self.by_draw: dict[str, tuple[Pick, Pick]] = {}
        self.alone: tuple[Pick, Pick] | None = None

    def remember(self, key: bytes, pick: Pick) -> None:
        """For as long as there is room."""
        if len(key) > MOST_KEY_BYTES:
            return
        if len(self.by_key) >= MOST_PICKS:
            self.by_key.clear()
        self.by_key[key] = pick


@dataclass(slots=True)
class BoundRoute:
    """`main`: the variant with most weight. `reached`: versions that requests get which name none. `series`: by name,
    version and whether requests went past the split. `shares`: some of its variants run requests together. `sole`: the
    one version that is reached, if it is one. `picks`: what was chosen for plain requests."""

    route: Route
    key_header: bytes | None
    key_cookie: bytes | None
    rules: tuple[tuple[bytes, bytes | None, Variant], ...]
    main: str
    reached: frozenset[int] = frozenset()
    series: dict[tuple[str, int, bool], Bound] = field(default_factory=dict)
    guards: Guards | None = None
    shares: bool = False
    sole: int | None = None
    picks: Picks = field(default_factory=lambda: Picks(-1, 0))

    @classmethod
    def of(cls, route: Route) -> "BoundRoute":
        variants = {variant.name: variant for variant in route.variants}
        rules = tuple(
            (rule.header.encode(), None if rule.value is None else rule.value.encode(), variants[rule.variant])
            for rule in route.rules
        )
        header, cookie = route.key.header, route.key.cookie
        named = {rule.variant for rule in route.rules} | ({route.fallback.to} if route.fallback else set())
        reached = frozenset(v.version for v in route.variants if v.weight_ppm > 0 or v.name in named)
        main = max(route.variants, key=lambda variant: variant.weight_ppm).name
        names = (header.encode() if header else None, cookie.encode() if cookie else None)
        sole = next(iter(reached)) if len(reached) == 1 else None
        return cls(route, *names, rules, main, reached, sole=sole)

    def let_go(self, is_held: Callable[[int, Loaded | None], bool]) -> None:
        """Forget what was made for versions as they are in memory no more, and their sessions with it. `is_held`: of a
        version, and of what it was when this was made."""
        self.series = {key: arm for key, arm in self.series.items() if is_held(key[1], arm.loaded)}
        self.picks = Picks(-1, 0)


def routing_key(bound: BoundRoute, headers: Mapping[bytes, bytes], parameters: Mapping[str, Parameter]) -> bytes | None:
    """The key of a request: header, then cookie, then V2 parameter; the first that is present and not empty."""
    if bound.key_header is not None and (value := headers.get(bound.key_header)):
        return value
    if bound.key_cookie is not None and (value := cookie_value(headers.get(b"cookie", b""), bound.key_cookie)):
        return value
    if not parameters:
        return None
    parameter = parameters.get(bound.route.key.parameter) if bound.route.key.parameter else None
    if parameter is None or parameter == "":
        return None
    if isinstance(parameter, bool) or not isinstance(parameter, (str, int)):
        raise InvalidArgument(f"the parameter `{bound.route.key.parameter}` must be a string")
    return str(parameter).encode()


def cookie_value(header: bytes, name: bytes) -> bytes | None:
    """The value of a cookie in a `Cookie` header (RFC 6265, section 4.2), as it was sent."""
    for pair in header.split(b";"):
        key, _, value = pair.strip().partition(b"=")
        if key == name:
            return value
    return None
