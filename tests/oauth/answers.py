"""Short ways to write an iClient, what its requests are made of, and an answer of its token endpoint."""

import json
from urllib.parse import parse_qsl

from proxy.definitions.keys.signing_keys import shared_key
from proxy.definitions.models import Connection, IClient, Jwt, RequestOverride
from proxy.definitions.templates.placeholders import TemplateMap, compile_template, literal
from proxy.definitions.templates.urls import compile_url
from proxy.oauth.material import Material
from proxy.oauth.response import EndpointAnswer, read
from proxy.secret import Secret

NOW = 1_800_000_000.0
LIMIT = 1024 * 1024
SHARED = "canary-shared-secret-of-32-bytes"


def iclient(**settings):
    written = {
        "name": "acme",
        "client_id": literal("app"),
        "client_secret": Secret("canary-secret"),
        "grant_type": "client_credentials",
        "client_auth": "client_secret_basic",
        "token_url": compile_url("https://auth.example.com/token"),
        "valid_domains": ("auth.example.com",),
    }
    return IClient(**{**written, **settings})


def connection(client, **settings):
    return Connection(**{"name": "crm", "base_url": "https://api.example.com", "iclient": client, **settings})


def answer(body, status=200, **headers):
    """Return an answer; a body that is not bytes is sent as JSON. `content_type=None` leaves it out."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return EndpointAnswer(status, tuple((name, value) for name, value in fields.items() if value is not None), content)


def reading(body, status=200, *, settings=None, limit=LIMIT, **headers):
    """Return what becomes of an answer."""
    return read(answer(body, status, **headers), iclient(**(settings or {})), limit=limit, now=NOW)


def token_of(result):
    return result.access_token.reveal()


def tree(value):
    """Return what the loader makes of a mapping that somebody wrote."""
    match value:
        case str():
            return compile_template(value)
        case dict():
            return TemplateMap(tuple((name, tree(leaf)) for name, leaf in value.items()))
        case list():
            return tuple(tree(leaf) for leaf in value)
        case _:
            return value


def override(*, headers=None, body=None, extra=None, url=None, **settings):
    """Return an override as somebody writes it: text with placeholders."""
    return RequestOverride(
        url=None if url is None else compile_url(url),
        headers=tuple(
            (name, None if text is None else compile_template(text)) for name, text in (headers or {}).items()
        ),
        body=None if body is None else tree(body),
        extra=tree(extra or {}),
        **settings,
    )


def jwt(payload=None, header=None, **settings):
    key = shared_key(Secret(SHARED), base64=False)
    return Jwt(algorithm="HS256", key=key, payload=tree(payload or {}), header=tree(header or {}), **settings)


def ones(count):
    """Return bytes that are the same in every run."""
    return b"\x01" * count


def material(client, *, of=None, **settings):
    """Return what requests of this iClient are made of; `of` is the connection, else one with nothing special."""
    return Material(
        **{"connection": of or connection(client), "iclient": client, "now": NOW, "entropy": ones, **settings}
    )


def fields(request):
    """Return the fields of a form; none is there twice."""
    pairs = parse_qsl(request.body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def header(request, name):
    """Return all values of one header."""
    return [value for key, value in request.headers if key.lower() == name.lower()]
