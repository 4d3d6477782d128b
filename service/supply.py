"""Settings of the supply chain: which content may be loaded, and which native libraries models may call."""

import os
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field
from pydantic_settings import NoDecode


def _paths(given: Any) -> Any:
    return tuple(filter(None, given.split(os.pathsep))) if isinstance(given, str) else given


class SupplySettings(BaseModel):
    """Part of all settings."""

    allowed_digests_file: Path | None = Field(
        None, description="Only versions whose digest stands in this file are loaded; read again when it changes."
    )
    custom_op_libraries: Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_paths), Field(max_length=64)] = Field(
        (),
        description="Libraries with operators for ONNX Runtime, parted by `:`; they run in each worker.",
    )

    @property
    def libraries(self) -> tuple[str, ...]:
        """Their absolute paths."""
        return tuple(str(path.absolute()) for path in self.custom_op_libraries)


def content_of(libraries: tuple[str, ...]) -> str:
    """Stands for what is in these files: a verdict holds for the libraries that it was reached with. Raises OSError."""
    if not libraries:
        return ""
    whole = sha256()
    for path in libraries:
        whole.update(sha256(Path(path).read_bytes()).digest())
    return whole.hexdigest()[:16]
