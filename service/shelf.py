"""The model repository as clients see it on the public ports: what lies in it, and load and unload through the
controller, as ordinary events."""

from dataclasses import dataclass
from typing import Any

from router.client import CommandLink
from router.errors import InvalidArgument, NotFound, PermissionDenied, Unavailable, Unimplemented
from router.names import is_name, is_version, shown
from service.dataplane import Dataplane

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shelf:
    """`open_to_callers`: whether who reaches the port may load and unload (rulings 28)."""

    link: CommandLink
    dataplane: Dataplane
    open_to_callers: bool

    async def index(self, only_ready: bool = False) -> list[Document]:
        """`[{name, version, state, reason}]`, a row for each version there is; a model without any is one row.

        Without a controller: what this worker holds.
        """
        try:
            rows = _rows(await self.link.index())
        except Unavailable:
            rows = self._held()
        return [row for row in rows if not only_ready or row["state"] == "READY"]

    async def load(self, model: str, reference: str | None, parameters: Document, actor: str = "") -> None:
        """Load a model, or a version of it, again; what serves goes on until the new is ready. Raises SerinError.

        `actor`: the name of the key that asks, if keys are asked for.
        """
        self._require_open()
        _require_none(parameters)
        await self.link.load(model, _number(model, reference), actor)

    async def unload(self, model: str, reference: str | None, actor: str = "") -> None:
        """Unload a model, whatever its route says, or a version that has no weight. Raises SerinError."""
        self._require_open()
        await self.link.unload(model, _number(model, reference), actor)

    def _require_open(self) -> None:
        if not self.open_to_callers:
            raise PermissionDenied(
                "models are loaded and unloaded here only with a key, or where the port is bound to the loopback; "
                "`serin models load` on the gateway's host does the same"
            )

    def _held(self) -> list[Document]:
        return [
            _row(name, version, "READY", "")
            for name in sorted(self.dataplane.table.routes)
            for version in self.dataplane.ready_versions(name)
        ]


def _require_none(parameters: Document) -> None:
    """A load takes nothing from its caller: neither what to load nor from where."""
    if any(name == "config" or name.startswith("file:") for name in parameters):
        raise Unimplemented("parameters: files and configurations come from the model repository only")
    if parameters:
        raise InvalidArgument("parameters: a load takes none; models come from the model repository only")


def _number(model: str, reference: str | None) -> int | None:
    if not is_name(model):
        raise NotFound(f"there is no model {shown(model)}")
    if reference is None:
        return None
    if not is_version(reference):
        raise NotFound(f"{model} has no version {shown(reference)}; a version is a positive whole number")
    return int(reference)


def _rows(document: Document) -> list[Document]:
    rows = []
    for model in document["models"]:
        if not model["versions"]:
            rows.append({"name": model["name"], "state": "UNAVAILABLE", "reason": model["error"] or "no version"})
        rows += [
            _row(model["name"], version["version"], version["state"], version["reason"])
            for version in model["versions"]
        ]
    return rows


def _row(name: str, version: int, state: str, reason: str) -> Document:
    return {"name": name, "version": str(version), "state": state, "reason": reason}
