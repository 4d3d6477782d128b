"""How commands connect with TLS: whom they trust, and what they show."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from service.settings import Settings, SettingsError


def connection(settings: Settings, url: str) -> dict[str, Any]:
    """What an httpx client of `url` takes besides the URL. Raises SettingsError when a file cannot be used."""
    if not url.startswith("https:"):
        return {}
    made: dict[str, Any] = {"verify": _context(settings)}
    if settings.server_name:
        made["event_hooks"] = {"request": [_naming(settings.server_name)]}
    return made


def _naming(name: str) -> Callable[[httpx.Request], None]:
    def told(request: httpx.Request) -> None:
        request.extensions["sni_hostname"] = name

    return told


def _context(settings: Settings) -> ssl.SSLContext:
    ca_file = settings.ca_file
    try:
        context = ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=False)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(settings, "ca_file", ca_file) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.client_cert_file is not None:
        try:
            context.load_cert_chain(settings.client_cert_file, settings.client_key_file, password=_no_passphrase)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise _unusable(settings, "client_cert_file", settings.client_cert_file) from error
    return context


def _no_passphrase() -> bytes:
    raise ValueError("the key has a passphrase")


def _unusable(settings: Settings, name: str, path: Path | None) -> SettingsError:
    origin = settings.origin(name)
    why = "cannot be read" if path is not None and not path.is_file() else "holds nothing usable in PEM form"
    more = ", or client_key_file does" if name == "client_cert_file" else ""
    return SettingsError(f"{name if origin == 'default' else origin}: {path}: {why}{more}")
