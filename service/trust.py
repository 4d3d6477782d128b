"""How commands connect with TLS: whom they trust, and what they show."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from service.certificates import first_certificate
from service.settings import Settings, SettingsError


def connection(settings: Settings, url: str) -> dict[str, Any]:
    """What an httpx client of `url` takes besides the URL. Raises SettingsError when a file cannot be used."""
    if not url.startswith("https:"):
        return {}
    made: dict[str, Any] = {"verify": _own(settings, url) or _context(settings)}
    if settings.server_name:
        made["event_hooks"] = {"request": [_naming(settings.server_name)]}
    return made


def _naming(name: str) -> Callable[[httpx.Request], None]:
    def told(request: httpx.Request) -> None:
        request.extensions["sni_hostname"] = name

    return told


def _own(settings: Settings, url: str) -> ssl.SSLContext | None:
    """Trust in exactly the certificate that the settings name, whatever its name is, for the gateway that they are of;
    None for any other, or where a CA is named."""
    public, admin = settings.public_tls_files, settings.admin_tls_files
    files = public if url == settings.public_address else admin if url == settings.admin_address else None
    if files is None or settings.admin_url or settings.ca_file is not None or settings.server_name:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        # The first alone: a CA that follows it has signed for others too.
        context.load_verify_locations(cadata=first_certificate(files.certificate.read_bytes()))
    except (OSError, ssl.SSLError, ValueError):
        return None
    return _showing(settings, context)


def _context(settings: Settings) -> ssl.SSLContext:
    ca_file = settings.ca_file
    try:
        context = ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=False)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(settings, "ca_file", ca_file) from error
    return _showing(settings, context)


def _showing(settings: Settings, context: ssl.SSLContext) -> ssl.SSLContext:
    """The same, which shows the client's certificate if there is one."""
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
