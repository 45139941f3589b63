"""Leaves: what is in them, who accepts them, how many are kept, how many are made."""

import datetime as dt
import os
import ssl
import subprocess
from pathlib import Path
from time import process_time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from proxy.ca import authority, bundle, leaves
from proxy.ca.leaves import Leaves
from proxy.definitions.keys.signer import Signer
from proxy.errors import Refusal
from tests.ca.conftest import NOW, Clock, made

HOUR = 3600.0


class Session:
    """A TLS session between a client that trusts the authority and one of the contexts, in memory."""

    def __init__(self, context, trusted, name, *, alpn=("http/1.1",)):
        client = ssl.create_default_context(cafile=trusted)
        client.set_alpn_protocols(list(alpn))
        client.verify_flags |= ssl.VERIFY_X509_STRICT
        if name is None:
            client.check_hostname = False
        if trusted is None:
            client.verify_mode = ssl.CERT_NONE
        self._to_server, self._to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = context.wrap_bio(self._to_server, self._to_client, server_side=True)
        self.client = client.wrap_bio(self._to_client, self._to_server, server_hostname=name)

    def shake_hands(self):
        for _ in range(3):
            for side in (self.client, self.server):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        return x509.load_der_x509_certificate(self.client.getpeercert(binary_form=True))


@pytest.fixture
def minted(opened, clock):
    return Leaves(opened, clock, os.urandom)


@pytest.fixture
def today(tmp_path):
    """Leaves of today's clock, since ssl clients know no other; and the file to trust."""
    clock = Clock(dt.datetime.now(dt.UTC).timestamp())
    files = made(tmp_path / "today", "acme.example", "127.0.0.1", clock=clock)
    return Leaves(authority.read(files), clock, os.urandom), files.cert


def leaf(minted, host):
    return Session(minted.context_for(host), None, None).shake_hands()


CHAIN = ("-untrusted", "signer.pem", "leaf.pem")


def leaf_and_signer(minted, host, folder):
    """Write a leaf, and what is between it and what is trusted."""
    (folder / "leaf.pem").write_bytes(leaf(minted, host).public_bytes(Encoding.PEM))
    (folder / "signer.pem").write_bytes(minted.authority.signer.chain[0].public_bytes(Encoding.PEM))


def value(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind).value


def test_a_leaf_says_what_rfc_5280_wants_of_a_server(minted, opened):
    certificate = leaf(minted, "api.acme.example")

    assert value(certificate, x509.SubjectAlternativeName).get_values_for_type(x509.DNSName) == ["api.acme.example"]
    assert not value(certificate, x509.BasicConstraints).ca
    assert list(value(certificate, x509.ExtendedKeyUsage)) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert value(certificate, x509.KeyUsage).digital_signature
    assert not value(certificate, x509.KeyUsage).key_cert_sign
    signer = opened.signer.chain[0]
    ours = value(signer, x509.SubjectKeyIdentifier).key_identifier
    assert value(certificate, x509.AuthorityKeyIdentifier).key_identifier == ours
    assert value(certificate, x509.SubjectKeyIdentifier).key_identifier != ours
    certificate.verify_directly_issued_by(signer)


def test_a_leaf_lives_for_two_days_at_most_and_began_before_now(minted):
    certificate = leaf(minted, "api.acme.example")

    begins, ends = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    assert ends - begins <= 48 * HOUR
    assert NOW - begins == HOUR


def test_a_leaf_does_not_outlive_its_authority(opened, clock):
    end = opened.until
    clock.now = end.timestamp() - 10 * HOUR

    assert leaf(Leaves(opened, clock, os.urandom), "api.acme.example").not_valid_after_utc == end


def test_an_address_stands_in_a_leaf_as_an_address(minted):
    certificate = leaf(minted, "127.0.0.1")

    assert [
        str(each) for each in value(certificate, x509.SubjectAlternativeName).get_values_for_type(x509.IPAddress)
    ] == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["acme.example", "api.acme.example", "127.0.0.1"])
def test_a_client_that_trusts_the_authority_accepts_a_covered_host(host, today):
    minted, trusted = today
    name = None if host == "127.0.0.1" else host

    session = Session(minted.context_for(host), trusted, name)

    assert session.shake_hands().serial_number
    assert session.client.selected_alpn_protocol() == "http/1.1"
    assert session.client.version() == "TLSv1.3"


@pytest.mark.parametrize("host", ["acme.example.evil.net", "notacme.example", "10.0.0.1"])
def test_python_refuses_a_leaf_outside_the_constraints(host, today):
    minted, trusted = today

    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree"):
        Session(minted.context_for(host), trusted, host).shake_hands()


@pytest.mark.needs("openssl")
@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("api.acme.example", "leaf.pem: OK"),
        ("127.0.0.1", "leaf.pem: OK"),
        ("api.evil.example", "permitted subtree violation"),
        ("127.0.0.2", "permitted subtree violation"),
    ],
)
def test_openssl_verifies_what_is_covered_and_nothing_else(host, said, today, tmp_path):
    minted, trusted = today
    leaf_and_signer(minted, host, tmp_path)

    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", trusted, *CHAIN],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )

    assert said in done.stdout + done.stderr


@pytest.mark.needs("openssl")
def test_without_permitted_addresses_no_address_is_accepted(tmp_path):
    clock = Clock(dt.datetime.now(dt.UTC).timestamp())
    files = made(tmp_path, "acme.example", clock=clock)
    minted = Leaves(authority.read(files), clock, os.urandom)
    leaf_and_signer(minted, "127.0.0.1", tmp_path)

    done = subprocess.run(
        ["openssl", "verify", "-CAfile", files.cert, *CHAIN],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )

    assert "excluded subtree violation" in done.stdout + done.stderr


