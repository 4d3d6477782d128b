"""How many cores this process may use: the scheduler's affinity, and the limits of its cgroups."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from service.cgroups import MEMBERSHIP, ROOT, folders, text_of


def cores(affinity: int, limits: Iterable[str]) -> int:
    """Whole cores for this process, at least 1. `affinity`: cores it may be scheduled on.

    `limits`: "quota period" texts in microseconds, one for each cgroup from its own up to the root: `cpu.max` of v2,
    `cpu.cfs_quota_us cpu.cfs_period_us` of v1 ("max" or a negative quota is no limit). Rounded down, since a group
    that runs into its quota is stopped for the rest of the period, which every request then sees.
    """
    allowed = float(affinity)
    for text in limits:
        quota, _, period = text.strip().partition(" ")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            allowed = min(allowed, int(quota) / int(period))
    return max(1, int(allowed))


def available_cores() -> int:
    """`cores` of this process as the kernel tells it now."""
    return cores(len(os.sched_getaffinity(0)), _cpu_limits(MEMBERSHIP, ROOT))


def _cpu_limits(membership: Path, root: Path) -> Iterator[str]:
    for folder in folders("cpu", membership, root):
        yield text_of(folder / "cpu.max")
        quota, period = (text_of(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
        yield f"{quota} {period}"
