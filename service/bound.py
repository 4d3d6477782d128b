"""A route made ready for requests: names as the bytes that arrive, and where its requests are counted."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from router.errors import InvalidArgument
from router.routes import Route, Variant
from router.telemetry import How, VariantSeries
from service.calls import Tap
from service.feedback import Stamp
from service.guards import Guards
from service.protocol.messages import Parameter
from service.runtime.engine import Loaded
from service.virtual import VirtualArm


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

    def draw(self, how: How, key: bytes | None, now_ns: int) -> VariantSeries | None:
        """Where a request of the split counts once more, if it is drawn for the self-check; it is counted as given
        there then."""
        virtual = self.virtual
        if virtual is None or not virtual.takes(key, now_ns):
            return None
        virtual.series.assigned(how)
        return virtual.series


@dataclass(slots=True)
class BoundRoute:
    """`main`: the variant with most weight. `reached`: versions that requests get which name none. `series`: by name,
    version and whether requests went past the split. `shares`: some of its variants run requests together. `sole`: the
    one version that is reached, if it is one. `arms`: of `series`, those that plain requests were split among."""

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
    arms: dict[str, Bound] = field(default_factory=dict)

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
