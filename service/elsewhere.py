"""The upstreams of the settings, ready to be asked."""

from pathlib import Path

from router.upstreams import Upstream, Upstreams
from service.settings import Settings, SettingsError, secret


def upstreams_of(settings: Settings) -> Upstreams:
    """For one event loop. Raises SettingsError when a token or certificates cannot be read."""
    return Upstreams({name: _upstream(settings, name) for name in settings.upstreams})


def _upstream(settings: Settings, name: str) -> Upstream:
    said = settings.upstreams[name]
    if said.ca_file is not None and not Path(said.ca_file).is_file():
        raise SettingsError(f"upstreams.{name}.ca_file: no such file: {said.ca_file}")
    token = secret("upstreams", name, said.token_file)
    if not token.isascii() or not token.decode("ascii", "replace").isprintable():
        raise SettingsError(f"upstreams.{name}: its token is not printable ASCII")
    ca_file = str(said.ca_file) if said.ca_file else ""
    declared = {model: tensors.model_dump(mode="json") for model, tensors in said.models.items()}
    limits = said.timeout_seconds, said.max_connections
    return Upstream(name, said.url, token.decode("ascii"), *limits, ca_file, declared)
