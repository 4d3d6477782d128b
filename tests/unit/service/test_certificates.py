"""Files of a port's TLS: what is taken, what is refused and with which words, and how they are renewed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization as forms

from service.certificates import CertificateError, Renewal, TlsFiles, read

CA = trustme.CA()
NOW = datetime.now(UTC)


def files(directory: Path, name: str = "server", end: datetime = NOW + timedelta(days=30)) -> TlsFiles:
    issued = CA.issue_cert("gw.test", not_before=datetime(1999, 1, 1, tzinfo=UTC), not_after=end)
    cert, key, client_ca = directory / f"{name}.crt", directory / f"{name}.key", directory / "ca.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    client_ca.write_bytes(CA.cert_pem.bytes())
    return TlsFiles(cert, key, client_ca)


@pytest.mark.parametrize("end", [datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC), datetime(2066, 1, 2, 3, 4, 5, tzinfo=UTC)])
def test_the_end_of_a_certificate_is_read_in_both_forms_of_time(tmp_path: Path, end: datetime) -> None:
    assert read(files(tmp_path, end=end)).not_after == end.timestamp()


SPOILED = {
    "no certificate": ("certificate", "crt", b"hello", "holds no certificate in PEM form"),
    "cut certificate": (
        *("certificate", "crt", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
        "holds no certificate in PEM form",
    ),
    "no key": ("key", "key", b"hello", "holds no private key in PEM form"),
    "other key": ("key", "key", CA.issue_cert("x.test").private_key_pem.bytes(), "is not the key of the certificate"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_what_cannot_be_used_is_named(tmp_path: Path, case: str) -> None:
    part, suffix, content, words = SPOILED[case]
    given = files(tmp_path)
    (tmp_path / f"server.{suffix}").write_bytes(content)
    with pytest.raises(CertificateError, match=words) as refused:
        read(given)
    assert refused.value.part == part


def test_a_key_with_a_passphrase_is_refused_without_asking_for_it(tmp_path: Path) -> None:
    given = files(tmp_path)
    key = forms.load_pem_private_key(given.key.read_bytes(), None)
    locked = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.BestAvailableEncryption(b"secret"))
    given.key.write_bytes(locked)
    with pytest.raises(CertificateError, match="locked by a passphrase"):
        read(given)


@pytest.mark.parametrize("part", ["certificate", "key", "client_ca"])
def test_a_missing_file_is_named(tmp_path: Path, part: str) -> None:
    given = files(tmp_path)
    getattr(given, part).unlink()
    with pytest.raises(CertificateError, match="cannot be read: No such file or directory") as refused:
        read(given)
    assert refused.value.part == part


def test_new_files_take_the_place_of_old_ones_only_when_they_are_whole(tmp_path: Path) -> None:
    told: list[tuple[str, bool]] = []
    given = files(tmp_path)
    renewal = Renewal(given, lambda text, bad: told.append((text, bad)), NOW.timestamp)
    first = renewal.current
    assert not renewal.look()

    key = given.key.read_bytes()
    files(tmp_path, end=NOW + timedelta(days=60))
    given.key.write_bytes(key)  # the certificate is new, its key is not there yet
    assert not renewal.look()
    assert not renewal.look()
    assert renewal.current is first
    assert [bad for _, bad in told] == [True]
    assert "is not the key" in renewal.trouble

    files(tmp_path, end=NOW + timedelta(days=90))
    assert renewal.look()
    assert renewal.current.not_after > first.not_after
    assert renewal.current.context is not first.context
    assert renewal.trouble == ""


def test_an_old_certificate_is_shown_and_complained_of(tmp_path: Path) -> None:
    told: list[str] = []
    later = (NOW + timedelta(days=31)).timestamp()
    Renewal(files(tmp_path), lambda text, bad: told.append(text), lambda: later)
    assert "THE CERTIFICATE HAS EXPIRED" in told[0]


def test_a_process_that_starts_while_files_are_bad_goes_on_with_what_was_kept(tmp_path: Path) -> None:
    given = files(tmp_path)
    good = read(given)
    given.key.write_text("not a key")
    with pytest.raises(CertificateError):
        Renewal(given, lambda text, bad: None, NOW.timestamp)
    told: list[tuple[str, bool]] = []
    renewal = Renewal(given, lambda text, bad: told.append((text, bad)), NOW.timestamp, good.kept())
    assert (renewal.current.certificate, renewal.current.not_after) == (good.certificate, good.not_after)
    assert renewal.current.context.verify_mode == good.context.verify_mode
    assert [bad for _, bad in told] == [True]
    assert not renewal.look()
    files(tmp_path, end=NOW + timedelta(days=90))
    assert renewal.look()
    assert renewal.trouble == ""
