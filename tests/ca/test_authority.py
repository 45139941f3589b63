"""The authority itself: what it may do, for whom, for how long, and who can read its key."""

import base64
import datetime as dt
import os
import stat
import subprocess
from dataclasses import replace
from functools import partial

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy.ca import authority
from proxy.definitions.settings import AuthorityFiles
from proxy.errors import MachineError
from proxy.sealing import Keyring
from proxy.secret import Secret
from tests.ca.conftest import NOW, made

KEY = base64.b64encode(b"k" * 32).decode()
DAY = 86400


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


def test_what_is_trusted_and_what_signs_may_sign_for_the_same_hosts_and_nothing_else(opened):
    signer, trusted = opened.signer.chain

    for certificate, below in ((trusted, 1), (signer, 0)):
        constraints = extension(certificate, x509.BasicConstraints)
        usage = extension(certificate, x509.KeyUsage)
        assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, below)
        assert usage.critical
        assert usage.value.key_cert_sign
        assert not any((usage.value.digital_signature, usage.value.crl_sign, usage.value.key_agreement))
        assert extension(certificate, x509.NameConstraints) == extension(trusted, x509.NameConstraints)
        assert extension(certificate, x509.NameConstraints).critical


def test_the_key_that_is_kept_is_on_p_256_and_not_that_of_what_is_trusted(opened):
    assert isinstance(opened.signer.key, ec.EllipticCurvePrivateKey)
    assert opened.signer.key.curve.name == "secp256r1"
    assert opened.signer.key.public_key() != opened.trusted.public_key()


def test_it_lives_for_three_years_and_began_a_little_before_its_making(opened):
    for certificate in opened.signer.chain:
        assert NOW - certificate.not_valid_before_utc.timestamp() == 3600
        assert certificate.not_valid_after_utc.timestamp() - NOW == 3 * 365 * DAY
    assert opened.until == opened.trusted.not_valid_after_utc


def test_two_of_them_can_be_told_apart_by_name(tmp_path):
    one, other = (authority.certificates(made(tmp_path / name, "acme.example").cert)[0] for name in "ab")

    assert one.subject != other.subject
    assert one.serial_number != other.serial_number


@pytest.mark.parametrize(
    ("hosts", "host", "covered"),
    [
        (["acme.example"], "acme.example", True),
        (["acme.example"], "api.eu.acme.example", True),
        (["acme.example"], "*.acme.example", True),
        (["acme.example"], "notacme.example", False),
        (["acme.example"], "acme.example.evil.net", False),
        (["acme.example"], "example", False),
        (["acme.example"], "*.example", False),
        (["acme.example"], "127.0.0.1", False),
        (["acme.example"], "::1", False),
        (["acme.example", "127.0.0.1"], "127.0.0.1", True),
        (["acme.example", "127.0.0.1"], "127.0.0.2", False),
        (["acme.example", "127.0.0.1"], "::1", False),
        (["::1"], "::1", True),
        (["::1"], "localhost", False),
        (["::1"], "com", False),
    ],
)
def test_it_covers_what_it_was_made_for(hosts, host, covered, tmp_path):
    assert authority.read(made(tmp_path, *hosts)).signer.covers(host) is covered


def test_nobody_but_the_owner_can_read_the_key(files):
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.key.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(files.cert.stat().st_mode) == 0o644


def test_nothing_is_left_beside_the_two_files(files, tmp_path):
    made(tmp_path, "acme.example")  # once more, over it

    assert sorted(path.name for path in files.key.parent.iterdir()) == ["cert.pem", "key.pem"]


def test_a_sealed_key_opens_with_the_keys_that_sealed_it_and_with_no_others(tmp_path):
    seal = partial(Keyring(KEY).seal, entropy=os.urandom)
    files = made(tmp_path, "acme.example", seal=seal)
    other = base64.b64encode(b"o" * 32).decode()

    text = files.key.read_text()
    assert text.startswith("sealed-v1.")
    assert "PRIVATE" not in text
    assert authority.read(replace(files, keys=Secret(f"{other},{KEY}"))).signer.covers("acme.example")
    for keys in (None, Secret(other)):
        with pytest.raises(MachineError) as refused:
            authority.read(replace(files, keys=keys))
        assert refused.value.code == "ca_unusable"


def test_what_was_sealed_for_something_else_is_no_key(files):
    files.key.write_text(Keyring(KEY).seal(files.key.read_text(), "definitions", os.urandom))

    with pytest.raises(MachineError):
        authority.read(replace(files, keys=Secret(KEY)))


def test_a_key_that_stands_alone_is_that_of_the_trusted_certificate(tmp_path):
    """As other programs make authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    begins, ends = (dt.datetime.fromtimestamp(NOW + days * DAY, dt.UTC) for days in (-1, 1))
    own = x509.CertificateBuilder(name, name, key.public_key(), 1, begins, ends).sign(key, hashes.SHA256())
    files = AuthorityFiles(cert=tmp_path / "c.pem", key=tmp_path / "k.pem")
    files.cert.write_bytes(own.public_bytes(Encoding.PEM))
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    assert authority.read(files).signer.chain == (own,)


def test_a_key_that_was_exchanged_is_noticed(files, tmp_path):
    made(tmp_path / "other", "acme.example").key.replace(files.key)

    with pytest.raises(MachineError, match="does not lead to that of the authority"):
        authority.read(files)


def test_a_folder_that_can_not_be_written_is_named(tmp_path):
    (tmp_path / "ca").write_text("a file")

    with pytest.raises(MachineError, match=str(tmp_path / "ca")) as refused:
        made(tmp_path, "acme.example")
    assert refused.value.code == "ca_not_written"


@pytest.mark.needs("openssl")
def test_openssl_takes_it_for_an_authority(files):
    shown = subprocess.run(
        ["openssl", "x509", "-in", files.cert, "-noout", "-purpose"], capture_output=True, text=True, check=True
    )

    assert "SSL server CA : Yes" in shown.stdout
    assert "SSL client CA : No" in shown.stdout


def test_what_is_taken_apart_and_put_together_again_signs_as_before(opened):
    trusted, signer = authority.parts(opened)

    again = authority.of(trusted, signer)

    assert (again.trusted, again.signer.chain) == (opened.trusted, opened.signer.chain)
    assert again.signer.key.private_numbers() == opened.signer.key.private_numbers()
    assert authority.parts(again) == (trusted, signer)
