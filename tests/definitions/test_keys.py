"""Keys as they are handed out: every format is read, every mistake is named. All are made at run time."""

import base64
import re
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)

from proxy.definitions.keys.signing_keys import KeyFault, check_algorithm, private_key, shared_key, thumbprints
from proxy.secret import Secret
from tests.conftest import program

PASSPHRASE = "open & sesame"
KINDS = {
    "RSA": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}
FORMATS = {
    "PKCS#8": PrivateFormat.PKCS8,
    "traditional": PrivateFormat.TraditionalOpenSSL,
    "OpenSSH": PrivateFormat.OpenSSH,
}


@pytest.fixture(scope="module")
def made():
    return {kind: make() for kind, make in KINDS.items()}


def pem(key, form="PKCS#8", passphrase=None):
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(Encoding.PEM, FORMATS[form], encryption)


def public(key):
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def fault(data, passphrase=None):
    with pytest.raises(KeyFault) as raised:
        private_key(data, None if passphrase is None else Secret(passphrase))
    return raised.value


# ------------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize(
    ("kind", "form"), [(kind, form) for kind in KINDS for form in FORMATS if (kind, form) != ("Ed25519", "traditional")]
)
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_pem_in_every_format_is_read(made, kind, form, passphrase):
    found = private_key(pem(made[kind], form, passphrase), passphrase and Secret(passphrase))

    assert found.identity == public(made[kind])


@pytest.mark.case("C-45")
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("\n", "\\n"),
        lambda text: text.replace("\n", "\\r\\n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", " "),
        lambda text: text.replace("\n", ""),
        lambda text: "  " + text.replace("\n", "\n  "),
        lambda text: f"\n\n{text}\n\n",
    ],
    ids=["\\n", "\\r\\n", "CRLF", "spaces", "nothing", "indented", "blank lines"],
)
def test_pem_that_lost_its_line_ends_is_repaired(made, form, spoil):
    spoilt = spoil(pem(made["RSA"], form).decode())

    assert private_key(spoilt.encode(), None).identity == public(made["RSA"])


@pytest.mark.case("C-45", "C-46")
@pytest.mark.parametrize("joint", ["\\n", "\r\n", " ", ""], ids=["\\n", "CRLF", "spaces", "nothing"])
@pytest.mark.parametrize("form", FORMATS)
def test_an_encrypted_key_that_lost_its_line_ends_is_repaired(made, form, joint):
    spoilt = pem(made["RSA"], form, PASSPHRASE).decode().replace("\n", joint)

    assert private_key(spoilt.encode(), Secret(PASSPHRASE)).identity == public(made["RSA"])


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
@pytest.mark.parametrize("as_text", [False, True])
def test_pkcs12_is_read_as_bytes_and_as_base64(made, passphrase, as_text):
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    data = pkcs12.serialize_key_and_certificates(b"key", made["RSA"], None, None, encryption)
    found = private_key(base64.b64encode(data) if as_text else data, passphrase and Secret(passphrase))

    assert found.identity == public(made["RSA"])


def puttygen(folder, key, version, *, passphrase=None, derivation="argon2id"):
    source, target, words = folder / "key.pem", folder / f"key{version}.ppk", folder / "words"
    source.write_bytes(pem(key, "OpenSSH"))
    words.write_text(passphrase or "")
    arguments = ["puttygen", str(source), "-O", "private", "-o", str(target), "--new-passphrase", str(words)]
    memory = [] if version == 2 else ["--ppk-param", f"kdf={derivation},memory=64,passes=2,parallelism=1"]
    subprocess.run([*arguments, "--ppk-param", f"version={version}", *memory], check=True, capture_output=True)
    return target.read_bytes()


@pytest.mark.needs("puttygen")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_what_puttygen_wrote_is_read(made, tmp_path, kind, version, passphrase):
    data = puttygen(tmp_path, made[kind], version, passphrase=passphrase)

    assert private_key(data, passphrase and Secret(passphrase)).identity == public(made[kind])


@pytest.mark.needs("puttygen")
@pytest.mark.parametrize("derivation", ["argon2id", "argon2i", "argon2d"])
def test_every_key_derivation_of_ppk_is_known(made, tmp_path, derivation):
    data = puttygen(tmp_path, made["P-256"], 3, passphrase=PASSPHRASE, derivation=derivation)

    assert private_key(data, Secret(PASSPHRASE)).identity == public(made["P-256"])


