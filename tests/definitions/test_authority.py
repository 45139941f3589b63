"""Interception: the authority that it needs, and what is wrong with one that can't be used."""

import base64
import datetime as dt
import os
from functools import partial

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from proxy.ca import authority
from proxy.definitions.load import load
from proxy.definitions.settings import AuthorityFiles
from proxy.definitions.suffixes import registrable
from proxy.errors import DefinitionsError
from proxy.sealing import Keyring
from proxy.secret import Secret
from tests.definitions.written import ENVIRON, ONE, definitions, loaded, said, write

KEY, OTHER = (base64.b64encode(letter * 32).decode() for letter in (b"k", b"o"))
INTERCEPT = "listeners: {forward: {intercept: {enabled: true}}}\nstate_dir: state\n" + ONE
WRITTEN = "listeners: {forward: {intercept: {enabled: true, ca: {cert: c.pem, key: k.pem}}}}\n" + ONE
TODAY = dt.datetime(2026, 5, 20, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


class Clock:
    def __init__(self, now=TODAY):
        self.now = now

    def monotonic(self):
        return 0.0

    def wall(self):
        return self.now.timestamp()


@pytest.fixture
def files(folder):
    """The files of an authority for acme.com, in the folder where they lie when nothing else is written."""
    found = AuthorityFiles(cert=folder / "state" / "ca" / "cert.pem", key=folder / "state" / "ca" / "key.pem")
    authority.write(found, *authority.make(["acme.com"], Clock(), os.urandom), None)
    return found


def told(folder, text, environ=ENVIRON, now=TODAY):
    """Return codes of faults and of warnings, by today's clock."""
    path = write(folder, text)
    try:
        return [], [warning.code for warning in load([path], environ, Clock(now)).warnings]
    except DefinitionsError as error:
        return [fault.code for fault in error.faults], []


def own(begins=-DAY, ends=DAY * 1000, key=None, *extensions):
    """Return a certificate of an authority that somebody else made, and its key."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, TODAY + begins, TODAY + ends)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    signed = builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    return signed.public_bytes(Encoding.PEM), key


def pem(key, encryption=None):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


CA = x509.BasicConstraints(ca=True, path_length=0)
BOUND = x509.NameConstraints([x509.DNSName("acme.com")], None)
SIGNS_NOTHING = x509.KeyUsage(True, False, False, False, False, False, False, False, False)


@pytest.mark.parametrize(
    "text", [ONE, "listeners: {forward: {}}\n" + ONE, "listeners: {forward: {intercept: {enabled: false}}}\n" + ONE]
)
def test_without_interception_no_authority_is_looked_for(folder, text):
    found = definitions(folder, text, {**ENVIRON, "HOME": "/nowhere"})

    assert found.listeners.forward is None or found.listeners.forward.intercept is None
    assert found.authority.cert.as_posix() == "/nowhere/.local/state/iclient-proxy/ca/cert.pem"


@pytest.mark.case("F-265")
def test_interception_without_an_authority_names_what_makes_one(folder):
    [line] = said(folder, INTERCEPT)

    assert line.startswith("ca_missing f.yaml:1:")
    assert "listeners.forward.intercept" in line
    assert str(folder / "state" / "ca" / "cert.pem") in line
    assert "`iclient-proxy ca init` makes one" in line


def test_one_that_was_made_is_found(folder, files):
    found = definitions(folder, INTERCEPT)

    assert found.listeners.forward.intercept == files
    assert found.authority == files


def test_written_paths_start_from_the_folder_of_the_definitions(folder, files):
    files.cert.rename(folder / "c.pem")
    files.key.rename(folder / "k.pem")

    assert definitions(folder, WRITTEN).listeners.forward.intercept.key == folder.absolute() / "k.pem"


def test_a_certificate_without_its_key_is_a_fault(folder):
    [line] = said(folder, WRITTEN.replace(", key: k.pem", ""))

    assert line.startswith("missing_key f.yaml:1:")
    assert "listeners.forward.intercept.ca.key: cert needs key beside it" in line


@pytest.mark.case("F-265")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_a_key_that_others_can_read_is_a_fault(folder, files, mode):
    files.key.chmod(mode)

    [line] = said(folder, INTERCEPT)

    assert line.startswith("ca_key_exposed")
    assert "run chmod 600" in line


def test_in_a_mounted_volume_modes_are_not_ours_to_choose(folder, files):
    files.key.chmod(0o644)
    (files.key.parent / "..data").symlink_to(".")

    assert said(folder, INTERCEPT) == []


@pytest.mark.case("F-265")
@pytest.mark.parametrize(
    ("now", "faults", "warnings"),
    [
        (TODAY, [], []),
        (TODAY + DAY * (3 * 365 - 31), [], []),
        (TODAY + DAY * (3 * 365 - 29), [], ["ca_expires_soon"]),
        (TODAY + DAY * 3 * 365, ["ca_expired"], []),
        (TODAY - DAY, ["ca_not_yet_valid"], []),
    ],
)
def test_an_authority_has_its_time(folder, files, now, faults, warnings):
    assert told(folder, INTERCEPT, now=now) == (faults, warnings)


@pytest.mark.case("F-265")
def test_a_key_of_another_authority_is_a_fault(folder, files):
    files.key.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))

    assert told(folder, INTERCEPT) == (["ca_mismatch"], [])


@pytest.mark.case("F-265")
@pytest.mark.parametrize(
    ("extensions", "faults", "warnings"),
    [
        ((CA, BOUND), [], []),
        ((CA,), [], ["ca_unbound"]),
        ((), ["ca_not_an_authority"], []),
        ((x509.BasicConstraints(ca=False, path_length=None), BOUND), ["ca_not_an_authority"], []),
        ((CA, BOUND, SIGNS_NOTHING), ["ca_not_an_authority"], []),
    ],
)
def test_a_certificate_has_to_be_that_of_an_authority(folder, files, extensions, faults, warnings):
    certificate, key = own(-DAY, DAY * 1000, None, *extensions)
    files.cert.write_bytes(certificate)
    files.key.write_bytes(pem(key))

    assert told(folder, INTERCEPT) == (faults, warnings)


@pytest.mark.case("F-265")
@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("cert", b"", "ca_invalid"),
        ("cert", b"nonsense", "ca_invalid"),
        ("cert", b"\xff\xfe", "ca_unreadable"),
        ("key", b"", "ca_invalid"),
        ("key", b"-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n", "ca_invalid"),
        ("key", pem(ed25519.Ed25519PrivateKey.generate()), "ca_invalid"),
        ("key", pem(ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"canary")), "ca_invalid"),
    ],
)
def test_files_that_are_not_what_they_should_be_are_faults(folder, files, name, data, code):
    getattr(files, name).write_bytes(data)

    [line] = said(folder, INTERCEPT)

    assert line.startswith(code + " ")
    assert "canary" not in line


@pytest.mark.parametrize("name", ["cert", "key"])
def test_a_directory_is_no_file(folder, files, name):
    getattr(files, name).unlink()
    getattr(files, name).mkdir()

    assert told(folder, INTERCEPT)[0] == ["ca_unreadable"]


def test_a_certificate_beside_the_key_that_leads_elsewhere_is_a_fault(folder, files):
    other = AuthorityFiles(cert=folder / "other.pem", key=folder / "other-key.pem")
    authority.write(other, *authority.make(["acme.com"], Clock(), os.urandom), None)
    other.key.rename(files.key)

    assert told(folder, INTERCEPT) == (["ca_mismatch"], [])


def sealed(files, key=KEY):
    files.key.write_text(Keyring(key).seal(files.key.read_text(), "local authority", partial(os.urandom)) + "\n")


def test_a_sealed_key_opens_with_the_keys_of_the_environment(folder, files):
    sealed(files)
    files.key.chmod(0o644)  # nobody can read it without the keys

    found = definitions(folder, INTERCEPT, {**ENVIRON, "ICLIENT_PROXY_KEY": f"{OTHER},{KEY}"})

    assert found.listeners.forward.intercept.keys == Secret(f"{OTHER},{KEY}")


@pytest.mark.parametrize("environ", [{}, {"ICLIENT_PROXY_KEY": OTHER}, {"ICLIENT_PROXY_KEY": "short"}])
def test_a_sealed_key_that_does_not_open_is_a_fault(folder, files, environ):
    sealed(files)

    [line] = said(folder, INTERCEPT, {**ENVIRON, **environ})

    assert line.startswith("ca_key_sealed ")


def test_each_claimed_host_that_it_does_not_cover_is_a_warning(folder, files):
    text = INTERCEPT + '    hosts: [api.acme.com, other.example, "*.acme.com", "*.example", 127.0.0.1]\n'

    warnings = [str(warning) for warning in loaded(folder, text).warnings]

    assert [line.partition("sign for ")[2].partition(",")[0] for line in warnings] == [
        "*.example",
        "127.0.0.1",
        "other.example",
    ]
    assert all(line.startswith("f.yaml:11:") for line in warnings)
    assert "ca init --force" in warnings[0]


def test_without_a_folder_for_it_that_is_said(folder):
    [line] = said(folder, INTERCEPT.replace("state_dir: state\n", ""), ENVIRON)

    assert line.startswith("ca_missing ")
    assert "write ca: {cert, key}" in line


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("acme.com", "acme.com"),
        ("api.eu.acme.com", "acme.com"),
        ("api.acme.co.uk", "acme.co.uk"),
        ("acme.co.uk", "acme.co.uk"),
        ("co.uk", "co.uk"),
        ("shop.myshopify.com", "shop.myshopify.com"),
        ("a.shop.myshopify.com", "shop.myshopify.com"),
        ("x.y.blob.core.windows.net", "y.blob.core.windows.net"),
        ("localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
    ],
)
def test_a_host_lies_in_the_domain_that_somebody_registered(host, domain):
    assert registrable(host) == domain
