"""Every setting of Serin, read here only. `python -m service.settings` prints them as a table."""

import os
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from router.errors import InvalidArgument
from router.metrics import Familiarity
from service.access_settings import AccessSettings
from service.cores import available_cores
from service.faults import Faults
from service.outside import (
    MAX_NAMED,
    MIN_SECRET_BYTES,
    TABLES,
    HookSettings,
    Name,
    SourceSettings,
    UpstreamSettings,
    secret_variable,
)
from service.outside import reference as outside_reference
from service.supply import SupplySettings
from service.transport import TransportSettings

PREFIX = "SERIN_"
FILE_NAME = "serin.toml"
API_KEY = f"{PREFIX}API_KEY"

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
MEBIBYTE = 1024 * 1024
Keep = Annotated[float, Field(ge=0, le=366 * 86_400, allow_inf_nan=False)]
Horizon = Annotated[float, Field(ge=0, le=30 * 86_400, allow_inf_nan=False)]
MapBytes = Annotated[int, Field(ge=4096, le=1024 * MEBIBYTE)]


class SettingsError(InvalidArgument):
    """A setting that cannot be used; the message begins with the place it came from."""


class Settings(AccessSettings, TransportSettings, SupplySettings, BaseSettings):
    """All settings as one frozen value. Built directly it reads nothing; `load` reads flags, environment and file."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix=PREFIX, env_ignore_empty=True)

    models: Path = Field(Path("models"), description="Directory of the models: `<name>/<version>/model.onnx`.")
    state: Path = Field(Path(".serin"), description="Directory for routes, events and counters; made when missing.")
    host: str = Field("127.0.0.1", min_length=1, description="Address on which clients reach the models.")
    http_port: Port = Field(8000, description="HTTP port for clients; 0 takes a free one.")
    grpc: Literal["auto", "on", "off"] = Field("auto", description="gRPC too; `auto`: where grpcio is installed.")
    grpc_port: Port = Field(8001, description="gRPC port for clients, on the same host; 0 takes a free one.")
    admin_host: str = Field("127.0.0.1", min_length=1, description="Address of the admin API; keep it private.")
    admin_port: Port = Field(8002, description="Port of the admin API; 0 takes a free one.")
    admin_url: str = Field(
        "",
        pattern="^(https?://.+)?$",
        description="Admin API that commands talk to; else that of the admin host and port above.",
    )
    workers: int = Field(
        default_factory=lambda: available_cores(),
        ge=1,
        le=1024,
        description="Worker processes, each with every model in memory. Default: the cores this process may use.",
    )
    forkserver: bool = Field(
        True,
        description="Start all processes as copies of one that has the code imported; false: each imports for itself, "
        "and has a memory layout of its own.",
    )
    onnx_threads: Count = Field(
        0, description="ONNX Runtime threads per session; 0 shares the cores among the workers."
    )
    max_concurrency: Count = Field(
        0,
        description="Requests of one version that run at a time in one worker; 0: its share of the cores, at least 2, "
        "or 1 while more of them get no more done.",
    )
    adaptive_concurrency: bool = Field(
        False, description="Run fewer at a time, down to one, while more would only make each run slower."
    )
    max_queue: Count = Field(256, description="Requests that may wait for one version in one worker; more answer 429.")
    max_queue_seconds: Seconds = Field(
        1,
        description="In a queue that has stood for a while, nobody waits longer; more answer 429. 0: no such bound.",
    )
    max_in_flight: int = Field(
        1024, ge=1, description="Requests that one worker holds at a time, whatever the version; more answer 503."
    )
    request_timeout_seconds: Seconds = Field(30, gt=0, description="Deadline of a request; then it answers 504.")
    body_read_timeout_seconds: Seconds = Field(20, gt=0, description="Time a client has to send a request; then 408.")
    max_body_bytes: int = Field(
        64 * MEBIBYTE, ge=1024, description="Largest body, also after decompression; above: 413."
    )
    max_header_bytes: int = Field(64 * 1024, ge=1024, description="Largest request head; above: 431.")
    keep_alive_seconds: Seconds = Field(75, description="How long an idle client connection stays open.")
    stream_idle_seconds: Seconds = Field(
        600, description="Time until the next message of a gRPC stream is there as a whole; 0: no limit."
    )
    key_header: str = Field(
        "Serin-Routing-Key",
        pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
        description="Header that holds the routing key of a request where a route names no other source.",
    )
    scan_interval_seconds: Seconds = Field(2, gt=0, description="How often the models directory is looked through.")
    load_timeout_seconds: Seconds = Field(120, gt=0, description="Time the first load of a version may take.")
    load_memory_bytes: Count = Field(
        0, description="Memory for the first load of a version (RLIMIT_AS); 0: a quarter of what there is."
    )
    share_weights_bytes: Count = Field(
        64 * MEBIBYTE,
        description="Versions of this size or more are written once more, for workers to share the weights; 0: none.",
    )
    load_wait_seconds: Seconds = Field(30, description="How long a route change waits for versions that are loading.")
    unload_wait_seconds: Seconds = Field(30, description="How long an unload waits for requests in flight.")
    drift_window_requests: int = Field(
        1000, ge=100, le=10**9, description="Fewest requests of a window in which live inputs and outputs are compared."
    )
    drift_window_seconds: Seconds = Field(300, gt=0, description="Shortest such window.")
    drain_delay_seconds: Seconds = Field(
        1, description="After SIGTERM: not ready yet still serving, for the balancer to see."
    )
    drain_limit_seconds: Seconds = Field(
        30, description="After that delay: the most that requests in flight are waited for."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="`auto`: text on a terminal, else JSON lines."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    access_log: bool = Field(False, description="Log every request as a line of its own.")
    keep_gone_seconds: Keep = Field(
        3600, description="How long the counts of a version are shown when it is gone; 0, or KServe's names: for ever."
    )
    feedback_horizon_seconds: Horizon = Field(86_400, description="How late feedback may come; 0 takes none at all.")
    feedback_map_bytes: MapBytes = Field(4 * MEBIBYTE, description="Memory for the ids of feedback, 3 bytes each.")
    invocations_model: str = Field(
        "", description="Model that answers `/invocations` (MLflow, SageMaker); empty: the only one there is."
    )
    familiar_metrics: Familiarity = Field(
        "none", description="Also show Triton's or KServe's names on `/metrics`: `triton`, `kserve` or `all`."
    )
    self_check: bool = Field(
        True, description="Compare a drawn eighth of a version's requests with the rest of them: false alarms show."
    )
    faults: str = Field("", description="Faults to inject, for tests and demos only; see `service/faults.py`.")

    sources: Annotated[dict[Name, SourceSettings], Field(max_length=MAX_NAMED)] = Field(
        default={}, description="Where checks may ask for numbers: `[sources.NAME]`, in the file only."
    )
    hooks: Annotated[dict[Name, HookSettings], Field(max_length=MAX_NAMED)] = Field(
        default={}, description="Who is told of events: `[hooks.NAME]`, in the file only."
    )
    upstreams: Annotated[dict[Name, UpstreamSettings], Field(max_length=MAX_NAMED)] = Field(
        default={}, description="Servers whose models may be variants: `[upstreams.NAME]`, in the file only."
    )

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    @field_validator("faults")
    @classmethod
    def _faults_parse(cls, text: str) -> str:
        try:
            Faults.parse(text)
        except InvalidArgument as error:
            raise ValueError(str(error)) from error
        return text

    @property
    def cores_per_worker(self) -> int:
        """The share of the usable cores that one worker has; at least 1."""
        return max(1, available_cores() // self.workers)

    @property
    def session_threads(self) -> int:
        """Threads of one ONNX session in a worker."""
        return self.onnx_threads or self.cores_per_worker

    @property
    def concurrency(self) -> int:
        """Runs of one version at a time in one worker: at least 2, for free cores (see service/runtime/overlap.py)."""
        return self.max_concurrency or max(2, self.cores_per_worker)

    @property
    def admin_address(self) -> str:
        """Base URL at which commands find the admin API."""
        if self.admin_url:
            return self.admin_url.rstrip("/")
        return local_url(self.admin_host, self.admin_port, self.admin_tls_files is not None)

    @property
    def public_address(self) -> str:
        """Base URL at which commands find the models."""
        return local_url(self.host, self.http_port, self.public_tls_files is not None)

    def origin(self, name: str) -> str:
        """Where the value came from: `--flag`, `SERIN_NAME`, the path of the file, or `default`."""
        return self._origins.get(name, "default")


def load(flags: Mapping[str, object]) -> Settings:
    """Settings from flags, else `SERIN_*`, else the file, else defaults. `flags`: values by field name, plus `config`.

    The file is `flags["config"]`, else `SERIN_CONFIG`, else `serin.toml` in the working directory if it is there.
    Raises SettingsError with one line that names the flag, variable or file at fault.
    """
    given: dict[str, Any] = {name: value for name, value in flags.items() if name != "config" and value is not None}
    file = _settings_file(flags.get("config"))
    sources = _Sources(given, file)
    try:
        loaded = sources.reader()(**given)
    except ValidationError as error:
        raise SettingsError(sources.complaint(error)) from None
    except TOMLDecodeError as error:
        raise SettingsError(f"{file}: not valid TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: cannot be read: {error.__class__.__name__}") from None
    loaded._origins.update(sources.origins)
    return loaded


def _settings_file(flag: object) -> Path | None:
    named, origin = (flag, "--config") if flag else (os.environ.get(f"{PREFIX}CONFIG"), f"{PREFIX}CONFIG")
    if not named:
        return Path(FILE_NAME) if Path(FILE_NAME).is_file() else None
    if not Path(str(named)).is_file():
        raise SettingsError(f"{origin}: no such file: {named}")
    return Path(str(named))


class _Environment(EnvSettingsSource):
    """All but the tables, which only a file can hold in a way that people can read."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return (None, field_name, False) if field_name in TABLES else super().get_field_value(field, field_name)


