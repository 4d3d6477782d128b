"""Certificates for tests: a CA of their own, and files of what it and others have signed."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

HOST = "127.0.0.1"


@dataclass
class Authority:
    """A CA. `file`: its certificate, as clients and servers take it."""

    directory: Path
    name: str
    ca: trustme.CA

    @classmethod
    def new(cls, directory: Path, name: str = "ca") -> "Authority":
        directory.mkdir(parents=True, exist_ok=True)
        made = cls(directory, name, trustme.CA())
        made.ca.cert_pem.write_to_path(str(made.file))
        return made

    @property
    def file(self) -> Path:
        return self.directory / f"{self.name}.pem"

    def issue(self, name: str, *hosts: str, days: float = 30) -> tuple[Path, Path]:
        """Files of a certificate and its key, for so many days from now; below 0 it has expired."""
        now = datetime.now(UTC)
        begin, end = now - timedelta(days=60), now + timedelta(days=days)
        issued = self.ca.issue_cert(*(hosts or (HOST, "localhost")), not_before=begin, not_after=end)
        cert, key = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        return cert, key

    def client(self, shown: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """How a client connects that trusts this CA, and shows such a certificate."""
        context = ssl.create_default_context(cafile=str(self.file))
        if shown is not None:
            context.load_cert_chain(*shown)
        return context
