"""Signed assertions, verified by the program `openssl`; what stands in them is read by nothing but JSON."""

import base64
import json
import subprocess
import warnings

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from proxy.definitions.keys.signing_keys import check_algorithm, private_key, shared_key
from proxy.definitions.models import Jwt
from proxy.definitions.templates.placeholders import RenderError
from proxy.oauth.assertion import sign
from proxy.secret import Secret
from tests.conftest import program

NOW = 1_700_000_000.75
RSA_KEYS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
ALGORITHMS = ("HS256", "HS384", "HS512", *RSA_KEYS, *CURVES, "EdDSA")


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def made(algorithm, rsa_key):
    """Return a key of `cryptography` for an algorithm that signs by a private key."""
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm])
    return ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else rsa_key


def loaded(key):
    return private_key(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), None)


def shared(text="s" * 64):
    return shared_key(Secret(text), base64=False)


def signed(header=(), payload=(), *, audience="https://as.test/token", now=NOW, jti="once", **jwt):
    settings = {"algorithm": "HS256", "key": shared(), **jwt}
    return sign(
        Jwt(**settings), header=dict(header), payload=dict(payload), audience=audience, now=now, jti=jti
    ).reveal()


def parts(assertion):
    """Return header and claims."""
    return [json.loads(decoded(segment)) for segment in assertion.split(".")[:2]]


def decoded(segment):
    assert "=" not in segment  # RFC 7515 §2: no padding
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def openssl(*words):
    done = subprocess.run([program("openssl"), *map(str, words)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def verified(folder, algorithm, key, assertion):
    """Ask openssl whether the signature is good; what it signs are the bytes up to the second dot (RFC 7515 §5.1)."""
    text, _, last = assertion.rpartition(".")
    content, public, signature = (folder / name for name in ("content", "public.pem", "signature"))
    content.write_text(text)
    raw = decoded(last)
    if algorithm in CURVES:  # two numbers side by side (RFC 7518 §3.4); openssl wants them in DER
        half = len(raw) // 2
        assert half == (CURVES[algorithm].key_size + 7) // 8
        raw = encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
    signature.write_bytes(raw)
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    if algorithm == "EdDSA":
        command = ["pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", content, "-sigfile", signature]
        return "Verified Successfully" in openssl(*command)
    pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"] if algorithm[0] == "P" else []
    command = ["dgst", f"-sha{algorithm[2:]}", *pss, "-verify", public, "-signature", signature, content]
    return "Verified OK" in openssl(*command)


# ---------------------------------------------------------------------------------------------------------- signatures


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if not name.startswith("HS")])
def test_openssl_accepts_the_signature_and_refuses_that_of_another_text(tmp_path, rsa_key, algorithm):
    key = made(algorithm, rsa_key)
    signing = loaded(key)
    check_algorithm(signing, algorithm)
    assertion = signed(algorithm=algorithm, key=signing)
    other = signed(algorithm=algorithm, key=signing, jti="another")
    exchanged = ".".join([*other.split(".")[:2], assertion.split(".")[2]])

    assert parts(assertion)[0] == {"typ": "JWT", "alg": algorithm}
    assert verified(tmp_path, algorithm, key, assertion)
    assert not verified(tmp_path, algorithm, key, exchanged)


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_openssl_makes_the_same_hmac(tmp_path, algorithm):
    assertion = signed(algorithm=algorithm, key=shared_key(Secret("AP9rZXk" * 13), base64=True))
    text, _, last = assertion.rpartition(".")
    content = tmp_path / "content"
    content.write_text(text)
    key = base64.b64decode("AP9rZXk" * 13 + "=").hex()
    found = openssl("dgst", f"-sha{algorithm[2:]}", "-mac", "HMAC", "-macopt", f"hexkey:{key}", content)

    assert parts(assertion)[0] == {"typ": "JWT", "alg": algorithm}
    assert found.strip().endswith(f"= {decoded(last).hex()}")


