"""From a request of an ASGI application to what it needs: the table of a port's routes, read as the router reads it.

A request must satisfy the need of every row whose path fits, whichever route comes first. Paths are compared with the
very expressions that Starlette routes by and on the decoded path alone, so that no other spelling of a path, no `Host`
and no header can lead to a route past its row.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from re import Pattern
from typing import Any, Final

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, compile_path
from starlette.types import Scope

from router.access import Need
from router.doorman import Doorman, Principal
from router.errors import Internal

Table = Mapping[str, Mapping[str, Need]]
"""Path template -> method -> need."""

ASKED: Final = frozenset({b"authorization", b"x-api-key", b"serin-token", b"host", b"origin"})
MODEL: Final = "model"
"""The parameter of a path that names a model."""


@dataclass(frozen=True, slots=True)
class _Row:
    fits: Pattern[str]
    needs: Mapping[str, Need]


class Gate:
    """Asks `doorman` about each request to the routes of `table`."""

    def __init__(self, table: Table, doorman: Doorman) -> None:
        # Where a path that is none asks for nothing, rows that ask for nothing need not be looked through.
        kept = {
            path: row for path, row in table.items() if doorman.minds(Need.ANY) or any(map(doorman.minds, row.values()))
        }
        self._rows = [_Row(compile_path(template)[0], needs) for template, needs in kept.items()]
        self._doorman = doorman

    def admit(self, scope: Scope) -> Principal | None:
        """Who asks; None where nobody is asked. Raises Unauthenticated, PermissionDenied, ResourceExhausted.

        A path or method that is none needs any key: who has none is not told what there is.
        """
        needed = self.needed(scope["method"], scope["path"])
        headers = telling(scope["headers"])
        *others, (need, model) = needed or [(Need.ANY, None)]
        for more in others:
            self._doorman.permit(headers, *more)
        if need is Need.PREDICT:  # it is admitted when its model is known, by whoever runs it
            return self._doorman.permit(headers, need, model)
        return self._doorman.admit(headers, need, model)

    def needed(self, method: str, path: str) -> list[tuple[Need, str | None]]:
        """The need of every row that fits, with the model that its path names."""
        return [
            (need, fit.groupdict().get(MODEL))
            for row in self._rows
            if (fit := row.fits.match(path)) is not None and (need := row.needs.get(method)) is not None
        ]


def with_schemes(document: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document that says how a key is sent, where one is asked for."""
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["bearer"] = {"type": "http", "scheme": "bearer", "description": "An API key, where keys are asked for."}
    schemes["key"] = {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."}
    return {**document, "security": [{}, {"bearer": []}, {"key": []}]}


def telling(fields: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The header fields that say who asks. One that came twice is their list, which is no key."""
    found: dict[bytes, bytes] = {}
    for name, value in fields:
        if name in ASKED:
            found[name] = found[name] + b", " + value if name in found else value
    return found


def require_rows(routes: Iterable[BaseRoute], table: Table) -> None:
    """Raises Internal when a route has no row: nobody would have said who may use it."""
    for route in iter_route_contexts(list(routes)):
        for method in route.methods or ("?",):
            if method not in table.get(route.path or "", {}):
                raise Internal(f"{method} {route.path} has no row in the table of who may use what")
