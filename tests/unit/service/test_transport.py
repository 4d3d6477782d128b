"""Which port shows which certificate, and settings of TLS that mean nothing."""

from pathlib import Path

import pytest

from service import preflight
from service.settings import Settings, SettingsError

A, B, C = Path("a.pem"), Path("b.pem"), Path("c.pem")


def test_one_pair_is_for_all_ports() -> None:
    said = Settings(tls_cert_file=A, tls_key_file=B, tls_client_ca_file=C)
    assert said.public_tls_files == said.admin_tls_files
    assert said.admin_address.startswith("https://")
    assert said.public_address.startswith("https://")


def test_the_admin_port_may_have_files_of_its_own() -> None:
    said = Settings(tls_cert_file=A, tls_key_file=B, admin_tls_cert_file=B, admin_tls_key_file=C)
    assert said.public_tls_files is not None
    assert said.admin_tls_files is not None
    assert (said.public_tls_files.certificate, said.admin_tls_files.certificate) == (A, B)


def test_the_admin_port_alone_may_speak_tls_and_alone_may_not() -> None:
    alone = Settings(admin_tls_cert_file=B, admin_tls_key_file=C)
    assert (alone.public_tls_files, alone.admin_address[:8]) == (None, "https://")
    off = Settings(tls_cert_file=A, tls_key_file=B, admin_tls="off")
    assert (off.admin_tls_files, off.admin_address[:7]) == (None, "http://")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tls_cert_file": A}, "tls_cert_file: needs tls_key_file too"),
        ({"tls_key_file": A}, "tls_key_file: needs tls_cert_file too"),
        ({"tls_client_ca_file": A}, "tls_client_ca_file: needs tls_cert_file too"),
        ({"admin_tls_key_file": A}, "admin_tls_key_file: needs admin_tls_cert_file too"),
        ({"admin_tls_client_ca_file": A}, "admin_tls_client_ca_file: needs admin_tls_cert_file too"),
        ({"tls_cert_file": A, "tls_key_file": B}, "tls_cert_file: a.pem: cannot be read"),
        ({"admin_tls_cert_file": A, "admin_tls_key_file": B}, "admin_tls_cert_file: a.pem: cannot be read"),
        (
            {"tls_cert_file": A, "tls_key_file": B, "admin_tls": "off", "admin_host": "0.0.0.0"},
            "admin_tls: off is for the loopback",
        ),
    ],
)
def test_what_is_half_said_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=f"^{words}"):
        preflight.require_certificates(Settings(**given))  # type: ignore[arg-type]
