import base64
import json
import re
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.observe.redact import Redactor, forms
from proxy.secret import Secret

# Guillemets stand around a secret in these tests, so they do not stand in one.
SECRETS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="«»"), min_size=8, max_size=40)
AROUND = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)


def percent_encoded_in_lower_case(text):
    return re.sub("%..", lambda pair: pair[0].lower(), quote(text, safe=""))


SPELLINGS = {
    "as it is": lambda text: text,
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded but for slashes": quote,
    "percent-encoded in lower case": percent_encoded_in_lower_case,
    "form-encoded": quote_plus,
    "within JSON": lambda text: json.dumps(text)[1:-1],
    "within JSON that is not ASCII": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "within JSON within JSON": lambda text: json.dumps(json.dumps(text)[1:-1])[1:-1],
    "by repr": lambda text: repr(text)[1:-1],
    "by repr of its bytes": lambda text: repr(text.encode())[2:-1],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(text=SECRETS)
def test_a_secret_leaves_a_line_in_every_spelling(spelling, text):
    secret = Secret(text)

    cleaned = Redactor(lambda: [secret])(f"«{SPELLINGS[spelling](text)}»".encode())

    assert cleaned == "«***»".encode()


@given(text=SECRETS, before=AROUND, after=AROUND)
def test_a_secret_leaves_basic_credentials_and_other_base64_wherever_it_begins_in_it(text, before, after):
    secret = Secret(text)
    encoded = base64.b64encode(f"{before}:{text}{after}".encode())

    cleaned = Redactor(lambda: [secret])(b"Authorization: Basic " + encoded)

    # Two characters on each side may hold bits of its neighbours and of itself.
    assert b"***" in cleaned
    assert len(cleaned.replace(b"***", b"")) <= 21 + len(encoded) - (len(text.encode()) * 8 // 6 - 2) + 2


@given(text=SECRETS)
def test_no_spelling_is_short_enough_to_occur_by_chance(text):
    assert all(len(form) >= 8 for form in forms(text))


@pytest.mark.parametrize("text", ["", "a", "test", "1234567"])
def test_short_secrets_are_left_alone_so_that_the_log_stays_readable(text):
    secret = Secret(text)

    assert Redactor(lambda: [secret])(b"a test of 1234567 lines") == b"a test of 1234567 lines"


def test_a_line_without_a_secret_is_the_same_line():
    line = b'{"event":"renewed","connection":"crm"}\n'
    secret = Secret("correct horse battery staple")

    assert Redactor(lambda: [secret])(line) is line


def test_a_secret_that_holds_another_leaves_as_a_whole():
    secrets = [Secret("swordfish"), Secret("swordfish-and-chips")]

    assert Redactor(lambda: secrets)(b"got swordfish-and-chips, swordfish") == b"got ***, ***"


def test_secrets_are_learnt_when_they_are_born_and_forgotten_when_they_die():
    redact = Redactor()
    first = Secret("first-of-its-kind")
    twin = Secret("first-of-its-kind")
    assert redact(b"first-of-its-kind") == b"***"

    second = Secret("second-of-its-kind")
    del first
    assert redact(b"first-of-its-kind second-of-its-kind") == b"*** ***"

    del twin, second
    assert redact(b"first-of-its-kind second-of-its-kind") == b"first-of-its-kind second-of-its-kind"


def test_after_a_thousand_renewals_the_living_token_is_known_and_the_dead_ones_are_not():
    redact = Redactor()
    token = Secret("token-number-0-of-many")
    for number in range(1000):
        token = Secret(f"token-number-{number}-of-many")
        redact(b"nothing in particular")

    assert redact(b"token-number-998-of-many " + token.reveal().encode()) == b"token-number-998-of-many ***"
