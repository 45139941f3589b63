from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.definitions.templates.placeholders import RenderError, compile_template
from proxy.definitions.templates.urls import compile_url
from proxy.oauth.authorize import CallbackError, authorization_url, read_callback, state_of
from proxy.oauth.metadata import Metadata
from proxy.oauth.pkce import challenge, verifier
from proxy.secret import Secret
from tests.oauth.answers import connection, iclient, material, ones

ISSUER = "https://auth.example.com"
REDIRECT = "http://127.0.0.1:7489/oauth/callback/acme"


def client_of(url=f"{ISSUER}/authorize", params=None, **settings):
    written = {
        "grant_type": "authorization_code",
        "authorization_url": None if url is None else compile_url(url),
        "authorization_params": tuple(
            (name, None if text is None else compile_template(text)) for name, text in (params or {}).items()
        ),
    }
    return iclient(**{**written, **settings})


def sent_to(client, *, of=None, state="st/1", code_challenge="ch", **settings):
    made = material(client, of=connection(client, **(of or {})), redirect_url=REDIRECT, **settings)
    return authorization_url(made, state=state, challenge=code_challenge)


def parameters(url):
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_a_browser_is_sent_with_everything_of_the_request_in_the_query():
    url = sent_to(client_of(), of={"scopes": ("read", "write")})

    assert url == (
        "https://auth.example.com/authorize?response_type=code&client_id=app"
        "&redirect_uri=http%3A%2F%2F127.0.0.1%3A7489%2Foauth%2Fcallback%2Facme"
        "&scope=read%20write&state=st%2F1&code_challenge=ch&code_challenge_method=S256"
    )


def test_no_secret_goes_through_the_browser():
    assert "canary" not in sent_to(client_of(client_auth="client_secret_post"))


@pytest.mark.case("A-339")
def test_the_method_of_the_challenge_is_said():
    assert parameters(sent_to(client_of(pkce="plain")))["code_challenge_method"] == "plain"


def test_without_pkce_there_is_no_challenge():
    assert not {"code_challenge", "code_challenge_method"} & set(
        parameters(sent_to(client_of(pkce="off"), code_challenge=None))
    )


def test_scopes_are_joined_by_the_delimiter():
    found = parameters(sent_to(client_of(scope_delimiter=","), of={"scopes": ("a", "b")}))

    assert found["scope"] == "a,b"


def test_parameters_of_the_operator_are_added_replace_defaults_and_null_removes():
    params = {"prompt": "consent", "audience": "{{{connection.settings.api}}}", "scope": "odd", "redirect_uri": None}

    found = parameters(sent_to(client_of(params=params), of={"scopes": ("a",), "settings": (("api", "x&state=y"),)}))

    assert (found["prompt"], found["audience"], found["scope"]) == ("consent", "x&state=y", "odd")
    assert (found["state"], "redirect_uri" in found) == ("st/1", False)


def test_the_name_of_the_code_is_ours_and_is_not_sent():
    assert "callback_code" not in parameters(sent_to(client_of(params={"callback_code": "auth_code"})))


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        (f"{ISSUER}/a?tenant=1&x=%2F", "tenant=1&x=%2F&response_type=code"),
        (f"{ISSUER}/a?", "response_type=code"),
        (f"{ISSUER}/a?prompt=none&b=1", "b=1&response_type=code"),
    ],
)
def test_the_query_of_the_url_is_kept_and_no_parameter_is_repeated(url, kept):
    found = sent_to(client_of(url, params={"prompt": "login"}))

    assert urlsplit(found).query.startswith(kept)
    assert parameters(found)["prompt"] == "login"


@pytest.mark.case("A-340")
def test_metadata_do_not_choose_state_or_redirect():
    known = Metadata(ISSUER, authorization_endpoint=f"{ISSUER}/a?state=x&redirect_uri=https%3A%2F%2Fevil.example&t=1")

    found = parameters(sent_to(client_of(None, issuer=ISSUER), metadata=known))

    assert (found["state"], found["redirect_uri"], found["t"]) == ("st/1", REDIRECT, "1")


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://evil.example/a",
        "http://auth.example.com/a",
        "javascript:alert(1)",
        "https://auth.example.com.evil.example/a",
        "https://auth.example.com@evil.example/a",
        "https://auth.example.com:8443/a",
        "https://169.254.169.254/a",
    ],
)
def test_a_browser_is_sent_to_valid_domains_only_whatever_the_metadata_say(endpoint):
    with pytest.raises(RenderError) as raised:
        sent_to(client_of(None, issuer=ISSUER), metadata=Metadata(ISSUER, authorization_endpoint=endpoint))

    assert raised.value.code == "url_outside_valid_domains"


def test_a_host_that_a_value_makes_is_checked_too():
    client = client_of("https://{{{connection.settings.host}}}/a")

    assert sent_to(client, of={"settings": (("host", "eu.auth.example.com"),)}).startswith(
        "https://eu.auth.example.com/a?"
    )
    with pytest.raises(RenderError):
        sent_to(client, of={"settings": (("host", "evil.example"),)})


