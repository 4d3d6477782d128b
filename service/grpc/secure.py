"""TLS of the gRPC port: the same files, the same renewal; gRPC asks for news before each handshake."""

from typing import Any, Final

import grpc

from service.certificates import Credentials, Renewal

HANDSHAKE_MS: Final = 10_000


def server_credentials(tls: Renewal) -> Any:
    """For `add_secure_port`. What it shows follows `tls`; whether clients need a certificate is fixed."""
    shown = tls.current

    def news() -> Any:
        # In one of gRPC's threads: nothing but a look at what was read already.
        nonlocal shown
        found = tls.current
        if found is shown:
            return None
        shown = found
        return _configuration(found)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(shown), news, require_client_authentication=shown.client_ca is not None
    )


def _configuration(found: Credentials) -> Any:
    return grpc.ssl_server_certificate_configuration([(found.key, found.certificate)], found.client_ca)