@pytest.mark.case("C-50")
def test_a_short_secret_signs_without_a_word():
    """The loader has warned once; a line for every token would follow."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        assert signed(key=shared("short")).count(".") == 2


# ------------------------------------------------------------------------------------------------------------- claims


@pytest.mark.case("T-91")
def test_times_are_those_of_the_server_as_we_know_it():
    claims = parts(signed())[1]

    assert claims == {"iat": 1_700_000_000, "exp": 1_700_000_300, "jti": "once", "aud": "https://as.test/token"}


@pytest.mark.parametrize("lifetime", [1.0, 60.0, 3600.0])
def test_an_assertion_lives_as_long_as_is_written(lifetime):
    claims = parts(signed(lifetime=lifetime))[1]

    assert claims["exp"] - claims["iat"] == lifetime


@pytest.mark.case("T-94")
def test_a_time_of_the_payload_is_a_number_on_the_wire_and_exp_follows_iat():
    claims = parts(signed(payload={"iat": "1700000060", "nbf": 1_700_000_000}))[1]

    assert (claims["iat"], claims["exp"], claims["nbf"]) == (1_700_000_060, 1_700_000_360, 1_700_000_000)


@pytest.mark.case("T-94")
@pytest.mark.parametrize("name", ["iat", "exp", "nbf"])
@pytest.mark.parametrize("value", ["", "soon", "-1", "1.5", "\u0661", True, [1], {}])
def test_a_time_that_is_no_number_is_not_sent(name, value):
    with pytest.raises(RenderError) as raised:
        signed(payload={name: value})

    assert raised.value.code == "placeholder_failed"
    assert name in raised.value.message


@pytest.mark.case("T-92")
def test_a_written_audience_is_sent_as_it_is():
    assert parts(signed(payload={"aud": "urn:odd"}))[1]["aud"] == "urn:odd"
    assert "aud" not in parts(signed(audience=None))[1]


@pytest.mark.case("T-93")
def test_each_assertion_has_the_name_that_it_was_given():
    assert parts(signed(jti="a"))[1]["jti"] == "a"
    assert parts(signed(jti="b"))[1]["jti"] == "b"


def test_claims_keep_their_types_and_letters():
    written = {"sub": "ü/\u20ac", "admin": True, "level": 3, "nested": {"list": ["a", None]}}
    claims = parts(signed(payload=written))[1]

    assert {name: claims[name] for name in written} == written


def test_a_null_keeps_a_claim_or_a_field_of_the_header_out():
    header, claims = parts(signed({"typ": None}, {"jti": None, "aud": None}))

    assert header == {"alg": "HS256"}
    assert set(claims) == {"iat", "exp"}


# ------------------------------------------------------------------------------------------------------------- header


@pytest.mark.case("C-49")
@pytest.mark.parametrize("trick", ["none", "HS512", "", None, ["HS256"]])
def test_no_header_changes_the_algorithm(trick):
    assertion = signed({"alg": trick})

    assert parts(assertion)[0] == {"typ": "JWT", "alg": "HS256"}
    assert len(decoded(assertion.split(".")[2])) == 32


def test_the_header_names_key_and_certificate_unless_it_says_so_itself():
    named = {"key_id": "k1", "x5t": "AAA", "x5t_s256": "BBB"}

    assert parts(signed(**named))[0] == {"typ": "JWT", "alg": "HS256", "kid": "k1", "x5t": "AAA", "x5t#S256": "BBB"}
    assert parts(signed({"typ": "at+jwt", "cty": "x", "kid": "k2"}))[0] == {
        "typ": "at+jwt", "alg": "HS256", "kid": "k2", "cty": "x",
    }  # fmt: skip


def test_an_assertion_is_a_secret(rsa_key):
    made_one = sign(
        Jwt(algorithm="RS256", key=loaded(rsa_key)), header={}, payload={"sub": "x"}, audience=None, now=NOW, jti="j"
    )

    assert isinstance(made_one, Secret)
    assert made_one.reveal() not in repr(made_one)


def test_a_ready_made_assertion_is_not_signed():
    with pytest.raises(ValueError, match="ready-made"):
        signed(algorithm=None, key=None)
