import base64
import gc
import json
import re
import tracemalloc
import weakref
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.observe.redact import Redactor, forms, look_for, masked
from proxy.secret import Secret

# Guillemets stand around a secret in these tests, so they do not stand in one.
SECRETS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="«»"), min_size=8, max_size=40)
AROUND = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)


def in_lower_case(encoded):
    return re.sub("%..", lambda pair: pair[0].lower(), encoded)


def percent_encoded_in_lower_case(text):
    return in_lower_case(quote(text, safe=""))


def as_browsers_encode_forms(text):
    return quote_plus(text, safe="*").replace("~", "%7E")


SPELLINGS = {
    "as it is": lambda text: text,
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded but for slashes": quote,
    "percent-encoded in lower case": percent_encoded_in_lower_case,
    "form-encoded": quote_plus,
    "form-encoded as browsers do": as_browsers_encode_forms,
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


@pytest.mark.parametrize(
    "text", ["12345678", "swordfish", "~~~???>>>", "Ab8Q~c.d*e_f", "ключ-к-замку", "pa ss+wörd&x=1/y"]
)
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("spell", [str, quote_plus, as_browsers_encode_forms])
def test_of_a_secret_within_base64_nothing_is_left_but_what_its_neighbours_share(text, encode, spell):
    secret = Secret(text)
    inner = spell(text).encode()
    for before in (b"", b"a", b"ab", b"abc", b"client:"):
        encoded = encode(before + inner).rstrip(b"=")
        sure = encoded[-(-len(before) * 8 // 6) : (len(before) + len(inner)) * 8 // 6]

        assert Redactor(lambda: [secret])(encoded) == encoded.replace(sure, b"***"), before


@pytest.mark.parametrize("left_alone", ["", "/", "!$'()*,/:;?@", "!$&'()*+,;=:@/?", "!'()*", "-._~"])
def test_a_secret_leaves_whichever_delimiters_a_library_does_not_encode(left_alone):
    secret = Secret("it's (a) secret: user@host/p?q=1&r=2+3,$4;*!")

    assert Redactor(lambda: [secret])(f"x={quote(secret.reveal(), safe=left_alone)}".encode()) == b"x=***"


@pytest.mark.parametrize("left_alone", ["", "/", "!$'()*,/:;?@", "!$&'()*+,;=:@/?", "!'()*"])
@pytest.mark.parametrize("spell", [str, in_lower_case], ids=["", "in lower case"])
def test_a_percent_sign_before_an_encoded_secret_does_not_hide_it(left_alone, spell):
    """It and the first two letters look like a code."""
    secret = Secret("beef, it's (a) secret: user@host/p?q=1&r=2+3,$4;*!")

    cleaned = Redactor(lambda: [secret])(f"x=50%25{spell(quote(secret.reveal(), safe=left_alone))}".encode())

    assert cleaned == b"x=50%25***"


@pytest.mark.parametrize("encode", [quote_plus, as_browsers_encode_forms])
def test_a_percent_sign_before_a_form_encoded_secret_does_not_hide_it(encode):
    secret = Secret("beef for two~*/=")

    assert Redactor(lambda: [secret])(f"x=50%25{encode(secret.reveal())}".encode()) == b"x=50%25***"


def test_a_secret_that_is_no_valid_text_leaves_too():
    secret = Secret("half-a-pair-\ud83d")

    assert Redactor(lambda: [secret])(b"x=" + secret.reveal().encode("utf-8", "surrogatepass")) == b"x=***"
    assert Redactor(lambda: [secret])(repr(secret.reveal()).encode()) == b"'***'"


@pytest.mark.parametrize("line", [b"%b", b"%b ", b" %b", b"a%bb", b"%b%b"])
def test_a_secret_of_eight_bytes_leaves_wherever_it_stands(line):
    secret = Secret("12345678")
    number = line.count(b"%")

    assert Redactor(lambda: [secret])(line % ((b"12345678",) * number)) == line % ((b"***",) * number)


@given(text=SECRETS)
def test_no_spelling_is_short_enough_to_occur_by_chance(text):
    assert all(len(form) >= 8 for form in forms(text))


@pytest.mark.parametrize("text", ["", "a", "test", "1234567"])
@pytest.mark.case("S-326")
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
    token = Secret("0-is-the-number-of-the-token")
    for number in range(1000):
        token = Secret(f"{number}-is-the-number-of-the-token")
        redact(b"nothing in particular")

    assert redact(b"998-is-the-number-of-the-token " + token.reveal().encode()) == b"998-is-the-number-of-the-token ***"


def test_a_secret_that_stays_is_known_at_every_line_while_others_come_and_go():
    redact = Redactor()
    stays = Secret("the-one-that-stays")

    for number in range(500):
        passing = Secret(f"token-number-{number}-of-many")
        assert redact(b"the-one-that-stays " + passing.reveal().encode()) == b"*** ***"
    assert stays.reveal()


def test_what_was_known_of_dead_secrets_takes_no_memory_for_ever():
    stays = Secret("the-one-that-stays")
    token = [stays]
    redact = Redactor(lambda: [stays, *token])
    tracemalloc.start()
    try:
        for number in range(1200):
            token = [Secret(f"token-number-{number}-of-many")]
            redact(b"nothing in particular")
            if number == 200:
                before = tracemalloc.get_traced_memory()[0]
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert grown < 1_000_000


def test_with_hundreds_of_secrets_alive_each_line_looks_through_them_once():
    alive = [Secret(f"token-number-{number}-of-many") for number in range(300)]
    looked = []

    def secrets():
        looked.append(1)
        return alive

    redact = Redactor(secrets)
    for _ in range(10):
        redact(b"nothing in particular")

    assert len(looked) == 10


@pytest.mark.parametrize(("alive", "least", "most"), [(0, 9, 25), (1, 9, 25), (100, 3, 6)])
def test_what_it_costs_to_forget_the_dead_is_spread_over_many_lines(alive, least, most):
    stay = [Secret(f"number-{number}-of-those-that-stay") for number in range(alive)]
    passing = []
    looked = []

    def secrets():
        looked.append(1)
        return [*stay, *passing]

    redact = Redactor(secrets)
    for number in range(1000):
        passing = [Secret(f"token-number-{number}-of-many")]
        redact(b"nothing in particular")

    assert least <= len(looked) - 1000 <= most  # it looks through them once more when it begins anew


def references():
    gc.collect()
    return sum(type(each) is weakref.ReferenceType for each in gc.get_objects())


def come_and_go(redact):
    """Have 2,600 secrets come and go; return the last one."""
    for batch in range(8):
        held = [Secret(f"token-{number}-of-batch-{batch}") for number in range(200)]
        redact(b"nothing in particular")
    del held
    for number in range(1000):
        held = Secret(f"token-number-{number}-of-many")
        redact(b"nothing in particular")
    return held


def test_of_secrets_that_are_gone_no_reference_is_left():
    redact = Redactor()
    stays = Secret("the-one-that-stays")
    come_and_go(redact)  # what is made once, and the index at its size
    before = references()
    held = come_and_go(redact)

    assert references() - before < 80
    assert redact(stays.reveal().encode() + held.reveal().encode()) == b"******"


def test_ten_thousand_renewals_leave_nothing_behind_though_tokens_are_made_where_the_one_before_was():
    redact = Redactor()
    before = references()
    for number in range(10_000):
        token = Secret(f"token-number-{number}-of-many")
        redact(b"nothing in particular")
        del token

    assert references() - before < 200


UNUSUAL = {
    "every letter percent-encoded": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "some letters percent-encoded": lambda text: "".join(
        f"%{b:02x}" if b % 2 else chr(b) for b in text.encode("ascii")
    ),
    "percent-encoded twice": lambda text: "".join(f"%25{byte:02X}" for byte in text.encode()),
    "percent-encoded three times": lambda text: "".join(f"%2525{byte:02X}" for byte in text.encode()),
    "escaped as JSON needs not": lambda text: "".join(f"\\u{byte:04x}" for byte in text.encode("ascii")),
    "escaped and escaped again": lambda text: "".join(f"\\\\u{byte:04x}" for byte in text.encode("ascii")),
    "as a repr of bytes might be": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode("ascii")),
}


@pytest.mark.case("S-321")
@pytest.mark.parametrize("spelling", UNUSUAL)
@given(
    text=st.text(
        st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="%\\"), min_size=8, max_size=40
    )
)
def test_a_secret_leaves_a_line_in_spellings_that_nobody_needs(spelling, text):
    secret = Secret(text)

    cleaned = Redactor(lambda: [secret])(f"a%20b «{UNUSUAL[spelling](text)}» c%20d".encode())

    assert cleaned == "a%20b «***» c%20d".encode()


@given(text=SECRETS.filter(lambda text: len(text) > 12), kept=st.integers(12, 40))
def test_a_secret_that_somebody_shortened_leaves_a_line_too(text, kept):
    secret = Secret(text)
    beginning = text.encode()[: max(12, min(kept, len(text.encode()) - 1))]

    assert Redactor(lambda: [secret])(b"<" + beginning + b"\x00") == b"<***\x00"


def test_what_only_begins_like_a_secret_stays():
    secret = Secret("https://hooks.example.com/services/T0/B0")

    cleaned = Redactor(lambda: [secret])(b"https://api.example.com/ https://hooks.example.com/services/T0/B0")

    assert cleaned == b"https://api.example.com/ ***"


@pytest.mark.parametrize("code", ["\\x{:02x}", "\\x{:02X}", "\\u{:04x}", "%{:02X}", "%{:02x}", "%25{:02x}"])
@pytest.mark.parametrize("coded", [1, 3, 19])
def test_a_secret_leaves_though_some_of_its_characters_are_written_as_codes(code, coded):
    text = "swordfish-and-chips"
    secret = Secret(text)
    written = "".join(code.format(ord(each)) for each in text[:coded]) + text[coded:]

    assert Redactor(lambda: [secret])(f"x={written} y".encode()) == b"x=*** y"


@pytest.mark.parametrize("code", ["\\x73", "\\u0073", "%73"])
def test_a_secret_leaves_whose_first_letter_is_a_code_at_the_beginning_of_a_line(code):
    secret = Secret("swordfish-and-chips")

    assert Redactor(lambda: [secret])(f"{code}wordfish-and-chips y".encode()) == b"*** y"
    assert Redactor(lambda: [secret])(f"y {code}wordfish-and-chips".encode()) == b"y ***"


@pytest.mark.parametrize("almost", ["swordfishx2dand-chips", "swordfishu002dand-chips", "swordfish2dand-chips"])
def test_what_is_no_code_is_not_read_as_one(almost):
    secret = Secret("swordfish-and-chips")

    assert Redactor(lambda: [secret])(f"{almost} %41 \\x41".encode()) == f"{almost} %41 \\x41".encode()


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (b"swordfish-and-chips", b"***"),
        (b"a swordfish-and-chips b swordfish-and-chips c", b"a *** b *** c"),
        (b"1 swordfish-and-chips 2 swordfish-and-chips 3 swordfish-and-chips 4", b"1 *** 2 *** 3 *** 4"),
        (b"swordfish-and-beans", b"***beans"),  # as far as they are the same
        (b"swordfish-and", b"***"),
        (b"swordfish-an\x00", b"***\x00"),
        (b"swordfish-a b", b"swordfish-a b"),
        (b"%73wordfish-and-chips", b"***"),
        (b"a swordfish-and-no-chips b swordfish-and-chips and vinegar", b"a *** b *** and vinegar"),
        (b"swordfish swordfish-and-chips", b"swordfish ***"),
        (b"letmein", b"***"),
        (b"letme", b"letme"),
        (b"nothing", b"nothing"),
    ],
)
@pytest.mark.parametrize("turn", [1, -1])
def test_given_spellings_leave_a_text_though_they_begin_alike_or_are_shortened(text, cleaned, turn):
    spellings = [b"swordfish-and-chips", b"swordfish-and-no-chips", b"letmein"]

    assert masked(text, look_for(spellings[::turn])) == cleaned


def test_a_spelling_is_found_whole_though_it_seems_to_begin_a_letter_earlier():
    look = look_for([b"aaaaaaaaaaaab"])

    assert masked(b"aaaaaaaaaaaaab", look) == b"***"


def test_behind_a_beginning_all_that_follows_leaves_a_text():
    look = look_for([b"swordfish-and-chips"], [b"eyJhbGciOi", b"ya29."])

    assert masked(b"a ya29.x swordfish-and-chips b", look) == b"a ***"
    assert masked(b"ya29.x b ya29.y", look) == b"***"
    assert masked(b"eyJhbGciOi", look) == b"***"
    assert masked(b"swordfish-and-chips %65yJhbGciOi and so on", look) == b"*** ***"
    assert masked(b"eyJhbGciO ya29", look) == b"eyJhbGciO ya29"


def test_a_text_in_which_nothing_is_found_is_the_same_text():
    text = b"50% of nothing\\n"

    assert masked(text, look_for([b"swordfish-and-chips"])) is text
