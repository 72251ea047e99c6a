"""When certificates end, when that is said, and how a replaced file is noticed."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from haagent.host.certificates import DAY_S, Certificates, _not_after, ends_at

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node1")])


def der(ends: datetime) -> bytes:
    return _signed(ends).public_bytes(serialization.Encoding.DER)


def pem(ends: datetime) -> str:
    return _signed(ends).public_bytes(serialization.Encoding.PEM).decode()


def _signed(ends: datetime) -> x509.Certificate:
    begins = min(ends, NOW) - timedelta(days=400)
    builder = x509.CertificateBuilder(NAME, NAME, KEY.public_key(), 7, begins, ends)
    return builder.sign(KEY, hashes.SHA256())


@pytest.mark.parametrize("year", [2027, 2049, 2050, 2199])
def test_the_end_is_read_from_both_forms_of_time(year: int) -> None:
    """RFC 5280: two digits of the year until 2049, four from 2050 on."""
    ends = datetime(year, 2, 28, 23, 59, 58, tzinfo=UTC)
    assert _not_after(der(ends)) == ends.timestamp()


def test_of_a_chain_the_first_end_counts(tmp_path: Path) -> None:
    file = tmp_path / "chain.pem"
    soon, late = NOW + timedelta(days=3), NOW + timedelta(days=300)
    file.write_text("a comment\n" + pem(late) + pem(soon))
    assert ends_at(str(file)) == soon.timestamp()


@given(raw=st.binary(max_size=80), cut=st.integers(0, 240))
def test_what_is_no_certificate_is_said_to_be_none(raw: bytes, cut: int) -> None:
    for broken in (raw, der(NOW)[:cut]):
        with pytest.raises(ValueError, match="no certificate"):
            _not_after(broken)


def test_a_file_without_one(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text("-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(ValueError, match="it holds no certificate"):
        ends_at(str(file))


def test_it_warns_once_at_each_stage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Fault 93: 30, 7 and 1 days before, and when it is over; again after the file was replaced."""
    file = tmp_path / "cert.pem"
    file.write_text(pem(NOW + timedelta(days=100)))
    certificates = Certificates({"restapi.certfile": str(file)}, {})
    said = []
    for day in (0, 69, 71, 72, 92, 94, 98.5, 99.5, 99.6, 100.5, 101):
        certificates.look(NOW.timestamp() + day * DAY_S)
        said += [(day, record.levelname) for record in caplog.records]
        caplog.clear()
    assert said == [(71, "WARNING"), (94, "WARNING"), (99.5, "WARNING"), (100.5, "ERROR")]
    file.write_text(pem(NOW + timedelta(days=120)) + "\n")
    assert certificates.look(NOW.timestamp() + 101 * DAY_S)
    assert "restapi.certfile: the certificate in " in caplog.text
    assert " ends in 19.0 days, at 2027-03-21 12:00+00:00; replace the file" in caplog.text


def test_a_replaced_file_is_noticed_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_text(pem(NOW + timedelta(days=100)))
    key.write_text("a key\n")
    certificates = Certificates({"etcd3.cert": str(cert)}, {"etcd3.key": str(key)})
    wall = NOW.timestamp()
    assert not certificates.look(wall)
    assert certificates.ends == {"etcd3.cert": (NOW + timedelta(days=100)).timestamp()}
    fresh = tmp_path / "fresh"
    fresh.write_text("another key\n")
    fresh.replace(key)
    assert certificates.look(wall)
    assert not certificates.look(wall)
    cert.unlink()
    assert certificates.look(wall)
    assert certificates.ends == {}
    assert "can't be read" in caplog.text