def test_metadata_without_the_endpoint_are_an_error():
    with pytest.raises(RenderError) as raised:
        sent_to(client_of(None, issuer=ISSUER), metadata=Metadata(ISSUER))

    assert raised.value.code == "placeholder_unresolved"


def test_a_challenge_is_that_of_the_rfc():
    proof = Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")  # RFC 7636 appendix B

    assert challenge(proof, "S256") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert challenge(proof, "plain") == proof.reveal()
    assert len(verifier(ones).reveal()) == 43


# ----------------------------------------------------------------------------------------------------------- callbacks


def reading(query, client=None, metadata=None):
    return read_callback(query, client or client_of(), metadata)


def refusal(query, *others):
    with pytest.raises(CallbackError) as raised:
        reading(query, *others)
    return raised.value


def test_a_callback_brings_a_code_and_everything_else_for_placeholders():
    found = reading("code=a%2Fb&state=s&realmId=7&iss=x&empty=")

    assert (found.code.reveal(), found.callback) == ("a/b", {"realmId": "7", "empty": ""})
    assert "a/b" not in repr(found)


def test_a_renamed_code_is_read_by_its_name():
    client = client_of(params={"callback_code": "auth_code"})

    assert reading("auth_code=a&state=s", client).code == Secret("a")
    assert refusal("code=a&state=s", client).code == "invalid_callback"
    assert refusal("auth_code=a&error=x&state=s", client).code == "invalid_callback"


@pytest.mark.case("A-331")
@pytest.mark.parametrize("query", ["", "code=a", "code=a&state="])
def test_a_callback_without_state_is_of_no_flow(query):
    with pytest.raises(CallbackError) as raised:
        state_of(query)

    assert raised.value.code == "invalid_state"
    assert state_of("code=a&state=s%2F1") == "s/1"


@pytest.mark.case("A-337")
@pytest.mark.parametrize(
    "query",
    [
        "code=a&code=a&state=s",
        "code=a&state=s&state=s",
        "code=a&state=s&x=1&x=2",
        "code=a&%63ode=b&state=s",
        "code=a&error=access_denied&state=s",
        "code=&state=s",
        "state=s",
        "code=a%0D%0Ab&state=s",
        "code=a%00&state=s",
        "code=%7F&state=s",
        "code=%C3%BC&state=s",
        "code=%FF&state=s",
        "code=" + "a" * 100_000 + "&state=s",
        "code=" + "a" * 8193 + "&state=s",
        "code=a&state=s&" + "&".join(f"x{number}=1" for number in range(100)),
    ],
)
def test_a_callback_that_can_be_read_in_two_ways_or_not_at_all_is_refused(query):
    assert refusal(query).code == "invalid_callback"


@pytest.mark.case("A-337")
def test_a_state_that_is_there_twice_is_of_no_flow_either():
    with pytest.raises(CallbackError) as raised:
        state_of("code=a&state=s&state=t")

    assert raised.value.code == "invalid_callback"


@pytest.mark.case("A-333")
@pytest.mark.parametrize(
    "issuer",
    [
        "https://auth.example.com/",
        "https://Auth.example.com",
        "https://auth.example.co",
        "",
        "HTTPS://auth.example.com",
    ],
)
def test_an_issuer_is_compared_character_by_character(issuer):
    client = client_of(issuer=ISSUER)

    assert refusal(f"code=a&state=s&iss={quote(issuer, safe='')}", client).code == "issuer_mismatch"
    assert reading(f"code=a&state=s&iss={quote(ISSUER, safe='')}", client).code == Secret("a")


@pytest.mark.case("A-334")
def test_an_issuer_that_the_server_promises_has_to_be_there():
    client = client_of(issuer=ISSUER)

    for answer in ("code=a&state=s", "error=access_denied&state=s"):
        assert refusal(answer, client, Metadata(ISSUER, iss_in_response=True)).code == "issuer_mismatch"
    assert reading("code=a&state=s", client, Metadata(ISSUER)).code == Secret("a")


@pytest.mark.case("A-336")
@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("access_denied", "access_denied"),
        ("login_required", "login_required"),
        ("<script>", ""),
        ("a" * 500, ""),
        ("", ""),
    ],
)
def test_an_error_is_quoted_only_where_it_is_a_known_word(error, said):
    refused = refusal(urlencode({"error": error, "error_description": "<script>", "state": "s"}))

    assert (refused.code, refused.said, str(refused)) == ("authorization_denied", said, "authorization_denied")


@pytest.mark.case("A-338")
def test_an_access_token_in_the_query_is_no_code():
    assert refusal("access_token=a&token_type=Bearer&state=s").code == "invalid_callback"


def outcome(query):
    try:
        return reading(query).code.reveal()
    except CallbackError as error:
        return error


@given(st.text(max_size=200))
def test_whatever_a_browser_brings_is_a_code_or_a_refusal(query):
    found = outcome(query)

    if isinstance(found, CallbackError):
        assert found.code in {"invalid_callback", "authorization_denied"}
    else:
        assert found.isprintable()
