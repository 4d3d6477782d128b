"""The certificate of a port in this process: read at its start, renewed while it runs, told to log and metrics."""

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from router.metrics import Sample
from service import logs
from service.certificates import LOOK_SECONDS, Renewal, TlsFiles

NOTHING: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType({})
CLIENTS, ADMIN = "clients", "admin"
"""Ports by who comes there: HTTP and gRPC show the same certificate."""


def renewal_of(
    files: TlsFiles | None, port: str, now: Callable[[], float], kept: Mapping[str, Mapping[str, str]] = NOTHING
) -> Renewal | None:
    """None where the port is plain. `kept`: by port, what could last be used. Raises CertificateError."""
    log = logs.get("tls")

    def tell(text: str, is_bad: bool) -> None:
        (log.error if is_bad else log.info)(text, port=port)

    return None if files is None else Renewal(files, tell, now, kept.get(port))


class Kept:
    """What the supervisor holds for processes that it starts while the files cannot be used. `by_port` is passed to
    them when they start, and stays one object. Raises CertificateError when made of unusable files."""

    def __init__(self, files: Mapping[str, TlsFiles | None], now: Callable[[], float]) -> None:
        self._renewals = {port: Renewal(found, _silent, now) for port, found in files.items() if found is not None}
        self.by_port = {port: renewal.current.kept() for port, renewal in self._renewals.items()}

    async def run(self) -> None:
        """Look at the files again and again until cancelled."""
        while self._renewals:
            await asyncio.sleep(LOOK_SECONDS)
            for port, renewal in self._renewals.items():
                if await asyncio.to_thread(renewal.look):
                    self.by_port[port] = renewal.current.kept()


def _silent(text: str, is_bad: bool) -> None:
    """The processes that show the certificate say so themselves."""


def tls_samples(port: str, renewal: Renewal | None) -> tuple[Sample, ...]:
    """What metrics show of it."""
    if renewal is None:
        return ()
    return (
        Sample("serin_tls_certificate_expiry_timestamp_seconds", (port,), renewal.current.not_after),
        Sample("serin_tls_reload_failed", (port,), 1 if renewal.trouble else 0),
    )
