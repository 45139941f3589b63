from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.definitions.domains import DomainError, parse_url
from proxy.definitions.templates.placeholders import Ambient, RenderError, TemplateError, references
from proxy.definitions.templates.urls import compile_url, in_header, placeholder_in_host, render_url

AMBIENT = Ambient(0.0, bytes)


def rendered(text, **values):
    return render_url(compile_url(text), values, AMBIENT)


def test_a_url_without_placeholders_stays_as_it_is_written():
    url = compile_url("HTTPS://Auth.Example.com:8443/Token?a=b%20c")

    assert render_url(url, {}, AMBIENT) == "HTTPS://Auth.Example.com:8443/Token?a=b%20c"
    assert (url.scheme, url.host.text, url.port, url.path.text) == ("https", "Auth.Example.com", 8443, "/Token")
    assert url.query is not None
    assert (url.query.text, url.plain, placeholder_in_host(url)) == ("a=b%20c", True, False)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("https://{{{v}}}.example.com/token", "https://acme.example.com/token"),
        ("https://login-{{{v}}}.example.com:8443", "https://login-acme.example.com:8443"),
        (
            "https://example.com/{{{v}}}/{{{s}}}?q={{{s}}}&r=1",
            "https://example.com/Acme/a%20b%2F%3F%23?q=a%20b%2F%3F%23&r=1",
        ),
        ("https://[2001:db8::1]:8443/{{{v}}}", "https://[2001:db8::1]:8443/Acme"),
        ("https://example.com?{{{v}}}", "https://example.com?Acme"),
        ('https://{{{join "." v "eu"}}}.example.com/', "https://acme.eu.example.com/"),
        ("{{{o}}}/v1?x={{{v}}}", "https://na1.example.com:444/v1?x=Acme"),
        ("{{{o}}}", "https://na1.example.com:444"),
    ],
)
def test_values_are_put_in_as_their_place_wants_them(text, meaning):
    result = rendered(text, v="Acme", s="a b/?#", o="https://NA1.example.com:444/")

    assert result == meaning


@pytest.mark.case("C-39")
@pytest.mark.parametrize(
    "value",
    ["evil.com/x?", "evil.com/", "evil.com#", "user@evil", "a:1", "a\\b", "a%2fb", "a b", "a\r\nb", "a\x00", ".", "..",
     "a..b", ".a", "a.", "x" * 64, "", "\u00e4", "a_b", "[::1]", "-a"],
)  # fmt: skip
def test_a_host_takes_labels_and_nothing_else(value):
    with pytest.raises(RenderError) as refused:
        rendered("https://{{{v}}}.domain.com/", v=value)

    assert refused.value.code == "placeholder_unsafe"
    assert len(value) < 2 or value not in refused.value.message


@pytest.mark.case("C-39")
@pytest.mark.parametrize("value", ["2130706433", "0x7f000001", "127.1", "1.2.3.4.5"])
def test_a_host_that_a_resolver_takes_for_an_address_is_refused(value):
    with pytest.raises(RenderError, match="no URL that may be used"):
        rendered("https://{{{v}}}/", v=value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("https://example.com/{{{v}}}/x", ".."),
        ("https://example.com/a/{{{v}}}", "."),
        ("https://example.com/.{{{v}}}/x", "."),
        ("https://example.com/%2E{{{v}}}/x", "."),
        ("https://example.com/{{{v}}}/x", ""),
        ("{{{v}}}/x", "https://user@evil.example"),
        ("{{{v}}}/x", "https://evil.example/path"),
        ("{{{v}}}/x", "https://evil.example?"),
        ("{{{v}}}/x", "https://evil.example#"),
        ("{{{v}}}/x", "evil.example"),
        ("{{{v}}}/x", "ftp://evil.example"),
        ("{{{v}}}/x", "https://2130706433"),
    ],
)
def test_a_value_that_changes_what_stands_around_it_is_refused(text, value):
    with pytest.raises(RenderError) as refused:
        rendered(text, v=value)

    assert refused.value.code == "placeholder_unsafe"
    assert "evil" not in refused.value.message


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("https://example.com:{{{v}}}/", "invalid_url"),
        ("https://{{{v}}}@example.com/", "userinfo_forbidden"),
        ("https://example.com/#{{{v}}}", "fragment_forbidden"),
        ("ftp://{{{v}}}.example.com/", "invalid_url"),
        ("/{{{v}}}", "invalid_url"),
        ("https://{{{v}}}..example.com/", "invalid_host"),
        ("https://example.com/a b{{{v}}}", "bad_url_char"),
        (r"https://example.com/\{{{v}}}", "bad_url_char"),
        ("{{{v}}}.example.com/", "template_invalid"),
        ("{{{v}}}:8443/", "template_invalid"),
        ("{{{v}}}{{{w}}}", "template_invalid"),
        ("https://example.com/../{{{v}}}", "template_invalid"),
        ("https://{{{v", "template_invalid"),
    ],
)
def test_what_no_value_could_make_right_is_a_fault_at_once(text, code):
    with pytest.raises((TemplateError, DomainError)) as refused:
        compile_url(text)

    assert isinstance(refused.value, TemplateError | DomainError)
    assert refused.value.code == code


