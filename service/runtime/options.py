"""How ONNX Runtime computes a version: the server's options, and what its `model.toml` says in their place."""

from dataclasses import replace

from service.runtime.manifest import RuntimeFacts
from service.runtime.session import PROVIDERS, SessionOptions


def options_of(server: SessionOptions, facts: RuntimeFacts) -> SessionOptions:
    """The options of one model's versions."""
    return replace(
        server,
        threads=facts.threads or server.threads,
        spinning=facts.spinning,
        arena=facts.arena and server.arena,
        graph=facts.graph,
        providers=facts.providers or PROVIDERS,
    )