@pytest.mark.case("F-260")
@pytest.mark.parametrize("name", ["b.acme.example", "acme.example", "evil.example"])
def test_a_client_that_asks_for_another_host_gets_an_alert(name, today):
    minted, trusted = today

    with pytest.raises(ssl.SSLError) as refused:
        Session(minted.context_for("a.acme.example"), trusted, name).shake_hands()

    assert refused.value.reason in {"CALLBACK_FAILED", "TLSV1_UNRECOGNIZED_NAME"}


@pytest.mark.parametrize("name", ["a.acme.example", "A.ACME.example", None])
def test_a_client_that_asks_for_this_host_or_for_none_is_answered(name, today):
    minted, trusted = today

    assert Session(minted.context_for("a.acme.example"), trusted, name).shake_hands()


def test_a_client_that_offers_h2_too_gets_http_1(today):
    minted, trusted = today
    session = Session(minted.context_for("acme.example"), trusted, "acme.example", alpn=("h2", "http/1.1"))

    session.shake_hands()

    assert session.client.selected_alpn_protocol() == "http/1.1"


def test_the_same_context_serves_until_half_of_the_life_of_its_leaf_is_over(minted, clock):
    first = minted.context_for("acme.example")
    clock.now = NOW + 23 * HOUR
    still = minted.context_for("acme.example")
    clock.now = NOW + 24 * HOUR
    next_one = minted.context_for("acme.example")

    assert still is first
    assert next_one is not first


def test_a_clock_that_was_set_back_makes_a_new_leaf(minted, clock):
    first = minted.context_for("acme.example")
    clock.now = NOW - 2 * HOUR

    assert minted.context_for("acme.example") is not first


def test_all_leaves_share_one_key(minted):
    one, other = leaf(minted, "a.acme.example"), leaf(minted, "b.acme.example")

    assert one.public_key() == other.public_key()
    assert one.serial_number != other.serial_number


@pytest.mark.case("F-264")
def test_no_more_than_fifty_are_made_in_a_second(minted, clock):
    for number in range(50):
        minted.context_for(f"h{number}.acme.example")
    with pytest.raises(Refusal) as refused:
        minted.context_for("one-more.acme.example")
    kept = minted.context_for("h7.acme.example")
    clock.ticks += 0.1
    for number in range(5):
        minted.context_for(f"later{number}.acme.example")

    assert (refused.value.problem.code, refused.value.problem.status) == ("overloaded", 503)
    assert kept is minted.context_for("h7.acme.example")
    with pytest.raises(Refusal):
        minted.context_for("once-more.acme.example")


@pytest.mark.case("F-264")
def test_a_thousand_are_kept_and_the_one_that_was_not_asked_for_longest_goes(minted, clock):
    first = minted.context_for("h0.acme.example")
    for number in range(1, leaves.KEPT):
        clock.ticks += 1
        minted.context_for(f"h{number}.acme.example")
    second = minted.context_for("h1.acme.example")
    minted.context_for("h0.acme.example")
    clock.ticks += 1
    minted.context_for("h1000.acme.example")  # h2 goes
    clock.ticks += 1
    minted.context_for("h1001.acme.example")  # h3 goes
    clock.ticks += 1

    assert minted.context_for("h0.acme.example") is first
    assert minted.context_for("h1.acme.example") is second


@pytest.mark.case("F-264")
def test_a_leaf_costs_little(minted, clock):
    minted.context_for("warm.acme.example")
    clock.ticks += 1
    began = process_time()
    for number in range(40):
        minted.context_for(f"h{number}.acme.example")

    assert (process_time() - began) / 40 <= 0.005


@pytest.mark.needs("java")
def test_java_refuses_a_leaf_outside_the_constraints(today, tmp_path):
    """Java asks only what is below the trusted certificate for its constraints."""
    minted, trusted = today
    (tmp_path / "store.p12").write_bytes(bundle.trust_store(authority.certificates(trusted), password="changeit"))
    hosts = ("api.acme.example", "127.0.0.1", "evil.example", "127.0.0.2")
    for host in hosts:
        (tmp_path / host).mkdir()
        leaf_and_signer(minted, host, tmp_path / host)

    judged = subprocess.run(
        ["java", Path(__file__).with_name("Judge.java"), "store.p12", *hosts],
        capture_output=True, text=True, cwd=tmp_path, check=True,
    )  # fmt: skip

    assert judged.stdout.split() == ["trusted", "trusted", "refused", "refused"]


@pytest.mark.parametrize("self_signed", [True, False])
def test_an_authority_of_ones_own_signs_as_it_is(self_signed, tmp_path):
    """What is trusted signs by itself; a client that trusts only what is above it is sent it along."""
    clock = Clock(dt.datetime.now(dt.UTC).timestamp())
    begins, ends = (dt.datetime.fromtimestamp(clock.now + day * 24 * HOUR, dt.UTC) for day in (-1, 100))
    root, between = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("root", "between")]

    def signed(subject, key):
        usage = authority.LEAF_USAGE.__class__(True, False, False, False, False, True, True, False, False)
        return (
            x509.CertificateBuilder(names[0], subject, key.public_key(), 7, begins, ends)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
            .sign(root, hashes.SHA256())
        )

    (tmp_path / "root.pem").write_bytes(signed(names[0], root).public_bytes(Encoding.PEM))
    own, key = (signed(names[0], root), root) if self_signed else (signed(names[1], between), between)
    minted = Leaves(authority.Authority(own, Signer(key, (own,))), clock, os.urandom)

    session = Session(minted.context_for("any.example"), tmp_path / "root.pem", "any.example")

    assert session.shake_hands().issuer == own.subject