@pytest.mark.needs("puttygen")
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.case("C-46", "C-47")
def test_mistakes_with_a_ppk_file_are_told_apart(made, tmp_path, version):
    locked = puttygen(tmp_path, made["RSA"], version, passphrase=PASSPHRASE)
    plain = puttygen(tmp_path, made["RSA"], version)
    broken = re.sub(rb"Private-MAC: ..", b"Private-MAC: 00", plain)

    assert fault(locked).code == "key_encrypted"
    assert fault(locked, "wrong").code == "key_bad_passphrase"
    assert fault(plain, PASSPHRASE).code == "key_not_encrypted"
    assert fault(broken).code == "key_invalid"
    assert fault(plain[:300]).code == "key_invalid"
    assert fault(plain.replace(b"File-%d" % version, b"File-9")).code == "key_format"


def locked(change):
    """Return an encrypted .ppk whose numbers are changed; no passphrase would open it."""
    lines = {
        "PuTTY-User-Key-File-3": "ssh-ed25519", "Encryption": "aes256-cbc", "Comment": "x", "Public-Lines": "1\nAAAA",
        "Key-Derivation": "Argon2id", "Argon2-Memory": "64", "Argon2-Passes": "1", "Argon2-Parallelism": "1",
        "Argon2-Salt": "00" * 16, "Private-Lines": f"1\n{'A' * 22}==", "Private-MAC": "00" * 32,
    }  # fmt: skip
    return "".join(f"{name}: {value}\n" for name, value in (lines | change).items()).encode()


@pytest.mark.case("C-47")
@pytest.mark.parametrize(
    "change",
    [
        {"Public-Lines": "-1\nAAAA"},  # back to itself, for ever
        {"Private-Lines": "-3"},
        {"Argon2-Memory": "1"},
        {"Argon2-Passes": "0"},
        {"Argon2-Parallelism": "0"},
        {"Argon2-Salt": ""},
        {"Argon2-Salt": "0x"},
        {"Key-Derivation": "scrypt"},
        {"Private-MAC": "odd"},
        {"Private-Lines": "1\nAAAA"},
    ],
    ids=str,
)
def test_numbers_that_make_no_sense_in_a_ppk_file_are_a_fault(change):
    assert fault(locked({}), PASSPHRASE).code == "key_bad_passphrase"
    assert fault(locked(change), PASSPHRASE).code == "key_invalid"


# -------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.case("C-46")
@pytest.mark.parametrize("form", FORMATS)
def test_mistakes_with_passphrases_are_told_apart(made, form):
    assert fault(pem(made["RSA"], form, PASSPHRASE)).code == "key_encrypted"
    assert fault(pem(made["RSA"], form, PASSPHRASE), "wrong").code == "key_bad_passphrase"
    assert fault(pem(made["RSA"], form), PASSPHRASE).code == "key_not_encrypted"


@pytest.mark.case("C-46")
def test_mistakes_with_the_passphrase_of_pkcs12_are_told_apart(made):
    encryption = BestAvailableEncryption(PASSPHRASE.encode())
    data = pkcs12.serialize_key_and_certificates(b"key", made["RSA"], None, None, encryption)

    assert fault(data).code == "key_encrypted"
    assert fault(data, "wrong").code == "key_bad_passphrase"
    assert fault(data[:200]).code == "key_invalid"
    for nothing in (NoEncryption(), BestAvailableEncryption(b"x")):
        plain = pkcs12.serialize_key_and_certificates(b"key", made["RSA"], None, None, nothing)
        expected = "key_not_encrypted" if isinstance(nothing, NoEncryption) else "key_bad_passphrase"
        assert fault(plain, PASSPHRASE).code == expected


@pytest.mark.case("C-47")
def test_what_is_no_private_key_is_called_by_its_name(made):
    key = made["RSA"]
    spki = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    ssh = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    certificate = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

    assert (fault(spki).code, fault(ssh).code) == ("key_is_public", "key_is_public")
    assert fault(certificate).code == "key_is_public"
    assert "a certificate" in fault(certificate).message
    assert fault(pem(key)[:500]).code == "key_invalid"
    assert fault(pem(key) + pem(key)).code == "key_format"
    assert fault(b"hello").code == "key_format"
    assert fault(b"\xff\xfe\x00").code == "key_format"
    assert fault(b"0 is how DER begins, too").code == "key_format"
    assert fault(pem(key, passphrase=PASSPHRASE).replace(b"\n", b"", 2)[:900] + b"\n", PASSPHRASE).code == "key_invalid"
    damaged = pem(key).replace(b"\n", b"\nAAAA", 2)
    assert fault(damaged).code == "key_invalid"