def test_whether_the_host_depends_on_a_value_is_known():
    assert placeholder_in_host(compile_url("https://{{{v}}}.example.com/"))
    assert placeholder_in_host(compile_url("{{{v}}}/x"))
    assert not placeholder_in_host(compile_url("https://example.com/{{{v}}}?{{{v}}}"))


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_no_value_moves_a_border_of_the_url(label, segment, parameter):
    text = "https://pre{{{label}}}.domain.com:8443/a/{{{segment}}}/b?x={{{parameter}}}&y=z"
    try:
        result = rendered(text, label=label, segment=segment, parameter=parameter)
    except RenderError:
        return
    parsed, split = parse_url(result), urlsplit(result)

    assert parsed.host.endswith(".domain.com")
    assert parsed.host == f"pre{label.lower()}.domain.com"
    assert parsed.port == 8443
    assert [unquote(part) for part in split.path.split("/")] == ["", "a", segment, "b"]
    assert parse_qsl(split.query, keep_blank_values=True, separator="&") == [("x", parameter), ("y", "z")]


@given(st.from_regex(r"[a-z0-9]{1,10}(\.[a-z]{1,10}){0,2}", fullmatch=True))
def test_every_name_of_labels_is_taken(label):
    assert rendered("https://{{{v}}}.domain.com/", v=label) == f"https://{label}.domain.com/"


@given(st.text(alphabet="htps:/.?#@{}[]\\%ax1 \u00e4", max_size=30))
def test_any_text_is_a_url_or_refused(text):
    try:
        url = compile_url(text)
    except (TemplateError, DomainError):
        return

    assert url.text == text


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\x00b", "\u00e4", "\x7f"])
def test_a_header_takes_no_character_that_ends_it(value):
    with pytest.raises(RenderError, match="headers can't hold"):
        in_header(value)


def test_a_header_takes_visible_text_as_it_is():
    assert in_header('a, b;\tc="d" {e}') == 'a, b;\tc="d" {e}'


def test_a_url_knows_its_parts_wherever_placeholders_stand():
    url = compile_url("https://{{{a}}}.example.com:8443/{{{b}}}/x?c={{{c}}}?d&e={{{e}}}?f")
    address = compile_url("https://[2001:db8::1]:8443/{{{a}}}")
    origin = compile_url("{{{o}}}?q={{{v}}}")

    assert (url.host.text, url.port, url.path.text) == ("{{{a}}}.example.com", 8443, "/{{{b}}}/x")
    assert url.query is not None
    assert url.query.text == "c={{{c}}}?d&e={{{e}}}?f"
    assert [reference.path for reference in references(url)] == ["a", "b", "c", "e"]
    assert (address.host.text, address.port) == ("[2001:db8::1]", 8443)
    assert (compile_url("https://[2001:db8::1]/{{{a}}}").host.text, compile_url("https://h/{{{a}}}").port) == (
        "[2001:db8::1]", None,
    )  # fmt: skip
    assert (origin.scheme, origin.host.text, origin.port, origin.path.text) == ("", "", None, "")
    assert [reference.path for reference in references(origin)] == ["o", "v"]
    assert rendered("{{{o}}}?q={{{v}}}", o="https://a.example", v="1&2") == "https://a.example?q=1%262"
