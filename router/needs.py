"""Who may use what on the admin port."""

from collections.abc import Mapping
from typing import Final

from router.access import Need

ADMIN_PORT: Final[Mapping[str, Mapping[str, Need]]] = {
    "/healthz": {"GET": Need.OPEN},
    "/readyz": {"GET": Need.OPEN},
    "/metrics": {"GET": Need.METRICS},
    "/api/v1/openapi.json": {"GET": Need.VIEWER, "HEAD": Need.VIEWER},
    "/api/v1/status": {"GET": Need.VIEWER},
    "/api/v1/keys": {"GET": Need.ADMIN},
    "/api/v1/schemas/rollout": {"GET": Need.VIEWER},
    "/api/v1/events": {"GET": Need.VIEWER},
    "/api/v1/events/stream": {"GET": Need.VIEWER},
    "/api/v1/models": {"GET": Need.VIEWER},
    "/api/v1/models/rescan": {"POST": Need.OPERATOR},
    "/api/v1/models/{model}": {"GET": Need.VIEWER},
    "/api/v1/models/{model}/drift": {"GET": Need.VIEWER},
    "/api/v1/models/{model}/load": {"POST": Need.OPERATOR},
    "/api/v1/models/{model}/unload": {"POST": Need.OPERATOR},
    "/api/v1/models/{model}/versions/{version}/load": {"POST": Need.OPERATOR},
    "/api/v1/models/{model}/versions/{version}/unload": {"POST": Need.OPERATOR},
    "/api/v1/models/{model}/rollout": {"GET": Need.VIEWER, "PUT": Need.OPERATOR, "POST": Need.OPERATOR},
    "/api/v1/models/{model}/rollout/{move}": {"POST": Need.OPERATOR},
    "/api/v1/routes": {"GET": Need.VIEWER},
    "/api/v1/routes/{model}": {"GET": Need.VIEWER, "PUT": Need.OPERATOR, "PATCH": Need.OPERATOR},
    "/api/v1/rollouts": {"GET": Need.VIEWER},
    "/api/v1/rollouts/{identity}": {"GET": Need.VIEWER},
    "/api/v1/rollouts/{identity}/pairs": {"GET": Need.VIEWER},
    "/api/v1/rollouts/{identity}/blocks": {"GET": Need.VIEWER},
    "/api/v1/rollouts/{identity}/history": {"GET": Need.VIEWER},
    "/internal/v1/follow": {"POST": Need.INTERNAL},
    "/internal/v1/inventory": {"POST": Need.INTERNAL},
    "/internal/v1/inventory/still": {"POST": Need.INTERNAL},
    "/internal/v1/inventory/commands": {"GET": Need.INTERNAL},
    "/internal/v1/index": {"GET": Need.INTERNAL},
    "/internal/v1/supervise": {"POST": Need.INTERNAL},
}
"""A row for each route; a test walks the application, and so does its start."""
