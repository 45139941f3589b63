"""URLs with placeholders: no value changes scheme, host or port where the operator has written them."""

from __future__ import annotations

from typing import Final

from proxy.definitions.domains import DomainError, parse_url
from proxy.definitions.templates.expressions import TemplateError
from proxy.definitions.templates.placeholders import RenderError
from proxy.definitions.templates.urls import compile_url, placeholder_in_host, render_url
from tests.fuzz.targets import Target
from tests.fuzz.targets.template import AMBIENT


def check(data: bytes) -> None:
    """Take a value, a NUL, then the URL; the value stands for every setting."""
    value, _, text = data.decode("utf-8", "replace").partition("\0")
    try:
        made = compile_url(text)
    except (TemplateError, DomainError) as error:
        assert error.message
        return
    scope = {"connection": {"settings": {"a": value, "b": value}, "name": "crm"}}
    try:
        rendered = render_url(made, scope, AMBIENT)
    except RenderError as error:
        assert error.message
        return
    url = parse_url(rendered)
    assert str(parse_url(str(url))) == str(url)
    if placeholder_in_host(made):
        if made.origin is None:
            assert url.scheme == made.scheme
            tail = made.host.pieces[-1] if made.host.pieces else ""
            if isinstance(tail, str):
                assert url.host.endswith(tail.lower().rstrip(".")), "a value has cut off what follows it in the host"
        return
    plain = compile_url(text.replace("{{connection.settings.a}}", "x").replace("{{connection.settings.b}}", "x"))
    if plain.plain:
        known = parse_url(plain.text)
        assert (url.scheme, url.host, url.port) == (known.scheme, known.host, known.port), "a value moved the request"


def _seed(value: str, url: str) -> bytes:
    return f"{value}\0{url}".encode()


_URLS: Final = (
    "https://example.com/{{connection.settings.a}}",
    "https://{{connection.settings.a}}.example.com/x?q={{connection.settings.b}}",
    "{{connection.settings.a}}/services",
    "https://example.com:8443/a/{{connection.settings.a}}/b",
    "https://example.com",
    "http://127.0.0.1:8080/{{connection.name}}",
    "https://a-{{connection.settings.a}}-b.example.com",
    "https://[::1]:1/x",
)
_VALUES: Final = (
    "tenant",
    "evil.com/",
    "..",
    "%2e%2e",
    "a@b",
    "x?y#z",
    "https://evil.com",
    "evil.com:444",
    "\u0130",
    "a.b",
    "//",
    "",
)
TARGET: Final = Target(
    "only declared errors; no value changes scheme, host or port that are written; a suffix of the host stays",
    check,
    tuple(_seed(value, url) for value in _VALUES for url in _URLS),
)
