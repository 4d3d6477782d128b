"""Settings of TLS: the files of each port, and what commands trust and show when they connect."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from service.certificates import TlsFiles

OF_COMMANDS = frozenset({"ca_file", "client_cert_file", "client_key_file", "server_name"})
"""A gateway that is being started has no use for these."""

SERVED = {"certificate": "tls_cert_file", "key": "tls_key_file", "client_ca": "tls_client_ca_file"}


class TransportSettings(BaseModel):
    """Part of all settings."""

    tls_cert_file: Path | None = Field(
        None,
        description="Certificate and those that lead to its CA, in PEM: TLS on all ports. Read again on change.",
    )
    tls_key_file: Path | None = Field(None, description="Its private key, in PEM, without a passphrase.")
    tls_client_ca_file: Path | None = Field(
        None, description="Clients must show a certificate that one of these CAs has signed (mutual TLS)."
    )
    admin_tls: Literal["on", "off"] = Field(
        "on", description="`off`: the admin port speaks plain HTTP all the same; on the loopback only."
    )
    admin_tls_cert_file: Path | None = Field(
        None, description="Another certificate for the admin port; alone: TLS on that port only."
    )
    admin_tls_key_file: Path | None = Field(None, description="The private key of that one.")
    admin_tls_client_ca_file: Path | None = Field(
        None, description="Other CAs for clients of the admin port, in place of `tls_client_ca_file`."
    )
    ca_file: Path | None = Field(None, description="CAs that commands trust, in place of the public ones.")
    client_cert_file: Path | None = Field(None, description="Certificate that commands show, in PEM.")
    client_key_file: Path | None = Field(None, description="Its private key.")
    server_name: str = Field(
        "", max_length=253, description="Name that the gateway's certificate must have, if not that of the address."
    )

    @property
    def public_tls_files(self) -> TlsFiles | None:
        """What HTTP and gRPC show; None: they are plain."""
        if self.tls_cert_file is None or self.tls_key_file is None:
            return None
        return TlsFiles(self.tls_cert_file, self.tls_key_file, self.tls_client_ca_file)

    @property
    def admin_tls_files(self) -> TlsFiles | None:
        """What the admin port shows; None: it is plain."""
        if self.admin_tls == "off":
            return None
        client_ca = self.admin_tls_client_ca_file or self.tls_client_ca_file
        if self.admin_tls_cert_file is not None and self.admin_tls_key_file is not None:
            return TlsFiles(self.admin_tls_cert_file, self.admin_tls_key_file, client_ca)
        if self.tls_cert_file is None or self.tls_key_file is None:
            return None
        return TlsFiles(self.tls_cert_file, self.tls_key_file, client_ca)

    def incomplete_tls(self) -> tuple[str, str] | None:
        """A setting of TLS that means nothing by itself, and which one it lacks."""
        for prefix in ("", "admin_"):
            cert, key, client_ca = (getattr(self, f"{prefix}tls_{part}_file") for part in ("cert", "key", "client_ca"))
            if cert is not None and key is None:
                return f"{prefix}tls_cert_file", f"{prefix}tls_key_file"
            if key is not None and cert is None:
                return f"{prefix}tls_key_file", f"{prefix}tls_cert_file"
            if client_ca is not None and (self.admin_tls_files if prefix else self.public_tls_files) is None:
                return f"{prefix}tls_client_ca_file", f"{prefix}tls_cert_file"
        return None
