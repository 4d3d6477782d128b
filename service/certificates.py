"""Certificates from files: what a port shows, whom it asks for theirs, and how both are renewed while it runs.

A new pair is read whole, tried, and only then takes the place of the old one: connections that are made from then on
get it. Files that cannot be used change nothing but what is logged and shown.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from router.errors import InvalidArgument

LOOK_SECONDS: Final = 2.0
"""Between two looks at the files."""

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: those with forward secrecy and authenticated encryption. TLS 1.3 has no others."""

MAX_FILE_BYTES: Final = 4 << 20
BEGIN, END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
UTC_TIME, GENERALIZED_TIME, CONTEXT_0 = 0x17, 0x18, b"\xa0"

Part = Literal["certificate", "key", "client_ca"]
Stamp = tuple[tuple[int, ...], ...]


class CertificateError(InvalidArgument):
    """A file that cannot be used; `part` says which."""

    def __init__(self, part: Part, message: str) -> None:
        super().__init__(message)
        self.part = part


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of one port. `client_ca`: clients must show a certificate that one of these has signed."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def stamp(self) -> Stamp:
        """Changes when one of the files does."""
        return tuple(_stamp(path) for path in (self.certificate, self.key, self.client_ca) if path is not None)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What was in the files, and the context made of it. `not_after`: until when the certificate holds, in seconds
    since 1970."""

    context: ssl.SSLContext
    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None
    not_after: float

    def kept(self) -> dict[str, str]:
        """The files' content as text, for another process to go on with."""
        parts = {"certificate": self.certificate, "key": self.key, "client_ca": self.client_ca}
        return {name: part.decode("latin-1") for name, part in parts.items() if part is not None}


def read(files: TlsFiles) -> Credentials:
    """Read and try the files. Raises CertificateError."""
    certificate, key = _content("certificate", files.certificate), _content("key", files.key)
    client_ca = None if files.client_ca is None else _content("client_ca", files.client_ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    not_after = _not_after(files.certificate, certificate)
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_passphrase)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise _pair_error(files, error) from error
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(files.client_ca)
        except (ssl.SSLError, OSError) as error:
            raise CertificateError("client_ca", f"{files.client_ca}: holds no certificates in PEM form") from error
    return Credentials(context, certificate, key, client_ca, not_after)


def read_kept(kept: Mapping[str, str]) -> Credentials:
    """Of what `Credentials.kept` gave. OpenSSL reads files only, so they are files that nobody else can see."""
    with ExitStack() as stack:

        def file(part: str) -> Path:
            descriptor = os.memfd_create(part)
            stack.callback(os.close, descriptor)
            os.write(descriptor, kept[part].encode("latin-1"))
            return Path(f"/proc/self/fd/{descriptor}")

        return read(TlsFiles(file("certificate"), file("key"), file("client_ca") if "client_ca" in kept else None))


class Renewal:
    """The credentials of one port, renewed when the files change. Raises CertificateError when made of unusable files
    and without `kept`: what was in them when they could last be used.

    `tell` gets a sentence, and whether it is bad news. `trouble`: why the files as they are now cannot be used.
    """

    def __init__(
        self,
        files: TlsFiles,
        tell: Callable[[str, bool], None],
        now: Callable[[], float],
        kept: Mapping[str, str] | None = None,
    ) -> None:
        self._files = files
        self._tell = tell
        self._now = now
        self._stamp = files.stamp()
        self.trouble = ""
        try:
            self.current = read(files)
        except CertificateError as error:
            if kept is None:
                raise
            self.current = read_kept(kept)
            self._failed(error.message)
        self._warn_of_age()

    def look(self) -> bool:
        """Read the files again if they are not those that are in use; whether there are new credentials."""
        stamp = self._files.stamp()
        if stamp == self._stamp and not self.trouble:
            return False
        try:
            found = read(self._files)
        except CertificateError as error:
            self._failed(error.message)
            return False
        if self._files.stamp() != stamp:  # written while they were read: the next look sees them whole
            return False
        self.trouble = ""
        self._stamp, self.current = stamp, found
        self._tell(f"the certificate was renewed; it holds until {_day(found.not_after)}", False)
        self._warn_of_age()
        return True

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.to_thread(self.look)

    def _failed(self, reason: str) -> None:
        if reason != self.trouble:
            self._tell(f"the new certificate cannot be used, the old one stays: {reason}", True)
        self.trouble = reason

    def _warn_of_age(self) -> None:
        if self.current.not_after < self._now():
            self._tell(f"THE CERTIFICATE HAS EXPIRED on {_day(self.current.not_after)}: clients will refuse it", True)


def _content(part: Part, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            found = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CertificateError(part, f"{path}: cannot be read: {os.strerror(error.errno or 0)}") from error
    if len(found) > MAX_FILE_BYTES:
        raise CertificateError(part, f"{path}: is larger than any certificate")
    return found


def _pair_error(files: TlsFiles, error: Exception) -> CertificateError:
    reason = getattr(error, "reason", "") or ""
    if reason == "KEY_VALUES_MISMATCH":
        return CertificateError("key", f"{files.key}: is not the key of the certificate in {files.certificate}")
    if isinstance(error, ValueError):
        return CertificateError("key", f"{files.key}: is locked by a passphrase; Serin takes keys without one")
    if reason in ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
        return CertificateError("certificate", f"{files.certificate}: is too weak for OpenSSL ({reason})")
    return CertificateError("key", f"{files.key}: holds no private key in PEM form that OpenSSL can read")


def _no_passphrase() -> bytes:
    raise ValueError("the key has a passphrase")


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError as error:
        return (error.errno or 0,)
    return status.st_mtime_ns, status.st_size, status.st_ino


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")


def first_certificate(pem: bytes) -> str:
    """The first certificate of a file, which is that of the port itself. Raises ValueError."""
    begin = pem.index(BEGIN)
    return pem[begin : pem.index(END, begin) + len(END)].decode("ascii")


def _not_after(path: Path, pem: bytes) -> float:
    """Of the first certificate in the file (RFC 5280, section 4.1: TBSCertificate, validity)."""
    try:
        der = ssl.PEM_cert_to_DER_cert(first_certificate(pem))
        _, certificate, _ = _value(der)
        _, fields, _ = _value(certificate)
        for _ in range(4 if fields[:1] == CONTEXT_0 else 3):  # version (optional), serial number, algorithm, issuer
            fields = _value(fields)[2]
        _, validity, _ = _value(fields)
        tag, text, _ = _value(_value(validity)[2])
        return _seconds(tag, text)
    except (ValueError, IndexError) as error:
        raise CertificateError("certificate", f"{path}: holds no certificate in PEM form") from error


def _value(der: bytes) -> tuple[int, bytes, bytes]:
    """Tag and content of the first value, and what follows it (X.690, section 8.1)."""
    tag, length, at = der[0], der[1], 2
    if length & 0x80:
        at += length & 0x7F
        length = int.from_bytes(der[2:at])
    if at + length > len(der):
        raise ValueError("cut short")
    return tag, der[at : at + length], der[at + length :]


def _seconds(tag: int, text: bytes) -> float:
    if tag not in (UTC_TIME, GENERALIZED_TIME):
        raise ValueError("not a time")
    form = "%y%m%d%H%M%SZ" if tag == UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC).timestamp()
