import pytest

from router.strategies import (
    StepKind,
    Wait,
    ab,
    blue_green,
    canary,
    cohort,
    instant,
    label,
    least_seconds,
    preview,
    rules_at,
    shadow,
    shares_at,
    weight_at,
)


def test_a_canary_grows_and_leaves_the_rest_to_promotion() -> None:
    steps = canary()
    assert [step.weight_ppm for step in steps] == [10_000, 50_000, 250_000, 500_000]
    assert least_seconds(steps) == 1200


def test_blue_green_previews_and_then_switches_at_once() -> None:
    shown = preview(Wait(approval=True))
    assert blue_green(shown) == (shown,)
    assert [step.kind for step in blue_green(shown, 60)] == [StepKind.PREVIEW, StepKind.SWITCH]
    assert weight_at(blue_green(shown, 60), 0) == 0
    assert weight_at(blue_green(shown, 60), 1) == 1_000_000


def test_a_preview_without_mirrors_has_nothing_to_check() -> None:
    assert not preview(Wait()).checked
    assert preview(Wait(), share_ppm=1).checked


def test_steps_compose_into_one_list() -> None:
    steps = (*shadow(1_000_000, Wait(requests=2000)), *cohort("x-beta", None, Wait()), *canary((10_000,)))
    assert [label(step) for step in steps] == ["shadow 100 %", "cohort", "weight 1 %"]
    assert [weight_at(steps, index) for index in range(3)] == [0, 0, 10_000]
    assert [rules_at(steps, index) for index in range(3)] == [(), (("x-beta", None),), (("x-beta", None),)]


def test_shares_stay_from_their_step_on() -> None:
    steps = (*shadow(1, Wait()), *ab(Wait()))
    assert [shares_at(steps, index) for index in range(2)] == [False, True]


@pytest.mark.parametrize("steps", [instant(), ab(Wait()), shadow(1, Wait())])
def test_what_gives_no_weight_has_none_at_any_step(steps: tuple[object, ...]) -> None:
    assert all(weight_at(steps, index) == 0 for index in range(-1, len(steps)))  # type: ignore[arg-type]
