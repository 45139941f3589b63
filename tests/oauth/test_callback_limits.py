"""How much a callback may hold, which words of the server are shown, and who has to say that it is the issuer."""

import string
from urllib.parse import parse_qsl, urlsplit

import pytest

from proxy.definitions.templates.placeholders import RenderError, compile_template, literal
from proxy.definitions.templates.urls import compile_url
from proxy.oauth.authorize import CallbackError, authorization_url, read_callback, state_of
from proxy.oauth.metadata import Metadata
from proxy.oauth.pkce import challenge, verifier
from proxy.secret import Secret
from proxy.tokens.authorizations import LIFETIME, PENDING_MAX, FlowError, Flows
from tests.oauth.answers import iclient, material

ISSUER = "https://auth.example.com"
CLIENT = iclient(grant_type="authorization_code", authorization_url=compile_url(f"{ISSUER}/authorize"), issuer=ISSUER)
SHOWN = [
    "access_denied",
    "invalid_request",
    "invalid_scope",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_response_type",
    "interaction_required",
    "login_required",
    "account_selection_required",
    "consent_required",
]


def refused(query, client=CLIENT, metadata=None):
    with pytest.raises(CallbackError) as raised:
        read_callback(query, client, metadata)
    assert str(raised.value) == raised.value.code
    return raised.value.code, raised.value.said


def test_a_code_has_eight_kibibytes_at_most():
    assert read_callback("code=" + "c" * 8192, CLIENT, None).code.reveal() == "c" * 8192
    assert refused("code=" + "c" * 8193) == ("invalid_callback", "")


def test_a_query_has_sixteen_kibibytes_and_64_fields_at_most():
    assert state_of("state=s&x=" + "x" * (16384 - 10)) == "s"
    with pytest.raises(CallbackError, match="invalid_callback"):
        state_of("state=s&x=" + "x" * (16385 - 10))
    assert state_of("state=s" + "".join(f"&f{number}=" for number in range(63))) == "s"
    with pytest.raises(CallbackError, match="invalid_callback"):
        state_of("state=s" + "".join(f"&f{number}=" for number in range(64)))


@pytest.mark.parametrize("query", ["state=%ff", "state=a&state=a", "state=a&state=b", "code=%c3%28&state=a"])
def test_a_query_that_can_be_read_in_two_ways_or_in_none_is_refused(query):
    with pytest.raises(CallbackError, match="invalid_callback"):
        state_of(query)


@pytest.mark.parametrize("query", ["", "state=", "code=c", "State=s"])
def test_without_a_state_it_is_nobodys(query):
    with pytest.raises(CallbackError, match="invalid_state"):
        state_of(query)


@pytest.mark.parametrize("code", ["", "%00", "a%0Ab", "%7F", "%C3%A4", "a%09b"])
def test_a_code_that_is_not_visible_is_none(code):
    assert refused(f"code={code}") == ("invalid_callback", "")


@pytest.mark.parametrize("word", SHOWN)
def test_the_words_of_the_standards_are_said_as_they_are(word):
    assert refused(f"error={word}") == ("authorization_denied", word)


@pytest.mark.parametrize("word", ["", "Access_Denied", "access_denied%20", "<b>", "invalid_client"])
def test_other_words_are_not_repeated(word):
    assert refused(f"error={word}") == ("authorization_denied", "")


def test_a_code_and_an_error_at_once_are_neither():
    assert refused("code=c&error=access_denied") == ("invalid_callback", "")


@pytest.mark.parametrize(
    ("iss", "promised", "issuer", "accepted"),
    [
        (ISSUER, True, ISSUER, True),
        (ISSUER, False, ISSUER, True),
        (None, False, ISSUER, True),
        (None, True, ISSUER, False),
        (ISSUER + "/", True, ISSUER, False),
        ("https://evil.example", False, ISSUER, False),
        ("https://evil.example", False, None, True),
    ],
)
def test_the_issuer_says_who_it_is_where_it_has_promised_to_and_is_compared_exactly(iss, promised, issuer, accepted):
    client = iclient(grant_type="authorization_code", issuer=issuer)
    metadata = Metadata(ISSUER, iss_in_response=promised)
    query = "code=c" + (f"&iss={iss}" if iss is not None else "")

    if accepted:
        assert read_callback(query, client, metadata).callback == {}
    else:
        assert refused(query, client, metadata) == ("issuer_mismatch", "")


def test_what_else_a_callback_brings_is_kept_but_for_code_state_and_issuer():
    client = iclient(authorization_params=(("callback_code", literal("ticket")), ("x", literal("1"))), issuer=ISSUER)

    found = read_callback(f"ticket=t&code=c&state=s&iss={ISSUER}&realmId=9&empty=", client, None)

    assert found.code.reveal() == "t"
    assert found.callback == {"code": "c", "realmId": "9", "empty": ""}


def test_the_name_of_the_code_is_no_parameter_and_the_others_are():
    client = iclient(
        authorization_url=compile_url(f"{ISSUER}/authorize?a=1"),
        authorization_params=(
            ("callback_code", literal("ticket")),
            ("prompt", compile_template("login")),
            ("state", None),
        ),
        valid_domains=("auth.example.com",),
    )

    url = authorization_url(material(client), state="s", challenge=None)

    sent = dict(parse_qsl(urlsplit(url).query))
    assert (sent["a"], sent["prompt"], sent["response_type"]) == ("1", "login", "code")
    assert not {"callback_code", "ticket", "state", "code_challenge"} & set(sent)


def test_without_any_authorization_url_nobody_is_sent_anywhere():
    for metadata in (None, Metadata(ISSUER)):
        with pytest.raises(RenderError):
            authorization_url(material(iclient(), metadata=metadata), state="s", challenge=None)


def test_a_verifier_has_43_characters_and_the_challenge_is_its_hash():
    """RFC 7636, appendix B."""
    secret = Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")

    assert challenge(secret, "S256") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert challenge(secret, "plain") == secret.reveal()
    for byte in (b"\x00", b"\xfb", b"\xff"):
        made = verifier(lambda count, byte=byte: byte * count).reveal()
        assert len(made) == 43
        assert set(made) <= set(string.ascii_letters + string.digits + "-_")


def test_a_flow_lives_ten_minutes_and_there_are_a_thousand_at_most():
    assert (LIFETIME, PENDING_MAX) == (600.0, 1000)


def test_what_is_said_of_a_flow_is_its_code_and_nothing_of_its_iclient():
    flows = Flows(bytes, lambda: 1.0)
    state, flow = flows.begin("crm", "acme", "https://cb", None, CLIENT)

    assert "iclient=" not in repr(flow)
    with pytest.raises(FlowError) as raised:
        flows.take(state, "acme", ())
    assert str(raised.value) == "session_mismatch"
