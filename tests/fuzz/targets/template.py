"""Text with placeholders: read or refused with a place, and what is put in is put in once and never read again."""

from __future__ import annotations

from typing import Final

from proxy.definitions.templates.expressions import TemplateError
from proxy.definitions.templates.placeholders import Ambient, RenderError, compile_template, references, render
from proxy.secret import Secret
from tests.fuzz.targets import Target

VALUE: Final = "{{connection.secret}} \\{{ %2f"  # what would be read if a value were
SECRET: Final = "canary-of-a-template"
SCOPE: Final = {
    "connection": {
        "settings": {"a": VALUE, "n": 7, "list": ["x", VALUE], "map": {"k": True}},
        "secret": Secret(SECRET),
        "name": "crm",
    },
    "iclient": {"client_id": "id"},
}
AMBIENT: Final = Ambient(1_767_323_045.0, lambda size: b"\x01" * size)


def check(data: bytes) -> None:
    """See the rule."""
    text = data.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()
    try:
        made = compile_template(text)
    except TemplateError as error:
        assert error.code == "template_invalid"
        assert error.message
        assert SECRET not in error.message
        return
    assert compile_template(text) == made
    if "{{" not in text:
        assert made.pieces == ((text,) if text else ())
    try:
        first = render(made, SCOPE, AMBIENT)
    except RenderError as error:
        assert error.message
        assert SECRET not in f"{error}{error.message}"
        return
    assert render(made, SCOPE, AMBIENT) == first
    if not references(made) and all(isinstance(piece, str) for piece in made.pieces):
        assert first == "".join(piece for piece in made.pieces if isinstance(piece, str))
    if not any("secret" in reference.steps for reference in references(made)):
        assert SECRET not in first, "a value was read as a template"


TARGET: Final = Target(
    "only TemplateError and RenderError; values are never read again; no secret in a message",
    check,
    (
        b"plain",
        b"{{connection.settings.a}}",
        b"a{{connection.settings.map.k}}b{{{connection.name}}}",
        b"\\{{x}} \\\\{{x}}",
        b'{{base64Encode (join ":" connection.name iclient.client_id)}}',
        b"{{hash 'sha256' 'hex' connection.secret}}",
        b"{{#if x}}",
        b"{{connection.[odd key].x}}",
        b"{{",
        b"}}",
        b"{{timestamp}}",
        b"{{connection.settings.list.1}}",
        b"{{{{x}}}}",
        b"{{join ',' connection.settings.list}}",
        b"{{connection.secret}}",
        "\u00e9{{x}}\u2028".encode(),
    ),
)
