"""The part of the admin API about drift. No decision is taken here."""

from typing import Annotated, Any

from fastapi import APIRouter, Path

from router.controller import Controller
from router.drift_monitor import DriftMonitor
from router.drift_views import drift_document
from router.readiness import require_model

Model = Annotated[str, Path(max_length=128, description="the model's name")]


def drift_router(controller: Controller, monitor: DriftMonitor) -> APIRouter:
    """Routes for /api/v1."""
    router = APIRouter(tags=["drift"])

    @router.get("/models/{model}/drift", summary="How far live inputs and outputs lie from their reference")
    async def drift(model: Model) -> dict[str, Any]:
        require_model(controller.sight(), model)
        look = monitor.look
        return drift_document(model, look.watched.get(model, {}), look.matches.get(model, {}), monitor.policy)

    return router
