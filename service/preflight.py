"""What must hold before anything is started: readable models, a state directory of our own, enough open files."""

import fcntl
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from router.errors import SerinError
from service import logs, sockets
from service.access import COPY, Places, keep_copy, load_keys
from service.certificates import CertificateError, TlsFiles, read
from service.runtime.allowed import read_digests
from service.settings import Settings, SettingsError, hook_secret, secret
from service.transport import SERVED

T = TypeVar("T")

LOCK_NAME = "serin.lock"
WANTED_FILES = 65536
FEW_FILES = 1024

#: Time that workers of a killed supervisor get to notice it and leave their port.
PATIENCE_SECONDS = 10.0


def named(settings: Settings, field: str, attempt: Callable[[], T]) -> T:
    """What `attempt` returns; its SerinError becomes a SettingsError that names where the setting came from."""
    try:
        return attempt()
    except SerinError as error:
        raise SettingsError(f"{_place(settings, field)}: {error}") from error


def require_models(settings: Settings) -> None:
    """Raises SettingsError when the models directory is none or cannot be read."""
    if not settings.models.is_dir():
        raise SettingsError(f"{_place(settings, 'models')}: no such directory: {settings.models}")
    if not os.access(settings.models, os.R_OK | os.X_OK):
        raise SettingsError(f"{_place(settings, 'models')}: cannot be read: {settings.models}")


def require_secrets(settings: Settings) -> None:
    """Raises SettingsError when a secret of a source, hook or upstream is missing, too short, or cannot be read."""
    for name in settings.hooks:
        hook_secret(settings, name)
    for name, source in settings.sources.items():
        secret("sources", name, source.token_file)
    for name, upstream in settings.upstreams.items():
        secret("upstreams", name, upstream.token_file)


def require_supplies(settings: Settings) -> None:
    """Raises SettingsError when the list of digests or a library cannot be used."""
    if settings.allowed_digests_file is not None:
        named(settings, "allowed_digests_file", partial(read_digests, settings.allowed_digests_file))
    root = settings.models.resolve()
    for path in settings.custom_op_libraries:
        place = _place(settings, "custom_op_libraries")
        if not path.is_file() or not os.access(path, os.R_OK):
            raise SettingsError(f"{place}: cannot be read: {path}")
        if path.resolve().is_relative_to(root):
            raise SettingsError(f"{place}: {path} lies in the models directory; who publishes models must not write it")


def require_certificates(settings: Settings) -> None:
    """Raises SettingsError when files of TLS are missing, cannot be read, or do not belong together."""
    if (incomplete := settings.incomplete_tls()) is not None:
        there, lacking = incomplete
        raise SettingsError(f"{_place(settings, there)}: needs {lacking} too")
    if settings.admin_tls == "off" and settings.public_tls_files and not sockets.is_loopback(settings.admin_host):
        raise SettingsError(f"{_place(settings, 'admin_tls')}: off is for the loopback, not for {settings.admin_host}")
    for prefix, files in (("", settings.public_tls_files), ("admin_", settings.admin_tls_files)):
        if files is not None:
            _try(settings, prefix, files)


def _try(settings: Settings, prefix: str, files: TlsFiles) -> None:
    try:
        read(files)
    except CertificateError as error:
        own = f"{prefix}{SERVED[error.part]}"
        field = own if getattr(settings, own) is not None else SERVED[error.part]
        raise SettingsError(f"{_place(settings, field)}: {error}") from error


def require_access(settings: Settings) -> None:
    """Raises SettingsError when the keys cannot be read, or others reach a port that asks for no key and nobody said
    that this is meant."""
    if settings.keys_file is not None:
        named(settings, "keys_file", partial(load_keys, settings.keys_file))
    ports = (
        ("host", settings.host, settings.callers_need_keys, "insecure_open_models"),
        ("admin_host", settings.admin_host, settings.keys_file is not None, "insecure_open_admin"),
    )
    meant = []
    for field, host, is_guarded, insecure in ports:
        if is_guarded or named(settings, field, partial(sockets.is_loopback, host)):
            continue
        if not getattr(settings, insecure):
            raise SettingsError(
                f"{_place(settings, field)}: others can reach {host}, and no key is asked there; make one with "
                f"`serin key new` and name its file with keys_file, or, where all who reach it are trusted, set "
                f"{insecure} = true"
            )
        meant.append((field, host))
    for field, host in meant:
        logs.get("supervisor").warning("WHOEVER REACHES THIS ADDRESS NEEDS NO KEY", setting=field, address=host)


def keep_keys(settings: Settings) -> None:
    """Keep the good content of the file of keys, for children that are replaced while it cannot be used."""
    if settings.keys_file is not None:
        named(settings, "keys_file", partial(keep_copy, Places(settings.keys_file, settings.state / COPY)))


@contextmanager
def state_directory(settings: Settings) -> Iterator[bool]:
    """Make the state directory and hold its lock. Yields whether the supervisor before us ended without a goodbye.

    Raises SettingsError when it cannot be made or written, or another Serin holds it.
    """
    place, path = _place(settings, "state"), settings.state
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        (path / "counters").mkdir(exist_ok=True, mode=0o700)
        lock = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(f"{place}: {path} cannot be used: {os.strerror(error.errno or 0)}") from None
    try:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SettingsError(f"{place}: {path} is in use by another Serin (process {holder or 'unknown'})") from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield bool(holder)
        os.ftruncate(lock, 0)
    finally:
        os.close(lock)


def raise_open_files() -> None:
    """Take as many open files as we may: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    best = WANTED_FILES if hard == unlimited else min(hard, WANTED_FILES)
    if soft != unlimited and soft < best:
        resource.setrlimit(resource.RLIMIT_NOFILE, (best, hard))
        soft = best
    if soft != unlimited and soft < FEW_FILES:
        logs.get("supervisor").warning(
            "few open files are allowed, so few connections are; see `ulimit -n`", limit=soft
        )


def _place(settings: Settings, field: str) -> str:
    origin = settings.origin(field)
    return field if origin == "default" else origin
