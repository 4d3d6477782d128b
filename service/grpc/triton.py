"""Triton's additions to the inference service: the same answers as over HTTP, in messages."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import ParseDict

from router.access import Need
from router.errors import NotFound
from service.front import Front
from service.grpc.answers import Context, Unary, headers_of
from service.modelconfig import configuration
from service.pb.messages import MESSAGES
from service.readonly import Value, log_settings, require_unchanged, trace_settings


class Triton:
    """The calls beside inference and metadata."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def calls(self) -> Mapping[str, Unary]:
        """By the name of the method."""
        return {
            "ModelConfig": self.model_config,
            "ModelStatistics": self.model_statistics,
            "RepositoryIndex": self.repository_index,
            "RepositoryModelLoad": self.load,
            "RepositoryModelUnload": self.unload,
            "TraceSetting": self.trace_setting,
            "LogSettings": self.log_settings,
        }

    async def model_config(self, request: Any, context: Context) -> Any:
        """As `GET .../config`. Raises NotFound, Unavailable."""
        dataplane = self._front.dataplane
        loaded = dataplane.described(request.name, request.version or None)
        return _made("ModelConfigResponse", {"config": configuration(loaded, dataplane.ready_versions(request.name))})

    async def model_statistics(self, request: Any, context: Context) -> Any:
        """As `GET .../stats`; without a name, of all models. Raises NotFound, Unavailable."""
        found = await self._front.statistics.of(request.name or None, request.version or None)
        return _made("ModelStatisticsResponse", {"model_stats": found})

    async def repository_index(self, request: Any, context: Context) -> Any:
        """As `POST /v2/repository/index`."""
        _require_nameless(request)
        return _made("RepositoryIndexResponse", {"models": await self._front.shelf.index(request.ready)})

    async def load(self, request: Any, context: Context) -> Any:
        """As `POST /v2/repository/models/{model}/load`."""
        _require_nameless(request)
        await self._front.shelf.load(request.model_name, None, dict(request.parameters), self._actor(context))
        return _made("RepositoryModelLoadResponse", {})

    async def unload(self, request: Any, context: Context) -> Any:
        """As `POST /v2/repository/models/{model}/unload`."""
        _require_nameless(request)
        await self._front.shelf.unload(request.model_name, None, self._actor(context))
        return _made("RepositoryModelUnloadResponse", {})

    def _actor(self, context: Context) -> str:
        """The name of the key that calls, which was let in before; "" where nobody is asked."""
        doorman = self._front.doorman
        if doorman is None or not doorman.asks(Need.OPERATOR):
            return ""
        principal = doorman.permit(headers_of(context), Need.OPERATOR)
        return principal.name if principal is not None else ""

    async def trace_setting(self, request: Any, context: Context) -> Any:
        """What is traced: nothing. Raises Unimplemented for a change."""
        if request.model_name:
            self._front.dataplane.expect(request.model_name)
        found = {name: _texts(value) for name, value in trace_settings().items()}
        wanted = {name: list(setting.value) or None for name, setting in request.settings.items()}
        require_unchanged(wanted, found)
        return _made("TraceSettingResponse", {"settings": {name: {"value": value} for name, value in found.items()}})

    async def log_settings(self, request: Any, context: Context) -> Any:
        """What is logged. Raises Unimplemented for a change."""
        found = log_settings()
        require_unchanged({name: _chosen(setting) for name, setting in request.settings.items()}, found)
        return _made("LogSettingsResponse", {"settings": {name: _setting(value) for name, value in found.items()}})


def _made(name: str, document: Mapping[str, Any]) -> Any:
    """The message that a document of the HTTP side stands for; what only JSON has is left out."""
    return ParseDict(document, MESSAGES[name](), ignore_unknown_fields=True)


def _require_nameless(request: Any) -> None:
    if request.repository_name:
        raise NotFound("there is one model repository here, and it has no name; leave repository_name empty")


def _texts(value: Value) -> Value:
    return value if isinstance(value, list) else [str(value)]


def _setting(value: Value) -> dict[str, Value]:
    field = "bool_param" if isinstance(value, bool) else "uint32_param" if isinstance(value, int) else "string_param"
    return {field: value}


def _chosen(setting: Any) -> Any:
    field = setting.WhichOneof("parameter_choice")
    return getattr(setting, field) if field else None
