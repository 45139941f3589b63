"""Certificates and keys: read from text or files, and refused where they do not belong together."""

import datetime as dt
import subprocess
import sys

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proxy.definitions.load import load
from proxy.definitions.settings import ListenerAuth, ListenerTls
from proxy.errors import DefinitionsError
from proxy.secret import Secret
from tests.definitions.written import ENVIRON, ONE, connection, loaded, said, with_connection, write

DAY = dt.timedelta(days=1)


def issued(begins, ends):
    """Return a self-signed certificate and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), begins, ends)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return pem, private


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def pair(authority):
    certificate = authority.issue_cert("client.example")
    return certificate.cert_chain_pems[0].bytes().decode(), certificate.private_key_pem.bytes().decode()


@pytest.fixture
def files(folder, authority, pair):
    write(folder, authority.cert_pem.bytes(), "ca.pem").chmod(0o600)
    write(folder, pair[0], "cert.pem").chmod(0o600)
    write(folder, pair[1], "key.pem").chmod(0o600)
    return folder


TLS = with_connection("tls: {ca: ca.pem, client_cert: cert.pem, client_key: key.pem}")


def test_paths_become_pem_and_the_key_a_secret(files, authority, pair):
    tls = connection(files, TLS).tls

    assert tls.ca == authority.cert_pem.bytes().decode().strip()
    assert tls.client_cert == pair[0].strip()
    assert tls.client_key == Secret(pair[1].strip())


def test_a_certificate_may_be_read_by_everyone_and_its_key_may_not(files):
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (files / name).chmod(0o644)

    (warning,) = loaded(files, TLS).warnings

    assert str(warning) == (
        "f.yaml:9:46: connections.acme.tls.client_key: everyone may read the file key.pem; run chmod o-r on it"
    )


def test_pem_comes_from_the_environment_as_well_even_in_one_line(files, pair):
    text = with_connection("tls: {client_cert: {env: CERT}, client_key: {env: KEY}}")
    one_line = pair[1].strip().replace("\n", "\\n")

    tls = connection(files, text, {**ENVIRON, "CERT": pair[0], "KEY": one_line}).tls

    assert tls.client_key == Secret(pair[1].strip())


def test_a_key_in_the_file_is_an_inline_secret(files, pair):
    text = with_connection("tls: {client_cert: cert.pem, client_key: KEY}").replace(
        "KEY", f'"{pair[1]}"'.replace("\n", "\\n")
    )

    (line,) = said(files, text)
    assert line.startswith("inline_secret f.yaml:9:34: connections.acme.tls.client_key: ")
    (warning,) = [
        warning
        for warning in loaded(files, "allow_inline_secrets: true\n" + text).warnings
        if warning.code == "inline_secret"
    ]
    assert warning.path == "connections.acme.tls.client_key"


def test_a_key_of_another_certificate_is_a_fault(files, authority):
    write(files, authority.issue_cert("other.example").private_key_pem.bytes(), "key.pem")

    (line,) = said(files, TLS)

    assert line == (
        "client_certificate_mismatch f.yaml:9:46: connections.acme.tls.client_key: "
        "the private key does not belong to the certificate"
    )


@pytest.mark.parametrize(
    ("begins", "ends", "code"),
    [(-2 * DAY, -DAY, "client_certificate_expired"), (DAY, 2 * DAY, "client_certificate_not_yet_valid")],
)
def test_a_certificate_that_is_not_valid_today_is_a_fault(files, begins, ends, code):
    class Today:
        def monotonic(self):
            return 0.0

        def wall(self):
            return dt.datetime(2026, 5, 20, tzinfo=dt.UTC).timestamp()

    today = dt.datetime(2026, 5, 20, tzinfo=dt.UTC)
    certificate, key = issued(today + begins, today + ends)
    write(files, certificate, "cert.pem")
    write(files, key, "key.pem")
    path = write(files, TLS)

    with pytest.raises(DefinitionsError) as refused:
        load([path], ENVIRON, Today())

    assert [fault.code for fault in refused.value.faults] == [code]


def test_an_encrypted_key_is_named_as_one(files):
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"canary"),
    )
    write(files, key, "key.pem")

    (line,) = said(files, TLS)

    assert line.startswith("client_certificate_key_encrypted f.yaml:9:46: ")


@pytest.mark.parametrize("text", ["nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_a_fault(files, text):
    write(files, text, "ca.pem")

    (line,) = said(files, TLS)

    assert line.startswith("tls_pem_invalid f.yaml:9:11: connections.acme.tls.ca: this is not ")


def test_without_verification_there_is_a_warning(files):
    (warning,) = loaded(files, with_connection("allow_insecure: true\ntls: {verify: false}")).warnings

    assert str(warning) == "f.yaml:10:11: connections.acme.tls.verify: the server's certificate is not verified"


def test_a_listener_keeps_paths_from_the_folder_of_its_definitions_and_what_is_in_them(
    files, authority, pair, monkeypatch
):
    listener = "{bind: '0.0.0.0:0', auth: {client_ca: ca.pem}, tls: {cert: cert.pem, key: key.pem}}"
    path = write(files, f"listeners: {{reverse: {listener}}}\n" + ONE)
    monkeypatch.chdir("/")

    (found,) = load([path], ENVIRON).definitions.listeners.reverse

    roots = authority.cert_pem.bytes().decode().strip()
    assert found.auth == ListenerAuth(client_ca=str(files / "ca.pem"), client_roots=roots)
    chain, private = (text.strip() for text in pair)
    assert found.tls == ListenerTls(
        cert=str(files / "cert.pem"), key=str(files / "key.pem"), chain=chain, private=Secret(private)
    )


def test_a_client_authority_needs_tls(files):
    text = "listeners: {reverse: {auth: {client_ca: ca.pem}}}\n" + ONE

    assert said(files, text) == [
        "client_ca_needs_tls f.yaml:1:23: listeners.reverse.auth: client_ca needs tls: {cert, key} on this listener"
    ]


def test_cryptography_is_loaded_by_the_first_pem_and_not_before(files):
    path = write(files, ONE)
    script = (
        "import sys; from pathlib import Path; from proxy.definitions.load import load; "
        f"load([Path({str(path)!r})], {{'SECRET': 'x'}}); print('cryptography' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )

    assert done.stdout == "False\n"
