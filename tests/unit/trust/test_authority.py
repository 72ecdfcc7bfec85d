"""The server's own authority for TLS."""

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from antiphon.core.errors import CallerError
from antiphon.trust.authority import AUTHORITY_KEY_NAME, AUTHORITY_NAME, certify, own_names

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def read(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_who_is_named(tmp_path):
    certificate, _ = certify(tmp_path, "speech.example", NOW)
    names = read(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "speech.example"} <= set(names.get_values_for_type(x509.DNSName))
    assert ipaddress.ip_address("::1") in names.get_values_for_type(x509.IPAddress)
    assert "0.0.0.0" not in own_names("0.0.0.0")


@pytest.mark.parametrize(
    ("host", "days", "anew"),
    [("localhost", 0, False), ("localhost", 59, False), ("localhost", 61, True), ("a.b", 0, True)],
)
def test_it_is_renewed_before_it_ends_and_for_new_names(tmp_path, host, days, anew):
    before, authority = read(certify(tmp_path, "localhost", NOW)[0]), (tmp_path / AUTHORITY_NAME).read_bytes()
    after = read(certify(tmp_path, host, NOW + timedelta(days=days))[0])
    assert (after != before) is anew
    after.verify_directly_issued_by(read(tmp_path / AUTHORITY_NAME))
    assert (tmp_path / AUTHORITY_NAME).read_bytes() == authority


def test_it_never_outlives_its_authority(tmp_path):
    certify(tmp_path, "localhost", NOW)
    ends = read(tmp_path / AUTHORITY_NAME).not_valid_after_utc
    assert read(certify(tmp_path, "localhost", ends - timedelta(days=5))[0]).not_valid_after_utc == ends
    with pytest.raises(CallerError, match="has expired"):
        certify(tmp_path, "localhost", ends)


def test_a_damaged_authority_is_named(tmp_path):
    certify(tmp_path, "localhost", NOW)
    (tmp_path / AUTHORITY_KEY_NAME).write_text("nonsense")
    with pytest.raises(CallerError, match=AUTHORITY_KEY_NAME):
        certify(tmp_path, "localhost", NOW)
