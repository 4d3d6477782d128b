"""Who may use what on the public ports: HTTP by route, gRPC by method."""

from collections.abc import Mapping
from typing import Final

from router.access import Need

_PLACES: Final = ("", "/versions/{version}")
_WAYS: Final = (*_PLACES, "/labels/{label}")
_VERBS: Final = ("predict", "explain", "classify", "regress")

PUBLIC_PORT: Final[Mapping[str, Mapping[str, Need]]] = {
    "/": {"GET": Need.OPEN},
    "/ping": {"GET": Need.OPEN},
    "/health": {"GET": Need.OPEN},
    "/version": {"GET": Need.ANY},
    "/docs": {"GET": Need.OPEN},
    "/redoc": {"GET": Need.OPEN},
    "/openapi.json": {"GET": Need.LIST},
    "/metrics": {"GET": Need.METRICS},
    "/invocations": {"POST": Need.PREDICT},
    "/v2": {"GET": Need.ANY},
    "/v2/": {"GET": Need.ANY},
    "/v2/health/live": {"GET": Need.OPEN, "HEAD": Need.OPEN},
    "/v2/health/ready": {"GET": Need.OPEN, "HEAD": Need.OPEN},
    "/v2/logging": {"GET": Need.ANY, "POST": Need.ANY},
    "/v2/trace/setting": {"GET": Need.ANY, "POST": Need.ANY},
    "/v2/systemsharedmemory/{rest:path}": {"GET": Need.ANY, "POST": Need.ANY},
    "/v2/cudasharedmemory/{rest:path}": {"GET": Need.ANY, "POST": Need.ANY},
    "/v2/repository/index": {"POST": Need.LIST},
    "/v2/models": {"GET": Need.LIST},
    "/v2/models/stats": {"GET": Need.LIST},
    "/v2/models/{model}/trace/setting": {"GET": Need.LOOK, "POST": Need.LOOK},
    "/v2/models/{model}/feedback": {"POST": Need.FEEDBACK},
    **{f"/v2/repository/models/{{model}}{place}/load": {"POST": Need.OPERATOR} for place in _PLACES},
    **{f"/v2/repository/models/{{model}}{place}/unload": {"POST": Need.OPERATOR} for place in _PLACES},
    **{f"/v2/models/{{model}}{place}": {"GET": Need.LOOK} for place in _PLACES},
    **{f"/v2/models/{{model}}{place}/stats": {"GET": Need.LOOK} for place in _PLACES},
    **{f"/v2/models/{{model}}{place}/config": {"GET": Need.LOOK} for place in _PLACES},
    **{f"/v2/models/{{model}}{place}/ready": {"GET": Need.LOOK} for place in _PLACES},
    **{f"/v2/models/{{model}}{place}/infer": {"POST": Need.PREDICT} for place in _PLACES},
    "/v1/models": {"GET": Need.LIST},
    **{f"/v1/models/{{model}}{way}": {"GET": Need.LOOK} for way in _WAYS},
    **{f"/v1/models/{{model}}{way}/metadata": {"GET": Need.LOOK} for way in _WAYS},
    **{f"/v1/models/{{model}}{way}:{verb}": {"POST": Need.PREDICT} for way in _WAYS for verb in _VERBS},
}
"""A row for each route; a test walks the application, and so does its start."""

_INFERENCE: Final = "/inference.GRPCInferenceService/"
_SHARED: Final = [
    f"{kind}SharedMemory{do}" for kind in ("System", "Cuda") for do in ("Status", "Register", "Unregister")
]

GRPC_PORT: Final[Mapping[str, Need]] = {
    "/grpc.health.v1.Health/Check": Need.OPEN,
    "/grpc.health.v1.Health/Watch": Need.OPEN,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Need.ANY,
    f"{_INFERENCE}ServerLive": Need.OPEN,
    f"{_INFERENCE}ServerReady": Need.OPEN,
    f"{_INFERENCE}ServerMetadata": Need.ANY,
    f"{_INFERENCE}ModelReady": Need.LOOK,
    f"{_INFERENCE}ModelMetadata": Need.LOOK,
    f"{_INFERENCE}ModelConfig": Need.LOOK,
    f"{_INFERENCE}ModelStatistics": Need.LOOK,
    f"{_INFERENCE}RepositoryIndex": Need.LIST,
    f"{_INFERENCE}RepositoryModelLoad": Need.OPERATOR,
    f"{_INFERENCE}RepositoryModelUnload": Need.OPERATOR,
    f"{_INFERENCE}TraceSetting": Need.ANY,
    f"{_INFERENCE}LogSettings": Need.ANY,
    f"{_INFERENCE}ModelInfer": Need.PREDICT,
    f"{_INFERENCE}ModelStreamInfer": Need.PREDICT,
    **{f"{_INFERENCE}{method}": Need.ANY for method in _SHARED},
}
"""By full name. A method that is not here needs a key, as an HTTP path that is none does."""