def test_no_fault_quotes_the_key(made):
    text = pem(made["RSA"]).decode()
    middle = text.splitlines()[4]

    for data in (text[:500], text + text, middle, text.replace("PRIVATE", "PRIVATF")):
        assert middle[:12] not in fault(data.encode()).message


# ---------------------------------------------------------------------------------------------------------- algorithms


@pytest.mark.case("C-48")
@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        *((name, "RSA") for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        ("ES256", "P-256"),
        ("ES384", "P-384"),
        ("ES512", "P-521"),
        ("EdDSA", "Ed25519"),
    ],
)
def test_an_algorithm_goes_with_one_kind_of_key(made, algorithm, kind):
    for other in KINDS:
        key = private_key(pem(made[other]), None)
        if other == kind:
            assert check_algorithm(key, algorithm) == ()
            continue
        with pytest.raises(KeyFault) as raised:
            check_algorithm(key, algorithm)
        assert raised.value.code == "key_alg_mismatch"
        assert algorithm in raised.value.message


@pytest.mark.case("C-48")
def test_a_shared_secret_goes_with_hmac_only(made):
    with pytest.raises(KeyFault, match="needs a shared secret, the key is an RSA key"):
        check_algorithm(private_key(pem(made["RSA"]), None), "HS256")
    with pytest.raises(KeyFault, match="needs an RSA key, the key is a shared secret"):
        check_algorithm(shared_key(Secret("x" * 64), base64=False), "RS256")


@pytest.mark.case("C-48")
@pytest.mark.parametrize("text", ["PEM", "SSH", '{"kty": "oct", "k": "AAAA"}'])
def test_a_key_of_another_kind_is_no_shared_secret(made, text):
    key = made["RSA"]
    ssh = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    secret = {"PEM": pem(key), "SSH": ssh}.get(text, text.encode()).decode()
    with pytest.raises(KeyFault) as raised:
        check_algorithm(shared_key(Secret(secret), base64=False), "HS256")

    assert raised.value.code == "key_alg_mismatch"
    assert secret[40:60] not in raised.value.message or text.startswith("{")


@pytest.mark.case("C-50")
def test_a_key_that_is_too_short_is_refused_and_a_short_secret_is_warned_of():
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(KeyFault) as raised:
        check_algorithm(private_key(pem(short), None), "RS256")
    assert raised.value.code == "key_too_short"
    with pytest.raises(KeyFault):
        shared_key(Secret(""), base64=False)

    for algorithm, length in (("HS256", 32), ("HS384", 48), ("HS512", 64)):
        assert check_algorithm(shared_key(Secret("x" * length), base64=False), algorithm) == ()
        assert len(check_algorithm(shared_key(Secret("x" * (length - 1)), base64=False), algorithm)) == 1


def test_a_secret_in_base64_is_decoded_first():
    assert shared_key(Secret(base64.b64encode(b"\x00\xffkey").decode()), base64=True).shared == b"\x00\xffkey"
    assert shared_key(Secret("AP9rZXk"), base64=True).shared == b"\x00\xffkey"
    with pytest.raises(KeyFault) as raised:
        shared_key(Secret("not base64!"), base64=True)
    assert raised.value.code == "key_format"


def test_keys_are_equal_if_they_sign_alike_and_never_print(made):
    one, other = private_key(pem(made["RSA"]), None), private_key(pem(made["RSA"], "OpenSSH"), None)

    assert one == other
    assert one != private_key(pem(made["P-256"]), None)
    assert shared_key(Secret("YWJj"), base64=True) == shared_key(Secret("abc"), base64=False)
    assert shared_key(Secret("YWJj"), base64=True) != shared_key(Secret("YWJj"), base64=False)
    assert "shared=" not in repr(shared_key(Secret("canary"), base64=False))
    assert "canary" not in repr(shared_key(Secret("canary"), base64=False))


@pytest.mark.needs("openssl")
def test_thumbprints_are_those_of_openssl(tmp_path):
    openssl, key, cert = program("openssl"), str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    made_by = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=a"]
    subprocess.run([openssl, *made_by, "-keyout", key, "-out", cert], check=True, capture_output=True)

    def digest(name):
        arguments = [openssl, "x509", "-in", cert, "-noout", "-fingerprint", f"-{name}"]
        line = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
        return base64.urlsafe_b64encode(bytes.fromhex(line.strip().partition("=")[2].replace(":", ""))).rstrip(b"=")

    found = thumbprints(Path(cert).read_text())

    assert [text.encode() for text in found] == [digest("sha1"), digest("sha256")]
