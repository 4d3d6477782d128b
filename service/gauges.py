"""The states of a worker's versions, shown in the counters."""

from router.telemetry import Recorder, VersionGauges
from service.runtime.engine import Engine


class Gauges:
    """What is so now of each version, in the counters."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._gauges: dict[tuple[str, int], VersionGauges] = {}

    def __len__(self) -> int:
        """How many versions were shown last."""
        return len(self._gauges)

    def show(self, engine: Engine) -> None:
        """Take over the states of all versions; those that are gone from memory are absent, and no longer kept."""
        states = {
            (model, number): held for model, versions in engine.states().items() for number, held in versions.items()
        }
        for key in states.keys() - self._gauges.keys():
            self._gauges[key] = self._recorder.version(*key)
        for key in self._gauges.keys() - states.keys():
            self._gauges.pop(key).gone(self._recorder.segment.until())
        for key, gauges in self._gauges.items():
            gauges.state(states[key].state.value)
            loaded = engine.peek(*key)
            if loaded is not None:
                loaded.executor.room.on_queue = gauges.queued
