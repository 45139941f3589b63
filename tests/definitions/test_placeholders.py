import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.definitions.templates.placeholders import (
    Ambient,
    RenderError,
    Template,
    TemplateError,
    TemplateMap,
    compile_template,
    literal,
    references,
    render,
    render_tree,
)
from proxy.secret import Secret

SCOPE = {
    "connection": {
        "name": "crm",
        "settings": {"tenant": "acme", "odd key": "odd", "x-y": "hyphen", "braces": "{{{connection.name}}}"},
        "secrets": {"pin": Secret("canary-pin")},
        "token": {
            "fields": {
                "n": 3600, "f": 0.5, "whole": 2.0, "tiny": 1e-7, "yes": True, "none": None, "list": ["a", 1, [2]],
                "map": {"k": "v"}, "empty": "", "half": "\ud800", "zahl": float("nan"),
            }
        },
    },
    "iclient": {
        "client_secret": Secret("canary-secret"),
        "scopes": ["read", "write"],
        "jwt": {"token": lambda: "lazy"},
    },
}  # fmt: skip
AMBIENT = Ambient(1767323045.678, lambda count: bytes(range(count)))


def rendered(text, **options):
    return render(compile_template(text), SCOPE, AMBIENT, **options)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("", ""),
        ("plain } }} text", "plain } }} text"),
        ("{{{connection.settings.tenant}}}", "acme"),
        ("{{connection.settings.tenant}}", "acme"),
        ("a{{{ connection.settings.tenant\t}}}b{{{connection.name}}}c", "aacmebcrmc"),
        ("{{{connection.settings.[odd key]}}}", "odd"),
        ("{{{connection.settings.x-y}}}}", "hyphen}"),
        ("{{{connection.token.fields.list.[0]}}}{{{connection.token.fields.list.1}}}", "a1"),
        ("{{{connection.token.fields.n}}}", "3600"),
        ("{{{connection.token.fields.f}}} {{{connection.token.fields.whole}}}", "0.5 2"),
        ("{{{connection.token.fields.tiny}}}", "0.0000001"),
        ("{{{connection.token.fields.yes}}}", "true"),
        ("{{{connection.token.fields.empty}}}", ""),
        ("{{{iclient.jwt.token}}}", "lazy"),
        (r"\{{{connection.name}}} \\{{connection.name}}", r"{{{connection.name}}} \crm"),
    ],
)
def test_braces_stand_for_the_value_of_their_path(text, meaning):
    assert rendered(text) == meaning


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ('{{{base64Encode "ä:b"}}}', base64.b64encode("ä:b".encode()).decode()),
        ('{{{base64Decode "w6Q6Yg"}}}', "ä:b"),
        ('{{{encodeURIComponent "a b/c?ä!~*\'()"}}}', "a%20b%2Fc%3F%C3%A4!~*'()"),
        ('{{{join "," iclient.scopes}}}', "read,write"),
        ("{{{join ' ' connection.name \"x\" 7 true}}}", "crm x 7 true"),
        ('{{{hash "sha256" "hex" connection.name}}}', hashlib.sha256(b"crm").hexdigest()),
        ('{{{hash "MD5" "base64" ""}}}', "1B2M2Y8AsgTpgAmY7PhCfg=="),
        ('{{{hmac "sha256" "k" "hex" "v"}}}', hmac.digest(b"k", b"v", "sha256").hex()),
        ('{{{hmac "sha1" "aw==" "hex" "v" "base64"}}}', hmac.digest(b"k", b"v", "sha1").hex()),
        ("{{{jsonSerialize connection.token.fields.map}}}", '{"k":"v"}'),
        ("{{{jsonSerialize connection.token.fields.list}}}", '["a",1,[2]]'),
        ('{{{jsonSerialize "a\\"b"}}}', r'"a\"b"'),
        ('{{{timestamp "X"}}} {{{timestamp "x"}}}', "1767323045 1767323045678"),
        ('{{{timestamp "%Y-%m-%dT%H:%M:%SZ"}}}', "2026-01-02T03:04:05Z"),
        ("{{{uppercase connection.name}}}{{{lowercase 'ABC'}}}", "CRMabc"),
        ("{{{uuid}}}", "00010203-0405-4607-8809-0a0b0c0d0e0f"),
        ('{{{base64Encode (join ":" connection.name (uppercase "pw"))}}}', base64.b64encode(b"crm:PW").decode()),
        ('{{join "}}}" iclient.scopes}}', "read}}}write"),
    ],
)
def test_helpers_do_what_handlebars_users_know(text, meaning):
    assert rendered(text) == meaning


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{#if connection.name}}x{{/if}}", "blocks such as #if are not supported"),
        ("x{{/if}}", "at character 2: blocks are not supported"),
        ("{{else}}", "blocks such as #if"),
        ("{{! note }}", "comments are not supported"),
        ("{{> partial}}", "partials are not supported"),
        ("{{&connection.name}}", "write {{{…}}} instead"),
        ("{{~connection.name~}}", "white space stays"),
        ("{{{{raw}}}}", "more than three braces"),
        ("{{@root}}", "no @ variables"),
        ("{{../x}}", "a path begins with"),
        ("{{this.x}}", "this stands for nothing here"),
        ("{{}}", "a path or a helper is expected"),
        ("{{{connection.name}}", "not closed by }}}"),
        ("{{connection.name", "not closed by }}"),
        ('{{join "}}', "the quotation mark at character 8 has no counterpart"),
        ("{{base64encode connection.name}}", "no helper base64encode (did you mean base64Encode?)"),
        ("{{compare 1 2}}", "no helper compare"),
        ("{{base64Encode}}", "base64Encode is written base64Encode VALUE"),
        ("{{uuid 1}}", "uuid is written uuid, alone"),
        ('{{hash "sha3" "hex" "v"}}', "argument 1 is one of sha256"),
        ('{{hmac "sha256" "k" "binary" "v"}}', "argument 3 is one of hex"),
        ('{{timestamp "YYYY-MM-DD"}}', "a format of strftime such as"),
        ('{{timestamp "%s"}}', "a format of strftime such as"),
        ('{{join delim=","}}', "key=value"),
        ("{{base64Encode uuid}}", "stands in parentheses: (uuid …)"),
        ("{{base64Encode (uuid}}", "a closing parenthesis is missing"),
        ("{{" + "base64Encode (" * 50, "nested too deep"),
        ("{{connection.name | upper}}", "not closed by }}"),
    ],
)
def test_what_is_not_an_expression_is_refused_with_its_place_and_the_remedy(text, said):
    with pytest.raises(TemplateError) as refused:
        compile_template(text)

    assert refused.value.code == "template_invalid"
    assert said in refused.value.message
    assert "the placeholder at character " in refused.value.message


