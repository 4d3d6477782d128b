"""The stages of the hot path can be called, and their sum is of known stages."""

from pathlib import Path

from loadtests.hotpath import RUN, Stage, own_duties, stages, yardstick


def test_every_stage_runs_and_the_last_one_is_their_sum(tmp_path: Path) -> None:
    found = stages(tmp_path, passes=1, pass_micros=1.0)
    names = [stage.name for stage in found]
    assert names[0] == "the yardstick"
    assert RUN in names
    assert found[-1] == own_duties(found[:-1])


def test_the_gateways_own_duties_leave_the_model_and_the_binary_way_out() -> None:
    mine = ("decode JSON", "check and bind JSON", "choose of two, by key", "watch", "observe", "token", "encode JSON")
    others = (RUN, "decode binary", "the yardstick")
    found = own_duties([*(Stage(name, 1.0, 0.5) for name in mine), *(Stage(name, 100.0, 100.0) for name in others)])
    assert (found.micros, found.ratio) == (7.0, 3.5)


def test_the_yardstick_does_the_same_every_time() -> None:
    assert yardstick() == yardstick()
