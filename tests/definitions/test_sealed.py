"""Sealed values: what seals and opens them, and what the loader says when it can't."""

import base64
import hashlib
import os
import re

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from proxy.sealing import SEALED, Keyring, SealError, key_id, new_key
from proxy.secret import Secret, living
from tests.definitions.written import ONE, connection, said

OLD = base64.b64encode(b"o" * 32).decode()
NEW = base64.b64encode(b"n" * 32).decode()


def sealed(text, key=OLD, purpose="definitions"):
    return Keyring(key).seal(text, purpose, os.urandom)


def written(value):
    return ONE.replace("{env: SECRET}", f'{{sealed: "{value}"}}')


@given(st.text(), st.text(max_size=5))
def test_what_is_sealed_opens_for_its_purpose_and_under_its_key(text, purpose):
    one = sealed(text, purpose=purpose)

    assert SEALED.fullmatch(one)
    assert Keyring(f"{NEW}, {OLD}").open(one, purpose) == text
    with pytest.raises(SealError, match="sealed for another use"):
        Keyring(OLD).open(one, purpose + "x")


def test_the_first_key_seals_and_a_nonce_is_never_used_twice():
    keys = Keyring(f"{NEW}\n{OLD}\n")

    assert keys.ids == (key_id(b"n" * 32), key_id(b"o" * 32))
    assert keys.seal("a", "p", os.urandom).startswith(f"sealed-v1.{keys.first}.")
    assert keys.seal("a", "p", os.urandom) != keys.seal("a", "p", os.urandom)


@pytest.mark.parametrize("position", range(0, 60, 7))
def test_one_changed_character_is_noticed(position):
    one = sealed("canary-secret-of-some-length")
    body = one.split(".")[2]
    other = "A" if body[position] != "A" else "B"

    with pytest.raises(SealError, match="changed or cut") as refused:
        Keyring(OLD).open(one.replace(body, body[:position] + other + body[position + 1 :]), "definitions")
    assert refused.value.code == "sealed_broken"


@pytest.mark.parametrize(
    ("key", "said_of_it"),
    [("", "no key"), (" ,", "no key"), ("canary!", "key 1 is not base64"), ("Y2FuYXJ5", "has 6 bytes instead of 32"),
     (f"{OLD},canary!", "key 2 is not base64"), ("\u00e4" * 43, "not base64")],
)  # fmt: skip
def test_a_key_that_is_none_is_refused_with_the_remedy_and_not_quoted(key, said_of_it):
    with pytest.raises(SealError, match=said_of_it) as refused:
        Keyring(key)

    assert "canary" not in refused.value.message
    assert "--new-key" in refused.value.message or refused.value.code == "sealed_key_missing"


def test_a_key_may_be_written_url_safe_and_without_padding():
    key = base64.urlsafe_b64encode(b"\xfb\xff" * 16).decode().rstrip("=")

    assert Keyring(key).ids == Keyring(base64.b64encode(b"\xfb\xff" * 16).decode()).ids
    assert len(base64.b64decode(new_key(os.urandom))) == 32


def test_a_sealed_value_is_opened_with_the_key_of_the_environment(folder):
    found = connection(folder, written(sealed("canary-value")), {"ICLIENT_PROXY_KEY": f"{NEW},{OLD}"})

    assert found.iclient.client_secret == Secret("canary-value")


def test_the_key_may_lie_in_a_file(folder):
    path = folder / "key"
    path.write_text(OLD + "\n")
    path.chmod(0o600)

    found = connection(folder, written(sealed("canary-value")), {"ICLIENT_PROXY_KEY_FILE": "key"})

    assert found.iclient.client_secret == Secret("canary-value")


@pytest.mark.parametrize(
    ("cut", "environ", "code", "message"),
    [
        (None, {}, "sealed_key_missing", "set ICLIENT_PROXY_KEY or ICLIENT_PROXY_KEY_FILE"),
        (None, {"ICLIENT_PROXY_KEY": NEW}, "sealed_key_unknown", "it was sealed with the key 347672fa, and there"),
        (-3, {"ICLIENT_PROXY_KEY": OLD}, "sealed_broken", "seal it anew"),
        (5, {"ICLIENT_PROXY_KEY": OLD}, "sealed_broken", "this is not what `iclient-proxy seal` prints"),
        (None, {"ICLIENT_PROXY_KEY": "canary"}, "sealed_key_invalid", "`iclient-proxy seal --new-key` makes one"),
        (None, {"ICLIENT_PROXY_KEY": OLD, "ICLIENT_PROXY_KEY_FILE": "x"}, "sealed_key_invalid", "keep one"),
        (None, {"ICLIENT_PROXY_KEY_FILE": "/nowhere"}, "secret_file_missing", "the file /nowhere does not exist"),
    ],
)
def test_what_can_not_be_opened_is_a_fault_that_says_what_to_do(folder, cut, environ, code, message):
    [line] = said(folder, written(sealed("canary")[:cut]), environ)

    assert line.startswith(f"{code} f.yaml:8:7: connections.acme.iclient.client_secret: ")
    assert message in line
    assert "canary" not in line