@pytest.mark.case("C-40")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{{{connection.nothing}}}", "placeholder_unresolved"),
        ("{{{connection.name.length}}}", "placeholder_unresolved"),
        ("{{{connection.token.fields.none}}}", "placeholder_unresolved"),
        ("{{{connection.token.fields.map}}}", "placeholder_unresolved"),
        ("{{{connection.token.fields.list}}}", "placeholder_unresolved"),
        ("{{{connection.token.fields.list.9}}}", "placeholder_unresolved"),
        ("{{{connection.token.fields.list.99999999999}}}", "placeholder_unresolved"),
        ("{{{connection.token.fields.zahl}}}", "placeholder_unresolved"),
        ("{{{connection.token.fields.half}}}", "placeholder_unresolved"),
        ('{{{base64Decode "***"}}}', "placeholder_failed"),
        ('{{{base64Decode "/w=="}}}', "placeholder_failed"),
        ("{{{base64Encode connection.token.fields.map}}}", "placeholder_failed"),
        ('{{{join "," connection.token.fields.list}}}', "placeholder_failed"),
        ("{{{jsonSerialize connection.token.fields.zahl}}}", "placeholder_failed"),
        ("{{{base64Encode connection.nothing}}}", "placeholder_unresolved"),
        ("{{{hash connection.name 'hex' 'v'}}}", "placeholder_failed"),
    ],
)
def test_what_has_no_text_is_an_error_and_never_empty(text, code):
    with pytest.raises(RenderError) as failed:
        rendered(text)

    assert failed.value.code == code


@pytest.mark.case("C-41")
def test_a_value_with_braces_in_it_is_data():
    assert rendered("{{{connection.settings.braces}}}") == "{{{connection.name}}}"


def test_a_secret_leaves_only_through_reveal_also_when_a_helper_has_changed_it():
    text = '{{{iclient.client_secret}}} {{{base64Encode (join ":" "id" connection.secrets.pin)}}} {{{connection.name}}}'

    assert rendered(text).split()[0] == "canary-secret"
    assert rendered(text, reveal=lambda _: "***") == "*** *** crm"
    assert rendered("{{{jsonSerialize connection.secrets}}}", reveal=lambda _: "***") == "***"


def test_an_escape_sees_the_values_and_not_the_text_around_them():
    assert rendered("x/{{{connection.name}}}/y", escape=lambda value: f"<{value}>") == "x/<crm>/y"


