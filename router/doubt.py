"""An assessor with a doubt: where versions do not get the same inputs, no verdict about them can be believed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from router.assessor import Assessment, Assessor, Contract, Question
from router.checks import Check
from router.reports import InventoryVersion
from router.verdict import Verdict, VerdictKind

DOUBT: Final = "inputs"
"""The name under which a doubt stands among the checks."""


class Doubting:
    """Asks another assessor, and adds `error` while `doubt` of the model gives a reason: a rollout then holds."""

    def __init__(self, assessor: Assessor, doubt: Callable[[str], str]) -> None:
        self._assessor = assessor
        self._doubt = doubt

    async def assess(self, question: Question) -> Assessment:
        """See `Assessor`."""
        said = await self._assessor.assess(question)
        reason = self._doubt(question.model)
        if not reason:
            return said
        return replace(said, verdicts=(*said.verdicts, Verdict(VerdictKind.ERROR, DOUBT, reason)))

    async def watch(self, question: Question) -> Assessment:
        """See `Assessor`."""
        return await self._assessor.watch(question)

    def refuses(self, check: Check) -> str | None:
        """See `Assessor`."""
        return self._assessor.refuses(check)

    def contract(self, stable: InventoryVersion, candidate: InventoryVersion) -> Contract:
        """See `Assessor`."""
        return self._assessor.contract(stable, candidate)
