"""What clients are given: PEM of all roots, and a trust store that Java opens."""

import ssl
import struct
import subprocess
import sys
import warnings

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate, serialize_java_truststore
from cryptography.utils import CryptographyDeprecationWarning

from proxy.ca import bundle
from proxy.ca.authority import certificates
from tests.ca.conftest import made


@pytest.fixture
def own(files):
    return certificates(files.cert)


@pytest.fixture
def root(tmp_path):
    """A file with one root of somebody else, and what it holds."""
    path = made(tmp_path / "root", "other.example").cert
    return bundle.Roots(path, (certificates(path)[0].public_bytes(Encoding.DER),))


def keytool(path, password="changeit"):
    shown = subprocess.run(
        ["keytool", "-list", "-keystore", path, "-storepass", password], capture_output=True, text=True, check=False
    )
    return shown.stdout


def test_the_roots_of_this_machine_are_found():
    roots = bundle.system_roots()

    assert len(roots.certificates) > 50
    assert roots.path.is_absolute()


def test_a_variable_that_names_a_bundle_of_ours_is_not_asked_for_roots(tmp_path, root):
    code = "from proxy.ca import bundle; print(len(bundle.system_roots().certificates))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"SSL_CERT_FILE": str(root.path)}
    )

    assert int(found.stdout) > 50


def test_a_bundle_has_ours_first_and_each_root_once(own, root):
    text = bundle.bundle(own, root, root)

    found = x509.load_pem_x509_certificates(text.encode())
    assert found == [*own, *certificates(root.path)]
    assert bundle.count(own, root, root) == 2


def test_a_bundle_is_read_by_openssl_whole(own, tmp_path):
    roots = bundle.system_roots()
    (tmp_path / "bundle.pem").write_text(bundle.bundle(own, roots))

    context = ssl.create_default_context(cafile=tmp_path / "bundle.pem")

    assert context.cert_store_stats()["x509_ca"] >= len(roots.certificates)


@pytest.mark.parametrize(
    "text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n"]
)
def test_a_file_without_a_certificate_holds_no_roots(text, tmp_path):
    (tmp_path / "roots.pem").write_text(text)

    assert bundle.pem_roots(tmp_path / "roots.pem") is None
    assert bundle.pem_roots(tmp_path / "nowhere.pem") is None


@pytest.mark.needs("keytool")
def test_java_opens_the_trust_store_and_finds_every_root(own, tmp_path):
    roots = bundle.system_roots()
    (tmp_path / "store.p12").write_bytes(bundle.trust_store(own, roots, password="a b"))

    shown = keytool(tmp_path / "store.p12", "a b")

    assert "Keystore type: PKCS12" in shown
    assert shown.count("trustedCertEntry") == bundle.count(own, roots)
    assert "\niclient-proxy, " in shown
    assert "trustedCertEntry" not in keytool(tmp_path / "store.p12", "wrong")


def test_roots_with_one_common_name_stay_two(own, tmp_path):
    one, other = (certificates(made(tmp_path / name, f"{name}.example").cert)[0] for name in "ab")
    twins = bundle.Roots(tmp_path, tuple(each.public_bytes(Encoding.DER) for each in (one, other)))

    (tmp_path / "lib" / "security").mkdir(parents=True)
    (tmp_path / "lib" / "security" / "cacerts").write_bytes(bundle.trust_store(own, twins, password="changeit"))

    assert len(bundle.java_roots(str(tmp_path)).certificates) == 3


def test_java_s_own_roots_are_read_from_a_store_of_the_new_kind(own, tmp_path):
    (tmp_path / "lib" / "security").mkdir(parents=True)
    data = serialize_java_truststore([PKCS12Certificate(own[0], b"x")], BestAvailableEncryption(b"changeit"))
    (tmp_path / "lib" / "security" / "cacerts").write_bytes(data)

    found = bundle.java_roots(str(tmp_path))

    assert found.certificates == (own[0].public_bytes(Encoding.DER),)


def jks(*entries):
    """Return a key store of the old kind, without the checksum at its end."""
    data = struct.pack(">III", 0xFEEDFEED, 2, len(entries))
    for kind, der in entries:
        data += struct.pack(">IH", kind, 5) + b"alias" + bytes(8)
        data += struct.pack(">H", 5) + b"X.509" + struct.pack(">I", len(der)) + der
    return data + bytes(20)


def test_java_s_own_roots_are_read_from_a_store_of_the_old_kind(own, tmp_path):
    (tmp_path / "lib" / "security").mkdir(parents=True)
    der = own[0].public_bytes(Encoding.DER)
    (tmp_path / "lib" / "security" / "cacerts").write_bytes(jks((2, der), (2, b"another")))

    assert bundle.java_roots(str(tmp_path)).certificates == (der, b"another")


@pytest.mark.needs("keytool")
def test_a_store_that_keytool_made_is_read(own, files, tmp_path):
    (tmp_path / "lib" / "security").mkdir(parents=True)
    place = tmp_path / "lib" / "security" / "cacerts"
    for kind in ("jks", "pkcs12"):
        place.unlink(missing_ok=True)
        options = f"-noprompt -storetype {kind} -storepass changeit -alias x".split()
        subprocess.run(
            ["keytool", "-importcert", *options, "-keystore", place, "-file", files.cert],
            check=True,
            capture_output=True,
        )

        assert bundle.java_roots(str(tmp_path)).certificates == (own[0].public_bytes(Encoding.DER),), kind


@pytest.mark.parametrize("data", [b"", b"nonsense", jks((1, b"a key")), jks((2, b"cut off"))[:30]])
def test_a_store_that_can_not_be_read_is_passed_over(data, own, tmp_path):
    (tmp_path / "lib" / "security").mkdir(parents=True)
    (tmp_path / "lib" / "security" / "cacerts").write_bytes(data)

    found = bundle.java_roots(str(tmp_path))

    assert found is None or found.path != tmp_path / "lib" / "security" / "cacerts"


def test_a_root_that_is_not_what_rfc_5280_allows_is_no_reason_to_fail(own):
    with warnings.catch_warnings():
        warnings.simplefilter("error", CryptographyDeprecationWarning)
        data = bundle.trust_store(own, bundle.system_roots(), bundle.Roots(own, (b"no certificate",)), password="x")

    assert data