class _Sources:
    """The three places of one `load`, and which of them gave each value."""

    def __init__(self, flags: Mapping[str, object], file: Path | None) -> None:
        self.flags = flags
        self.file = file
        self.origins: dict[str, str] = {}

    def reader(self) -> type[Settings]:
        outer = self

        class Loaded(Settings):
            @classmethod
            def settings_customise_sources(
                cls,
                settings_cls: type[BaseSettings],
                init_settings: PydanticBaseSettingsSource,
                env_settings: PydanticBaseSettingsSource,
                dotenv_settings: PydanticBaseSettingsSource,
                file_secret_settings: PydanticBaseSettingsSource,
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                return outer.places(settings_cls)

        return Loaded

    def places(self, settings_cls: type[BaseSettings]) -> tuple[PydanticBaseSettingsSource, ...]:
        file = TomlConfigSettingsSource(settings_cls, self.file) if self.file else None
        environment = _Environment(settings_cls)
        self.origins.update((name, str(self.file)) for name in (file() if file else ()))
        self.origins.update((name, f"{PREFIX}{name.upper()}") for name in environment())
        self.origins.update((name, flag_of(name)) for name in self.flags)
        flags = InitSettingsSource(settings_cls, init_kwargs=dict(self.flags))
        return (flags, environment, file) if file else (flags, environment)

    def complaint(self, error: ValidationError) -> str:
        first = error.errors(include_url=False, include_context=False)[0]
        name, path = str(first["loc"][0]), ".".join(str(part) for part in first["loc"] if part != "[key]")
        if first["type"] == "extra_forbidden":
            known = TABLES[name].model_fields if name in TABLES else Settings.model_fields
            near = get_close_matches(path.rpartition(".")[2], known, 1)
            return f"{self.origins[name]}: unknown setting {path!r}" + (f"; did you mean {near[0]!r}?" if near else "")
        where = self.origins.get(name, name)
        where = f"{where}: {path}" if self.file and where == str(self.file) else where
        message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        # What stands in a table may hold a secret that does not belong there.
        return f"{where}: {message}" + ("" if name in TABLES else f", got {_short(first['input'])}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def in_order() -> Mapping[str, FieldInfo]:
    """All settings as they are shown: those of this module before the groups that have modules of their own."""
    groups = {**SupplySettings.model_fields, **AccessSettings.model_fields, **TransportSettings.model_fields}
    own = {name: field for name, field in Settings.model_fields.items() if name not in groups and name not in TABLES}
    tables = {name: Settings.model_fields[name] for name in TABLES}
    return {**own, **groups, **tables}


def local_url(host: str, port: int, tls: bool) -> str:
    """Where clients of this host reach a port (a wildcard becomes loopback)."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"


def flag_of(name: str) -> str:
    """The flag of a field: `--http-port` of `http_port`."""
    return "--" + name.replace("_", "-")


def hook_secret(settings: Settings, name: str) -> bytes:
    """What signs the messages to `[hooks.name]`. Raises SettingsError when there is none, or a short one."""
    found = secret("hooks", name, settings.hooks[name].secret_file)
    if not found:
        way = f"name a secret_file, or set {secret_variable('hooks', name)}"
        raise SettingsError(f"hooks.{name}: has no secret; {way}")
    if len(found) < MIN_SECRET_BYTES:
        raise SettingsError(f"hooks.{name}: its secret has fewer than {MIN_SECRET_BYTES} bytes")
    return found


def secret(table: str, name: str, file: Path | None) -> bytes:
    """The secret of `[table.name]`: the file's content without the newline at its end, else the variable's; b"" when
    there is neither. Raises SettingsError."""
    if file is None:
        return os.environb.get(secret_variable(table, name).encode(), b"")
    try:
        return file.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise SettingsError(f"{table}.{name}: {file}: cannot be read: {error.__class__.__name__}") from None


def api_key(settings: Settings) -> str:
    """The key that commands send: in the file that `api_key_file` names, else in SERIN_API_KEY; "" without one. Raises
    SettingsError, which quotes nothing of it."""
    file = settings.api_key_file
    if file is None:
        found, origin = os.environ.get(API_KEY, ""), API_KEY
    else:
        origin = f"{settings.origin('api_key_file')}: {file}"
        try:
            found = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{origin}: cannot be read: {error.__class__.__name__}") from None
        if not found:
            raise SettingsError(f"{origin}: is empty")
    if not found.isascii() or not found.isprintable() or " " in found:
        raise SettingsError(f"{origin}: is no key: it holds other signs than keys do")
    return found


def reference() -> str:
    """All settings as Markdown tables, for docs/reference."""
    lines = ["| Setting | Flag | Environment | Default | Meaning |", "|---|---|---|---|---|"]
    for name, field in in_order().items():
        if name in TABLES:
            continue
        default = "*cores*" if field.default_factory else f"`{_plain(field.default)}`"
        lines.append(f"| `{name}` | `{flag_of(name)}` | `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join([*lines, "", outside_reference()])


def _plain(value: Any) -> str:
    if value is None or value == ():
        return '""'
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'


if __name__ == "__main__":
    sys.stdout.write(reference() + "\n")
