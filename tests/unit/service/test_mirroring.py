"""Which requests of a route are copied, and what becomes of those that cannot be just now."""

from types import SimpleNamespace
from typing import Any

import pytest

from router.layout import How
from router.routes import Mirror, Route, Variant
from service.mirroring import Mirrors

STABLE, CANDIDATE = object(), object()


class Shadow:
    def __init__(self) -> None:
        self.is_busy = False
        self.offered: list[object] = []
        self.error: Exception | None = None

    def offer(self, bound: object, found: object) -> None:
        if self.error is not None:
            raise self.error
        self.offered.append(found)


def mirrors(shadow: Shadow, *wanted: Mirror) -> tuple[Mirrors, list[str]]:
    drops: list[str] = []
    route = Route("m", (Variant("stable", 1, 1_000_000), Variant("canary", 2, 0)), mirrors=wanted)
    means: Any = SimpleNamespace(shadow=shadow, peek=lambda model, version: CANDIDATE)
    made = Mirrors(route, means)
    for number in range(len(wanted)):
        series = SimpleNamespace(dropped=drops.append)
        bound: Any = SimpleNamespace(stable=STABLE, candidate=CANDIDATE, series=series, ended=False)
        made._bound[number] = bound
    return made, drops


def given(**more: object) -> Any:
    return SimpleNamespace(**{"reason": "", "how": How.SPLIT_DRAWN, "variant": "stable", "version": 1, **more})


def answered() -> Any:
    return SimpleNamespace(loaded=STABLE)


def test_a_request_of_the_split_is_copied() -> None:
    shadow = Shadow()
    made, drops = mirrors(shadow, Mirror(2))
    made.answered(given(), answered())
    assert (len(shadow.offered), drops) == (1, [])


@pytest.mark.parametrize("other", [{"reason": "timeout"}, {"how": How.RULE}, {"variant": "canary", "version": 2}])
def test_others_are_neither_copied_nor_counted_as_dropped(other: dict[str, object]) -> None:
    shadow = Shadow()
    made, drops = mirrors(shadow, Mirror(2))
    made.answered(given(**other), answered())
    made.passed_by(given(**other), STABLE)  # type: ignore[arg-type]
    assert (shadow.offered, drops) == ([], [])


def test_what_is_answered_while_no_copies_are_taken_is_dropped_and_counted() -> None:
    shadow = Shadow()
    shadow.is_busy = True
    made, drops = mirrors(shadow, Mirror(2), Mirror(2, share_ppm=0))
    made.passed_by(given(), STABLE)  # type: ignore[arg-type]
    assert drops == ["busy"]


def test_whatever_is_wrong_with_a_copy_the_request_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    shadow = Shadow()
    shadow.error = RuntimeError("can't start new thread")
    made, _ = mirrors(shadow, Mirror(2))
    made.answered(given(), answered())
    made.answered(given(), answered())
    assert len(caplog.records) == 1
