"""URLs with placeholders: taken apart before anything is put in, so that a value never moves a border. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from proxy.definitions.domains import DomainError, parse_url
from proxy.definitions.templates.expressions import TemplateError, scan
from proxy.definitions.templates.placeholders import RenderError, UrlTemplate, compile_template, literal, render
from proxy.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.definitions.templates.expressions import Expression
    from proxy.definitions.templates.placeholders import Ambient, Scope

    Spans = list[tuple[int, int, str | Expression]]

_LABELS: Final = re.compile(r"[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})*")
# Fields of a header may hold tabs, spaces and visible ASCII (RFC 9110 §5.5, without obs-text).
_NOT_IN_FIELDS: Final = re.compile(r"[^\t\x20-\x7e]")
# What stands for a value while the rest of the URL is checked: one label, one segment, no digit for a port.
_SAMPLE: Final = "x"


def compile_url(text: str) -> UrlTemplate:
    """Take a URL with placeholders apart and check all that is known of it.

    A placeholder at the very beginning stands for the whole origin. Raises `TemplateError` (`template_invalid`) and the
    `DomainError` of `parse_url`.
    """
    spans: Spans = list(scan(text))
    # Where the placeholder for an origin ends; 0: there is none.
    end = spans[0][1] if spans and not isinstance(spans[0][2], str) else 0
    if end:
        if text[end : end + 1] not in {"", "/", "?"}:
            raise TemplateError(
                "template_invalid", "a placeholder at the beginning stands for scheme, host and port: a slash follows"
            )
        sample = "https://" + _SAMPLE + _sampled(spans[1:])
    else:
        sample = _sampled(spans)
    parsed = parse_url(sample)
    if all(isinstance(piece, str) for _, _, piece in spans):
        return _apart(text, scheme=parsed.scheme, port=_written_port(text), begin=len(parsed.scheme) + 3)
    if _dotted(parsed.path_and_query.partition("?")[0]):
        raise TemplateError("template_invalid", "a path with placeholders has no segments . and ..")
    if end:
        whole = compile_template(text[:end])
        return replace(_apart(text, scheme="", port=None, begin=end), host=literal(""), origin=whole)
    return _apart(text, scheme=parsed.scheme, port=_written_port(sample), begin=len(parsed.scheme) + 3)


def render_url(
    url: UrlTemplate, scope: Scope, ambient: Ambient, *, reveal: Callable[[Secret], str] = Secret.reveal
) -> str:
    """Return the URL with its placeholders replaced: labels in the host, the rest percent-encoded.

    Whose origin came from a placeholder is an http or https URL; whether it may be reached is for the caller to check,
    as for every other. Raises `RenderError`; `placeholder_unsafe` where a value may not stand in its place.
    """
    if url.plain:
        return url.text
    if url.origin is not None:
        origin = _origin(render(url.origin, scope, ambient, reveal=reveal))
    else:
        host = render(url.host, scope, ambient, reveal=reveal, escape=_labels)
        origin = f"{url.scheme}://{host}" + (f":{url.port}" if url.port is not None else "")
    path = render(url.path, scope, ambient, reveal=reveal, escape=_in_path)
    if _dotted(path):
        raise RenderError("placeholder_unsafe", "a value makes a segment of the path . or ..")
    query = render(url.query, scope, ambient, reveal=reveal, escape=_in_query) if url.query is not None else None
    whole = origin + path + (f"?{query}" if query is not None else "")
    try:
        parse_url(whole)
    except DomainError:
        raise RenderError("placeholder_unsafe", "with its values put in this is no URL that may be used") from None
    return whole


def placeholder_in_host(url: UrlTemplate) -> bool:
    """Tell whether the host, or the whole origin, depends on a value."""
    return url.origin is not None or not url.host.plain


def in_header(value: str) -> str:
    """Return a value as it may stand in a header: an `escape` for `render`. Raises `RenderError`."""
    if _NOT_IN_FIELDS.search(value):
        raise RenderError("placeholder_unsafe", "a value for a header has a character that headers can't hold")
    return value


def _sampled(spans: Spans) -> str:
    return "".join(piece if isinstance(piece, str) else _SAMPLE for _, _, piece in spans)


def _apart(text: str, *, scheme: str, port: int | None, begin: int) -> UrlTemplate:
    """Cut a text that is a URL, from where its authority begins, at slash and question mark outside of braces."""
    path = query = len(text)
    for start, end, piece in scan(text):
        if isinstance(piece, str):
            # No backslash is left, so the piece is the text between the two places.
            found = re.compile(r"[/?]" if path == len(text) else r"\?").search(text, max(start, begin), end)
            if found is not None and path == len(text):
                path = found.start()
                found = re.compile(r"\?").search(text, path, end)
            if found is not None:
                query = found.start()
                break
    host = text[begin:path]
    if port is not None:
        host = host[: host.rindex(":")]
    return UrlTemplate(
        text=text,
        scheme=scheme,
        host=compile_template(host),
        port=port,
        path=compile_template(text[path:query]),
        query=compile_template(text[query + 1 :]) if query < len(text) else None,
    )


def _written_port(text: str) -> int | None:
    """Return the port that stands in a URL which `parse_url` has accepted, None if none does."""
    authority = re.split(r"[/?]", text[text.index("://") + 3 :], maxsplit=1)[0]
    port = authority.rpartition("]")[2].rpartition(":")[2] if ":" in authority.rpartition("]")[2] else ""
    return int(port) if port else None


def _labels(value: str) -> str:
    lowered = value.lower()
    if not _LABELS.fullmatch(lowered):
        raise RenderError("placeholder_unsafe", "a value for a host is no DNS label: letters, digits and hyphens only")
    return lowered


def _in_path(value: str) -> str:
    if not value:
        raise RenderError("placeholder_unsafe", "a value for a path is empty")
    return quote(value, safe="")


def _in_query(value: str) -> str:
    return quote(value, safe="")


def _origin(value: str) -> str:
    """Return scheme, host and port of a value that is nothing more than these."""
    try:
        parsed = parse_url(value)
    except DomainError:
        parsed = None
    if parsed is None or parsed.path_and_query != "/" or value.endswith("?"):
        raise RenderError("placeholder_unsafe", "the value for an origin is not https://HOST, without path and user")
    return f"{parsed.scheme}://{parsed.authority}"


def _dotted(path: str) -> bool:
    return any(unquote(segment) in {".", ".."} for segment in path.split("/"))
