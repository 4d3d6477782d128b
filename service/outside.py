"""Tables of the settings that name others: `[sources.NAME]`, which are asked, `[hooks.NAME]`, which are told,
and `[upstreams.NAME]`, which answer in place of models here.

No secret stands here: only the file that holds it. Without one it is the variable that `secret_variable` names.
"""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from router.names import NAME_RULE, is_name

MAX_NAMED = 64
MIN_SECRET_BYTES = 16


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("must be an http:// or https:// URL")
    if "@" in parts.netloc:
        raise ValueError("must hold no password; a secret belongs in a file of its own")
    if parts.fragment or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be printable ASCII without a fragment")
    return text


def _without_query(text: str) -> str:
    if "?" in text:
        raise ValueError("must end before any query")
    return text.rstrip("/")


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError(NAME_RULE)
    return text


Url = Annotated[str, Field(max_length=2048), AfterValidator(_url)]
Name = Annotated[str, AfterValidator(_name)]
Timeout = Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)]


class _Named(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceSettings(_Named):
    """A source of numbers for checks."""

    kind: Literal["prometheus", "json"] = Field(
        description="`prometheus`: its HTTP API; the query is PromQL. `json`: any URL; the query is a path in its JSON."
    )
    url: Url = Field(
        description="Of `prometheus` what stands before `/api/v1`; of `json` the document, with `{{model}}`,"
        " `{{version}}`, `{{variant}}` and `{{window}}` where wanted."
    )
    timeout_seconds: Timeout = Field(5.0, description="Time for one answer; then the check has verdict `error`.")
    token_file: Path | None = Field(
        None, description="File with a bearer token; else the variable `SERIN_SOURCE_<NAME>_TOKEN` if it is set."
    )


class HookSettings(_Named):
    """A webhook for events, and a gate for checks of kind `hook`."""

    url: Url = Field(description="Where events and questions are sent; redirects are not followed.")
    events: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] = Field(
        ("rollout.*",), max_length=64, description="Kinds of events that are sent, `*` for any text; `[]`: a gate only."
    )
    secret_file: Path | None = Field(
        None,
        description="File with the secret that signs what is sent, at least 16 bytes; else the variable"
        " `SERIN_HOOK_<NAME>_SECRET`.",
    )
    allow_private: bool = Field(
        False, description="Allow loopback, private and link-local addresses; else they are refused."
    )
    timeout_seconds: Timeout = Field(5.0, description="Time for one attempt.")
    ca_file: Path | None = Field(None, description="Certificates to trust in place of the public ones.")


class TensorSettings(_Named):
    """An input or output, as V2's metadata has it."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    datatype: Annotated[str, Field(pattern="^(BOOL|U?INT(8|16|32|64)|FP(16|32|64)|BF16|BYTES)$")]
    shape: tuple[Annotated[int, Field(ge=-1)], ...]


class TensorsSettings(_Named):
    """What a model takes and gives."""

    inputs: tuple[TensorSettings, ...] = Field(min_length=1, max_length=64)
    outputs: tuple[TensorSettings, ...] = Field(min_length=1, max_length=64)


class UpstreamSettings(_Named):
    """A server of the V2 protocol whose models may be variants here, as `NAME#model` or `NAME#model/version`."""

    url: Annotated[Url, AfterValidator(_without_query)] = Field(
        description="What stands before `/v2`; redirects are not followed."
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = Field(
        30.0, description="Longest time for one request, also where its caller would wait longer."
    )
    max_connections: Annotated[int, Field(ge=1, le=1024)] = Field(
        32, description="Requests of one version that each worker has there at a time; more wait as `max_queue` says."
    )
    token_file: Path | None = Field(
        None, description="File with a bearer token; else the variable `SERIN_UPSTREAM_<NAME>_TOKEN` if it is set."
    )
    ca_file: Path | None = Field(None, description="Certificates to trust in place of the public ones.")
    models: dict[Name, TensorsSettings] = Field(
        {},
        max_length=MAX_NAMED,
        description="`[upstreams.NAME.models.MODEL]` with `inputs` and `outputs`, lists of `{name, datatype, shape}`:"
        " of models whose metadata there names none.",
    )


TABLES: dict[str, type[_Named]] = {"sources": SourceSettings, "hooks": HookSettings, "upstreams": UpstreamSettings}


_SECRETS = {"sources": ("SOURCE", "TOKEN"), "hooks": ("HOOK", "SECRET"), "upstreams": ("UPSTREAM", "TOKEN")}


def secret_variable(table: str, name: str) -> str:
    """The environment variable of a secret: `SERIN_HOOK_OPS_SECRET` of `[hooks.ops]`."""
    kind, what = _SECRETS[table]
    return f"SERIN_{kind}_{re.sub('[^A-Z0-9]', '_', name.upper())}_{what}"


def reference() -> str:
    """The tables as Markdown, for docs/reference."""
    parts = []
    for table, body in TABLES.items():
        parts += [f"`[{table}.NAME]`: {(body.__doc__ or '').splitlines()[0]}", ""]
        parts += ["| Key | Default | Meaning |", "|---|---|---|"]
        for key, field in body.model_fields.items():
            parts.append(f"| `{key}` | {_default(field.default, field.is_required())} | {field.description} |")
        parts.append("")
    return "\n".join(parts).rstrip()


def _default(value: object, is_required: bool) -> str:
    if is_required:
        return "required"
    if isinstance(value, tuple):
        return "`[" + ", ".join(f'"{item}"' for item in value) + "]`"
    return "*none*" if value is None or value == {} else f"`{str(value).lower() if isinstance(value, bool) else value}`"
