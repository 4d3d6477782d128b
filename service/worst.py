"""The most different pairs of answers, a bounded number of bounded size, to be shown to people. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import heappush, heapreplace
from math import isfinite
from typing import Any

from router.mirrors import OutputDifference
from service.protocol.tensors import Array

SHOWN_ELEMENTS = 64
SHOWN_TEXT = 64

Rank = tuple[bool, float, int]
"""Whether an output differs, the largest distance, and a number that makes it unique: of equals, the first are kept."""


@dataclass(slots=True)
class WorstPairs:
    """Keeps the `most` pairs of highest rank."""

    most: int
    _heap: list[tuple[Rank, dict[str, Any]]] = field(default_factory=list)
    _seen: int = 0

    @classmethod
    def of(cls, most: int, documents: Sequence[dict[str, Any]]) -> "WorstPairs":
        """Begin with pairs that were kept before."""
        pairs = cls(most)
        for document in documents:
            pairs.offer(bool(document["differs"]), float(document["distance"]), partial(dict, document))
        return pairs

    def offer(self, differs: bool, distance: float, describe: Callable[[], dict[str, Any]]) -> bool:
        """Whether it was taken; only then is it described."""
        self._seen += 1
        rank = (differs, distance, -self._seen)
        if self.most == 0 or distance == 0.0 or (len(self._heap) >= self.most and rank < self._heap[0][0]):
            return False
        entry = (rank, {"differs": differs, "distance": shown_number(distance), **describe()})
        if len(self._heap) < self.most:
            heappush(self._heap, entry)
        else:
            heapreplace(self._heap, entry)
        return True

    def documents(self) -> list[dict[str, Any]]:
        """The kept ones, worst first."""
        return [document for _, document in sorted(self._heap, key=lambda entry: entry[0], reverse=True)]


def shown_pair(
    stable: Mapping[str, Array],
    candidate: Mapping[str, Array],
    found: Mapping[str, OutputDifference],
    inputs: Mapping[str, Array] | None,
    values: bool = True,
) -> dict[str, Any]:
    """What is kept of a pair: the start of each compared output of both. `inputs` None leaves them out, without
    `values` there are only shapes and distances."""
    outputs = {
        name: {
            "distance": shown_number(difference.distance),
            "rows": difference.rows,
            "rows_different": difference.flipped,
            "stable": shown_array(stable[name], values),
            "candidate": shown_array(candidate[name], values),
        }
        for name, difference in found.items()
    }
    pair: dict[str, Any] = {"outputs": outputs}
    if inputs is not None:
        pair["inputs"] = {name: shown_array(array) for name, array in inputs.items()}
    return pair


def shown_array(array: Array, values: bool = True) -> dict[str, Any]:
    """Shape and the first elements."""
    if not values:
        return {"shape": list(array.shape)}
    start = array.ravel()[:SHOWN_ELEMENTS].tolist()
    return {"shape": list(array.shape), "data": [_shown(element) for element in start]}


def shown_number(number: float) -> float | str:
    """JSON has no infinities."""
    return number if isfinite(number) else str(number)


def _shown(element: Any) -> Any:
    if isinstance(element, bytes):
        element = element.decode(errors="replace")
    if isinstance(element, str):
        return element[:SHOWN_TEXT]
    return shown_number(element) if isinstance(element, float) else element
