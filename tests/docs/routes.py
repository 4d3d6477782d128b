"""The HTTP routes of both applications as their OpenAPI documents tell them. No port is opened and no model loaded."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import httpx
from starlette.types import ASGIApp

from router.api import ApiOptions, create_app
from router.drift_api import drift_router
from router.rollout_api import Desk, rollout_router
from router.routes import RouteTable
from service.about import About
from service.front import Front
from service.rest import create_rest

Operation = tuple[str, str, str]
"""(method, path, first line of what it does)"""


class _NoInference:
    """Stands where the inference routes are answered: the document describes them all the same."""

    def answers(self, scope: object) -> bool:
        return False


def public() -> list[Operation]:
    """The routes of the public port, in the order of the document."""
    unused: Any = None
    no_models: Any = SimpleNamespace(table=RouteTable())
    front = Front(no_models, cast(Any, _NoInference()), unused, unused, About("serin", "0"), unused, unused)
    return _operations(create_rest(front, unused), "/openapi.json")


def admin() -> list[Operation]:
    """The routes of the admin port without those between Serin's own processes."""
    unused: Any = None
    pilot: Any = SimpleNamespace(controller=None)
    options = ApiOptions(
        token="unused", parts=(rollout_router(Desk(pilot, unused, unused)), drift_router(unused, unused))
    )
    return _operations(create_app(unused, options), "/api/v1/openapi.json")


def public_paths() -> set[str]:
    return {path for _, path, _ in public()}


def _operations(app: ASGIApp, document_path: str) -> list[Operation]:
    document = asyncio.run(_document(app, document_path))
    return [
        (method.upper(), path, operation.get("description", operation["summary"]).splitlines()[0])
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if not path.startswith("/internal/")
    ]


async def _document(app: ASGIApp, path: str) -> dict[str, Any]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://serin") as client:
        answer = await client.get(path)
    answer.raise_for_status()
    return dict(answer.json())
