"""Readings of counters, and what looking at every model costs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from router.drift_monitor import DriftMonitor
from router.drift_windows import Policy
from router.layout import BlockSpec
from router.routes import Route, Variant
from router.selfcheck_monitor import SelfCheck
from router.tally import BlockCopy, by_model

MODELS = [f"m{number}" for number in range(40)]


class Labels(dict[str, str]):
    """Counts how often it was looked at."""

    looks = 0

    def get(self, *asked: Any) -> Any:
        Labels.looks += 1
        return super().get(*asked)


def copy_of(model: str) -> BlockCopy:
    labels = Labels(model=model, version="1", variant="stable", assignment="split")
    return BlockCopy(BlockSpec("nothing that is looked into", labels), [], epoch=3)


def controller() -> Any:
    routes = {name: Route(name, (Variant("stable", 1, 1_000_000),), epoch=3) for name in MODELS}
    return SimpleNamespace(table=SimpleNamespace(routes=routes), closing=False, now=lambda: 0.0)


def test_blocks_are_found_by_their_model() -> None:
    own, other = BlockCopy(BlockSpec("k", {"model": "m"}), []), BlockCopy(BlockSpec("k", {"model": "n"}), [])
    assert by_model([own, BlockCopy(BlockSpec("k", {}), []), other, own]) == {"m": [own, own], "n": [other]}


@pytest.mark.parametrize("which", [DriftMonitor, SelfCheck], ids=["drift", "self-check"])
def test_a_look_at_many_models_takes_up_each_block_a_few_times_only(which: type, tmp_path: Path) -> None:
    copies = [copy_of(name) for name in MODELS for _ in range(3)]
    Labels.looks = 0
    if which is DriftMonitor:
        monitor = DriftMonitor(controller(), lambda: copies, tmp_path / "drift.json", Policy(100, 10.0))
        monitor._looked(controller().table.routes, 0.0)
    else:
        SelfCheck(controller(), lambda: copies, lambda: 0)._looked(controller().table.routes)
    assert len(copies) <= Labels.looks <= 10 * len(copies)
