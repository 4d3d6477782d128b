"""Health and metadata of the inference service, from what the dataplane knows."""

from collections.abc import Mapping
from typing import Any

from router.errors import NotFound
from service.about import EXTENSIONS, PLATFORM, About, shown_shape
from service.dataplane import Dataplane
from service.grpc.answers import Context, Unary
from service.pb.messages import MESSAGES, TensorMetadata
from service.protocol.tensors import TensorSpec


class Models:
    """The calls that ask what there is."""

    def __init__(self, dataplane: Dataplane, about: About) -> None:
        self._dataplane = dataplane
        self._about = about

    def calls(self) -> Mapping[str, Unary]:
        """By the name of the method."""
        return {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
        }

    async def server_live(self, request: Any, context: Context) -> Any:
        """The event loop answers."""
        return MESSAGES["ServerLiveResponse"](live=True)

    async def server_ready(self, request: Any, context: Context) -> Any:
        """As `GET /v2/health/ready`."""
        return MESSAGES["ServerReadyResponse"](ready=self._dataplane.not_ready_reason() is None)

    async def model_ready(self, request: Any, context: Context) -> Any:
        """As `GET /v2/models/{model}/ready`; what is not there is not ready, as Triton has it."""
        try:
            reason = self._dataplane.model_not_ready_reason(request.name, request.version or None)
        except NotFound as error:
            reason = error.message
        return MESSAGES["ModelReadyResponse"](ready=reason is None)

    async def server_metadata(self, request: Any, context: Context) -> Any:
        """As `GET /v2`."""
        about = self._about
        return MESSAGES["ServerMetadataResponse"](name=about.name, version=about.version, extensions=EXTENSIONS)

    async def model_metadata(self, request: Any, context: Context) -> Any:
        """As `GET /v2/models/{model}`. Raises NotFound, Unavailable."""
        loaded = self._dataplane.described(request.name, request.version or None)
        return MESSAGES["ModelMetadataResponse"](
            name=request.name,
            versions=[str(number) for number in self._dataplane.ready_versions(request.name)],
            platform=PLATFORM,
            inputs=map(_tensor, loaded.signature.inputs),
            outputs=map(_tensor, loaded.signature.outputs),
        )


def _tensor(spec: TensorSpec) -> Any:
    return TensorMetadata(name=spec.name, datatype=spec.datatype, shape=shown_shape(spec))
