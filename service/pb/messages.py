"""The classes of the messages in `inference.proto`, made from its descriptor.

They live in a pool of their own: a client library in the same process brings its own copy of the package `inference`,
and the process-wide pool takes only one.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass, GetMessageClassesForFiles

from service.pb.descriptors import SERIALIZED

FILE = "service/pb/inference.proto"
SERVICE = "inference.GRPCInferenceService"


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    pool.AddSerializedFile(SERIALIZED)
    return pool


POOL = _pool()
MESSAGES: Mapping[str, Any] = {
    name.removeprefix("inference."): found for name, found in GetMessageClassesForFiles([FILE], POOL).items()
}
"""By name within the package."""

TensorMetadata = GetMessageClass(POOL.FindMessageTypeByName("inference.ModelMetadataResponse.TensorMetadata"))
"""Not an attribute of the class around it where protobuf is its Python implementation."""

ModelInferRequest = MESSAGES["ModelInferRequest"]
ModelInferResponse = MESSAGES["ModelInferResponse"]
ModelStreamInferResponse = MESSAGES["ModelStreamInferResponse"]