def test_a_tree_becomes_a_json_value():
    leaf = compile_template('say "{{{connection.name}}}"')
    tree = TemplateMap((("a", leaf), ("b", (literal("{{{x}}}"), 1, True, None)), ("c", TemplateMap())))

    assert render_tree(tree, SCOPE, AMBIENT) == {"a": 'say "crm"', "b": ["{{{x}}}", 1, True, None], "c": {}}


def test_the_references_of_a_template_are_each_path_once_arguments_included():
    text = '{{{join "," iclient.scopes (base64Encode connection.name)}}}{{{connection.name}}}{{{iclient.[a b]}}}'
    tree = TemplateMap((("k", compile_template(text)), ("l", (compile_template("{{connection.name}}"), 1, None))))

    assert [reference.steps for reference in references(tree)] == [
        ("iclient", "scopes"),
        ("connection", "name"),
        ("iclient", "a b"),
    ]


@given(st.text(alphabet="{}()[]\\\"'.=#/ abuid1\n\u00e4", max_size=40))
def test_any_text_is_a_template_or_a_template_error(text):
    try:
        compiled = compile_template(text)
    except TemplateError:
        return

    assert isinstance(compiled, Template)
    assert compiled.text == text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    json_values,
    st.sampled_from(
        ["{{{v}}}", '{{{join "," v v}}}', "{{{base64Decode v}}}", "{{{jsonSerialize v}}}", "{{{timestamp v}}}",
         '{{{hmac "sha256" v "hex" v v}}}', "{{{hash v v v}}}", "{{{encodeURIComponent (uppercase v)}}}"]
    ),
)  # fmt: skip
def test_any_value_renders_or_raises_a_render_error(value, text):
    try:
        result = render(compile_template(text), {"v": value}, AMBIENT)
    except RenderError:
        return

    result.encode()
    assert text != "{{{jsonSerialize v}}}" or json.loads(result) == value


@pytest.mark.case("C-41")
@given(st.text(max_size=20))
def test_text_is_rendered_once_whatever_it_is(value):
    doubled = f"{{{{{{v}}}}}}{value}"
    try:
        result = render(compile_template("{{{v}}}|{{{v}}}"), {"v": doubled}, AMBIENT)
    except RenderError:
        return

    assert result == f"{doubled}|{doubled}"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"v": {"a": Secret("canary-a"), "b": "plain"}}, "{{{jsonSerialize v}}}"),
        ({"v": {"b": "plain", "a": Secret("canary-a")}}, "{{{jsonSerialize v}}}"),
        ({"v": ["plain", Secret("canary-a")]}, '{{{join "," v}}}'),
        ({"v": [{"deep": [Secret("canary-a"), "plain"]}, "plain"]}, "{{{jsonSerialize v}}}"),
        ({"v": "plain", "w": Secret("canary-a")}, '{{{join "," v w v}}}'),
        ({"v": "plain", "w": Secret("canary-a")}, "{{{base64Encode (base64Encode w)}}}"),
    ],
)
def test_what_a_helper_makes_of_anything_with_a_secret_in_it_is_a_secret(values, text):
    template = compile_template(text)

    assert render(template, values, AMBIENT, reveal=lambda _: "***") == "***"
    assert render(template, values, AMBIENT, reveal=Secret.reveal) not in {"***", ""}


@pytest.mark.parametrize("values", [["plain", "too"], {"a": "plain"}, [], {}])
def test_what_a_helper_makes_of_other_things_is_none(values):
    made = render(compile_template("{{{jsonSerialize v}}}"), {"v": values}, AMBIENT, reveal=lambda _: "***")

    assert made == json.dumps(values, separators=(",", ":"))


@pytest.mark.parametrize(
    ("path", "meaning"),
    [("v.0", "a"), ("v.1", "b"), ("v.2", None), ("v.3", None), ("v.-1", None), ("v.x", None), ("v.\u00b2", None),
     ("v.\u0663", None), ("v.0000001", None), ("v.000001", "b"), ("s.0", None), ("s.x", None), ("n.real", None),
     ("m.0", "zero"), ("m.1", None), ("s.upper", None)],
)  # fmt: skip
def test_a_step_into_a_list_is_a_small_plain_number_and_into_a_map_one_of_its_keys(path, meaning):
    scope = {"v": ["a", "b"], "s": "xyz", "n": 7, "m": {"0": "zero"}}
    try:
        found = render(compile_template(f"{{{{{{{path}}}}}}}"), scope, AMBIENT)
    except (RenderError, TemplateError) as error:
        found = {"placeholder_unresolved": None, "template_invalid": None}[error.code]

    assert found == meaning


def test_an_empty_text_has_no_pieces_and_is_rendered_as_one():
    assert literal("").pieces == ()
    assert render(literal(""), {}, AMBIENT) == ""
    assert literal("").plain
    assert not compile_template("{{{a}}}").plain
