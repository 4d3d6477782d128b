"""The certificate of a port in this process: read at its start, renewed while it runs, told to log and metrics."""

from collections.abc import Callable

from router.metrics import Sample
from service import logs
from service.certificates import Renewal, TlsFiles

CLIENTS, ADMIN = "clients", "admin"
"""Ports by who comes there: HTTP and gRPC show the same certificate."""


def renewal_of(files: TlsFiles | None, port: str, now: Callable[[], float]) -> Renewal | None:
    """None where the port is plain. Raises CertificateError."""
    log = logs.get("tls")

    def tell(text: str, is_bad: bool) -> None:
        (log.error if is_bad else log.info)(text, port=port)

    return None if files is None else Renewal(files, tell, now)


def tls_samples(port: str, renewal: Renewal | None) -> tuple[Sample, ...]:
    """What metrics show of it."""
    if renewal is None:
        return ()
    return (
        Sample("serin_tls_certificate_expiry_timestamp_seconds", (port,), renewal.current.not_after),
        Sample("serin_tls_reload_failed", (port,), 1 if renewal.trouble else 0),
    )
