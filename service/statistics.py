"""Triton's statistics of models, from the counters of all workers."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns, perf_counter_ns
from typing import Any

from router.statistics import VersionStatistics, statistics
from router.tally import Reader
from service.dataplane import Dataplane

Document = dict[str, Any]


class Statistics:
    """`counters`: the directory of all workers' counts; `now`: seconds since 1970."""

    def __init__(self, counters: Path, dataplane: Dataplane, now: Callable[[], float]) -> None:
        self._reader = Reader(counters, clock=monotonic_ns)
        self._dataplane = dataplane
        self._now = now

    async def of(self, model: str | None = None, reference: str | None = None) -> list[Document]:
        """One document for each version that is loaded: of all models, of one, or of one version (or alias).

        Raises NotFound, Unavailable.
        """
        wanted = self._wanted(model, reference)
        found = statistics(await asyncio.to_thread(self._reader.read))
        return [self._document(key, found.get(key, VersionStatistics())) for key in wanted]

    def _wanted(self, model: str | None, reference: str | None) -> list[tuple[str, int]]:
        if model is None:
            names = sorted(self._dataplane.table.routes)
            return [(name, version) for name in names for version in self._dataplane.ready_versions(name)]
        loaded = self._dataplane.described(model, reference)
        versions = self._dataplane.ready_versions(model) if reference is None else [loaded.version]
        return [(model, version) for version in versions]

    def _document(self, key: tuple[str, int], found: VersionStatistics) -> Document:
        age_ns = perf_counter_ns() - found.runs.last_ns
        known = found.runs.last_ns > 0 and age_ns >= 0  # else it was before the machine started
        return document(key, found, int(self._now() * 1000 - age_ns / 1e6) if known else 0)


def document(key: tuple[str, int], found: VersionStatistics, last_ms: int) -> Document:
    """One entry of `model_stats`. Decoding and encoding are counted by request, so batches know only their runs."""
    count = found.answered
    return {
        "name": key[0],
        "version": str(key[1]),
        "last_inference": last_ms,
        "inference_count": found.runs.rows,
        "execution_count": found.runs.executions,
        "inference_stats": {
            "success": _duration(count, found.request_ns),
            "fail": _duration(sum(found.failed.values()), found.failed_ns),
            "queue": _duration(count, found.queue_ns),
            "compute_input": _duration(count, found.decode_ns),
            "compute_infer": _duration(count, found.compute_ns),
            "compute_output": _duration(count, found.encode_ns),
            "cache_hit": _duration(0, 0),
            "cache_miss": _duration(0, 0),
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": _duration(0, 0),
                "compute_infer": _duration(runs, nanos),
                "compute_output": _duration(0, 0),
            }
            for rows, runs, nanos in found.runs.sizes
        ],
        "memory_usage": [],
    }


def _duration(count: int, nanos: int) -> Document:
    return {"count": count, "ns": nanos}