@pytest.mark.parametrize("text", ["", " ", ",", " , \n,"])
def test_without_a_key_nothing_is_opened_and_the_code_says_so(text):
    with pytest.raises(SealError) as raised:
        Keyring(text)

    assert (raised.value.code, str(raised.value)) == ("sealed_key_missing", raised.value.message)


@pytest.mark.parametrize("cut", ["x", "k" * 42, "k" * 44, "*" * 43, "ключ", base64.b64encode(b"k" * 31).decode()])
def test_each_key_has_32_bytes_of_base64_and_the_message_says_which_has_not(cut):
    good = base64.b64encode(b"g" * 32).decode()

    for text, number in ((cut, 1), (f"{good}, {cut}", 2)):
        with pytest.raises(SealError) as raised:
            Keyring(text)
        assert raised.value.code == "sealed_key_invalid"
        assert f"key {number} " in raised.value.message
        assert cut not in raised.value.message or len(cut) == 1


def test_sealed_text_is_opened_whole_or_not_at_all():
    keys = Keyring(base64.b64encode(b"g" * 32).decode())
    sealed = keys.seal("canary", "test", bytes)
    head, identity, body = sealed.split(".")
    data = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))

    def spelt(raw):
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    odd = [
        f"{sealed} ", f" {sealed}", f"{sealed}\n", f"{sealed}=", sealed.upper(), f"{head}.{identity}.",
        f"{identity}.{body}",
        f"sealed-v2.{identity}.{body}", *(f"{head}.{identity}.{spelt(data[:cut])}" for cut in (0, 1, 11, 12,
        15, 16, 27, 28)),
        f"{head}.{identity}.{spelt(data + b'x')}", f"{head}.{identity}.{body[:1]}",
    ]  # fmt: skip
    for text in odd:
        with pytest.raises(SealError) as raised:
            keys.open(text, "test")
        assert raised.value.code == "sealed_broken", text
    with pytest.raises(SealError) as raised:
        keys.open(f"{head}.00000000.{body}", "test")
    assert raised.value.code == "sealed_key_unknown"
    assert keys.open(sealed, "test") == "canary"


def test_what_was_sealed_once_opens_for_ever():
    """In definitions and on disks there is text that was sealed by a version before this one."""
    keys = Keyring(base64.b64encode(b"g" * 32).decode())
    sealed = "sealed-v1.f46132de.AAECAwQFBgcICQoLCuhG1d5T-Mor2FnDL_fvKuWpSNUU-A"

    assert keys.open(sealed, "test") == "canary"
    assert keys.seal("canary", "test", lambda count: bytes(range(count))) == sealed
    with pytest.raises(SealError, match="not what"):
        keys.open("sealed-v1.f46132de.", "test")


def test_sealed_bytes_that_are_no_text_are_refused():
    raw = b"g" * 32
    keys = Keyring(base64.b64encode(raw).decode())
    sealed = bytes(12) + AESGCM(raw).encrypt(bytes(12), b"\xff", f"sealed-v1\0{keys.first}\0test".encode())
    body = base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    with pytest.raises(SealError) as raised:
        keys.open(f"sealed-v1.{keys.first}.{body}", "test")
    assert raised.value.code == "sealed_broken"


def test_the_words_of_a_keyring_are_secrets_that_log_lines_are_cleaned_of():
    word = base64.b64encode(b"h" * 32).decode()
    keys = Keyring(word)

    assert word in {secret.reveal() for secret in living()}
    assert keys.ids == (keys.first,)
    assert base64.b64decode(new_key(lambda count: b"n" * count)) == b"n" * 32


def test_a_key_is_named_by_the_same_eight_digits_in_every_process():
    assert re.fullmatch("[0-9a-f]{8}", key_id(b"g" * 32))
    assert key_id(b"g" * 32) == hashlib.sha256(b"iclient-proxy key id\0" + b"g" * 32).hexdigest()[:8]
