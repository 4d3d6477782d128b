"""When stable answers in a candidate's place, and how much of that a route may do (rulings 23 and 24)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from router.errors import Internal, Kind, SerinError
from router.layout import Outcome
from router.routes import PPM, Fallback
from router.safeguards import FallbackReason
from service.runtime.accused import Poison

WINDOW_SECONDS = 10
LEAST_RETRIES = 3
"""A quiet route may always do so many in the window: a share of next to nothing would end at the first failure."""

SPENT_NS = 60_000_000_000
"""How long a candidate whose budget is spent is left alone, unless the route changes before."""

OUTCOME_OF_REASON: Final[Mapping[FallbackReason, Outcome]] = {
    "timeout": Outcome.TIMEOUT,
    "shed": Outcome.SHED,
    "error": Outcome.ERROR,
    "nonfinite": Outcome.NONFINITE,
}
REASON_OF_KIND: Final[Mapping[Kind, FallbackReason]] = {
    Kind.DEADLINE_EXCEEDED: "timeout",
    Kind.RESOURCE_EXHAUSTED: "shed",
    Kind.UNAVAILABLE: "shed",
    Kind.NOT_FOUND: "shed",
    Kind.INTERNAL: "error",
}
"""What a candidate that the split has chosen can fail with. That it is not there is its own fault, not the caller's."""


class NonFiniteAnswer(Internal):
    """A candidate answered NaN or an infinity, and another variant may answer instead."""


def reason_of(error: Exception) -> FallbackReason | None:
    """Why another variant is to answer; None for what is the caller's own doing."""
    if isinstance(error, NonFiniteAnswer):
        return "nonfinite"
    if isinstance(error, Poison):
        return "error"
    if isinstance(error, SerinError):
        return REASON_OF_KIND.get(error.kind)
    return "error"


def half_time(now_ns: int, deadline_ns: int) -> int:
    """The deadline of a candidate: at most half of what remains is its own."""
    return now_ns + max(0, deadline_ns - now_ns) // 2


class Window:
    """How often something happened in the last WINDOW_SECONDS whole seconds. Seconds must not go back."""

    __slots__ = ("_counts", "_second", "total")

    def __init__(self) -> None:
        self._counts = [0] * WINDOW_SECONDS
        self._second = 0
        self.total = 0

    def add(self, second: int, count: int = 1) -> None:
        """It happened `count` times in `second`; 0 only lets the old ones go."""
        if second != self._second:
            for passed in range(max(self._second + 1, second - WINDOW_SECONDS + 1), second + 1):
                self.total -= self._counts[passed % WINDOW_SECONDS]
                self._counts[passed % WINDOW_SECONDS] = 0
            self._second = second
        self._counts[second % WINDOW_SECONDS] += count
        self.total += count


@dataclass(slots=True)
class Budget:
    """How many of a route's requests are run a second time. All times are nanoseconds of one clock. `spent`: until when
    variants that spent it are left alone, also when that is over."""

    share_ppm: int
    _requests: Window = field(default_factory=Window)
    _retries: dict[str, Window] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)

    def request(self, now_ns: int, count: int = 1) -> None:
        """The route got a request, or so many."""
        self._requests.add(now_ns // 1_000_000_000, count)

    def retry(self, variant: str, now_ns: int) -> bool:
        """A request of `variant` is run again. Whether this spends the budget: its like are then not to be chosen."""
        second = now_ns // 1_000_000_000
        self._retries.setdefault(variant, Window()).add(second)
        for window in (self._requests, *self._retries.values()):
            window.add(second, 0)
        if sum(window.total for window in self._retries.values()) < self.allowed():
            return False
        worst = max(self._retries, key=lambda name: self._retries[name].total)
        first_time = not self.is_spent(worst, now_ns)
        self.spent[worst] = now_ns + SPENT_NS
        return first_time

    def is_spent(self, variant: str, now_ns: int) -> bool:
        """Whether a variant is to be left alone."""
        until = self.spent.get(variant)
        return until is not None and now_ns < until

    def allowed(self) -> float:
        """Second runs in the window, at most."""
        return max(LEAST_RETRIES, self._requests.total * self.share_ppm / PPM) if self.share_ppm else 0.0


@dataclass(slots=True)
class FallbackGuard:
    """The fallback of one route in one worker."""

    rule: Fallback
    budget: Budget
    trouble: str = ""

    @classmethod
    def of(cls, rule: Fallback | None, before: "FallbackGuard | None") -> "FallbackGuard | None":
        """What the route needs; the budget goes on where the rule is the same, so that a step does not renew it."""
        if rule is None:
            return None
        return before if before is not None and before.rule == rule else cls(rule, Budget(rule.budget_ppm))

    def covers(self, variant: str) -> bool:
        """Whether another variant may answer in its place."""
        return variant != self.rule.to

    def failed(self, variant: str, reason: FallbackReason, now_ns: int) -> bool:
        """A request of `variant` goes to another. Whether that is news for the controller."""
        if not self.budget.retry(variant, now_ns):
            return False
        share = f"{self.rule.budget_ppm / 10_000:g} % of the route's requests in {WINDOW_SECONDS} s"
        self.trouble = f"fallback budget spent: {variant} failed too often ({share}), last by {reason}"
        return True
