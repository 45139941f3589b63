"""Short ways to write an iClient and an answer of its token endpoint."""

import json

from proxy.definitions.models import Connection, IClient
from proxy.definitions.placeholders import literal
from proxy.definitions.urls import compile_url
from proxy.oauth.response import EndpointAnswer, read
from proxy.secret import Secret

NOW = 1_800_000_000.0
LIMIT = 1024 * 1024


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
