"""An iClient of integrator.io as an iClient of ours. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from proxy.celigo import assertions
from proxy.celigo.fields import auth_errors, bag, member, placement, request, template, text, words
from proxy.celigo.placeholders import Names, renamed

if TYPE_CHECKING:
    from proxy.celigo.notes import ResourceNotes
    from proxy.celigo.resources import Resource

    Mapping = dict[str, Any]

GRANTS: Final = {
    "authorizecode": "authorization_code",
    "authorizecodewithpkce": "authorization_code",
    "password": "password",
    "clientcredentials": "client_credentials",
}
_PKCE: Final = {"s256": "S256", "plain": "plain"}
_ID: Final = "{{{iclient.client_id}}}"
_SECRET: Final = "{{{iclient.client_secret}}}"
_SENT_BY_GRANT: Final[dict[str, Mapping]] = {
    "authorization_code": {
        "grant_type": "authorization_code",
        "code": "{{{authorization.code}}}",
        "redirect_uri": "{{{iclient.redirect_url}}}",
    },
    "password": {
        "grant_type": "password",
        "username": "{{{connection.username}}}",
        "password": "{{{connection.password}}}",
    },
    "client_credentials": {"grant_type": "client_credentials"},
}
_REFRESH: Final[Mapping] = {"grant_type": "refresh_token", "refresh_token": "{{{connection.token.refresh_token}}}"}
_VERIFIER: Final = {"code_verifier": "{{{authorization.code_verifier}}}"}
# What the proxy sets itself; it can't be written a second time.
_RESERVED: Final = frozenset({
    "client_id", "code_challenge", "code_challenge_method", "redirect_uri", "response_type", "scope", "state",
})  # fmt: skip
# What every resource has and no definition needs.
_BOOKKEEPING: Final = frozenset({
    "_id", "_userId", "_integrationId", "_connectorId", "createdAt", "lastModified", "name", "formType", "application",
    "enableIClientReferences", "provider", "oauth2", "jwt", "enableJWT", "_httpConnectorId", "_httpConnectorApiId",
    "_httpConnectorVersionId", "assistant", "description", "aliases",
})  # fmt: skip
FIELDS: Final = frozenset({
    "accessTokenHeaderName", "accessTokenLocation", "accessTokenParamName", "accessTokenPath", "auth",
    "clientCredentialsLocation", "clientId", "clientSecret", "encrypted", "failPath", "failStatusCode", "failValues",
    "failures", "grantType", "password", "pkceCodeChallengeMethod", "redirectUri", "refresh", "refreshTokenPath",
    "revoke", "scheme", "scope", "scopeDelimiter", "token", "unencrypted", "useNewAuthFailSchema", "username",
    "validDomainNames",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Imported:
    """An iClient as a definition, with what its connections need of it."""

    definition: Mapping
    settings: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    delimiter: str = " "
    oauth: Mapping = field(default_factory=dict, repr=False)
    jwt: Mapping | None = field(default=None, repr=False)


def iclient(resource: Resource, notes: ResourceNotes) -> Imported:
    """Return an iClient as a definition; what does not fit is noted."""
    content = resource.content
    oauth: Mapping = content["oauth2"] if isinstance(content.get("oauth2"), dict) else {}
    for name in sorted(content.keys() - _BOOKKEEPING):
        notes.left(name, "it has no counterpart")
    provider = text(content.get("provider"))
    if provider not in {"", "custom_oauth2"}:
        notes.guessed(
            "provider", f"{provider} is taken for a custom OAuth 2.0 provider: `iclient-proxy providers` may know it"
        )
    settings, secrets = renamed(oauth.get("unencrypted") or {}), renamed(oauth.get("encrypted") or {})
    names = Names(iclient_settings=settings, iclient_secrets=secrets, delimiter=_delimiter(oauth))
    jwt = content.get("jwt") if content.get("enableJWT") is True else None
    definition = registration(oauth, jwt if isinstance(jwt, dict) else None, names, "oauth2", notes)
    for kind, given, place in (("settings", settings, "unencrypted"), ("secrets", secrets, "encrypted")):
        if found := bag(oauth.get(place), kind, given, f"oauth2.{place}", notes):
            definition[kind] = found
    return Imported(definition, settings, secrets, names.delimiter, oauth, jwt if isinstance(jwt, dict) else None)


def registration(oauth: Mapping, jwt: Mapping | None, names: Names, place: str, notes: ResourceNotes) -> Mapping:
    """Return the keys of an iClient that `oauth` (and `jwt`, where it is used) come to."""
    for name in sorted(oauth.keys() - FIELDS):
        notes.left(f"{place}.{name}", "it has no counterpart")
    grant = GRANTS.get(text(oauth.get("grantType")).lower(), "")
    if not grant:
        grant = "client_credentials" if jwt is not None else "authorization_code"
        notes.guessed(f"{place}.grantType", f"{oauth.get('grantType') or 'nothing'} is taken for {grant}")
    made: Mapping = {"grant_type": grant}
    if client_id := template(oauth.get("clientId"), names, f"{place}.clientId", notes):
        made["client_id"] = client_id
    has_secret = bool(text(oauth.get("clientSecret")))
    if has_secret:
        made["client_secret"] = notes.secret("client_secret", f"{place}.clientSecret")
    if grant == "authorization_code":
        made["pkce"] = _PKCE.get(text(oauth.get("pkceCodeChallengeMethod")).lower(), "off")
    _urls(made, oauth, names, place, notes)
    requests = {
        "access_token_request": request(oauth.get("token"), names, f"{place}.token", notes),
        "refresh_token_request": request(oauth.get("refresh"), names, f"{place}.refresh", notes),
        "revocation_request": request(oauth.get("revoke"), names, f"{place}.revoke", notes),
    }
    where = text(oauth.get("clientCredentialsLocation")).lower()
    if has_secret or jwt is None:
        made["client_auth"] = "client_secret_post" if where == "body" else "client_secret_basic"
    if jwt is not None:
        _assertion(made, jwt, requests["access_token_request"], names, notes)
    _scopes(made, oauth, requests, place, notes)
    _credentials(made, requests, place, notes)
    _defaults_out(made, requests)
    _refresh(made, oauth, requests, names, place, notes)
    if "revocation_url" not in made:
        requests["revocation_request"] = {}
    made |= {key: value for key, value in requests.items() if value}
    for key, name, usual in (
        ("access_token_path", "accessTokenPath", "access_token"),
        ("refresh_token_path", "refreshTokenPath", "refresh_token"),
    ):
        path = text(oauth.get(name)).strip()
        if path not in {"", usual}:
            made[key] = path
    via = placement(
        oauth.get("accessTokenLocation"), oauth.get("accessTokenHeaderName"), oauth.get("scheme"),
        oauth.get("accessTokenParamName"), f"{place}.accessTokenLocation", notes,
    )  # fmt: skip
    if via is not None:
        made["send_token_via"] = via
    if rules := auth_errors(oauth, names, place, notes):
        made["auth_errors"] = rules
    return made


def _delimiter(oauth: Mapping) -> str:
    return text(oauth.get("scopeDelimiter")) or " "


def _urls(made: Mapping, oauth: Mapping, names: Names, place: str, notes: ResourceNotes) -> None:
    grant = made["grant_type"]
    if token_url := template(member(oauth, "token", "uri"), names, f"{place}.token.uri", notes):
        made["token_url"] = token_url
    else:
        notes.left(f"{place}.token.uri", "there is none that can be used; write token_url")
    if grant == "authorization_code":
        _authorization(made, oauth, names, place, notes)
    if revocation_url := template(member(oauth, "revoke", "uri"), names, f"{place}.revoke.uri", notes):
        made["revocation_url"] = revocation_url
    domains = [_domain(one) for one in words(oauth.get("validDomainNames"))]
    if domains:
        made["valid_domains"] = list(dict.fromkeys(domains))


def _authorization(made: Mapping, oauth: Mapping, names: Names, place: str, notes: ResourceNotes) -> None:
    url = template(member(oauth, "auth", "uri"), names, f"{place}.auth.uri", notes)
    if url is None:
        notes.left(f"{place}.auth.uri", "there is none that can be used; write authorization_url")
    else:
        made["authorization_url"] = _unreserved(url)
    parameters = member(oauth, "auth", "queryParameters")
    params: Mapping = {}
    for name, value in parameters.items() if isinstance(parameters, dict) else ():
        at = f"{place}.auth.queryParameters.{name}"
        if name in _RESERVED:
            continue
        if text(value).strip("*"):
            said = template(value, names, at, notes)
            if said is not None:
                params[name] = said
        else:
            params[name] = notes.secret(name, at)
    if params:
        made["authorization_params"] = params
    if text(oauth.get("redirectUri")):
        notes.guessed(
            f"{place}.redirectUri", "register the redirect URL of the proxy as well: `iclient-proxy explain` prints it"
        )


def _unreserved(url: str) -> str:
    base, mark, query = url.partition("?")
    kept = [pair for pair in query.split("&") if pair.partition("=")[0] not in _RESERVED]
    return base + mark + "&".join(kept) if any(kept) else base


def _domain(written: str) -> str:
    return urlsplit(written).netloc if "://" in written else written.partition("/")[0]


def _scopes(made: Mapping, oauth: Mapping, requests: Mapping, place: str, notes: ResourceNotes) -> None:
    delimiter = _delimiter(oauth)
    written = oauth.get("scope")
    scopes = written if isinstance(written, list) else [one.strip() for one in text(written).split(delimiter)]
    scopes = [one for one in map(text, scopes) if one]
    named = "iclient.scope" in repr(requests)
    if scopes and made["grant_type"] == "client_credentials" and not named:
        # Theirs leaves them out of the default body.
        notes.guessed(
            f"{place}.scope", f"integrator.io does not send it with client credentials; scopes: {scopes} would"
        )
        scopes = []
    if scopes:
        made["scopes"] = scopes
    if delimiter != " " and (scopes or named):
        made["scope_delimiter"] = delimiter


def _assertion(made: Mapping, content: Mapping, request: Mapping, names: Names, notes: ResourceNotes) -> None:
    block = assertions.jwt(content, names, "jwt", notes)
    if block is None:
        return
    body = request.get("body", {})
    by_secret = block["algorithm"].startswith("HS")
    made["jwt"] = block
    if assertions.is_bearer_grant(body):
        made["grant_type"], made["client_auth"] = "jwt_bearer", "none"
    elif assertions.is_client_assertion(body):
        made["client_auth"] = "client_secret_jwt" if by_secret else "private_key_jwt"
    elif "iclient.jwt.token" in repr(request):
        made["client_auth"] = "none"
    else:
        made["client_auth"] = "client_secret_jwt" if by_secret else "private_key_jwt"
        notes.guessed("jwt", "no request names its token; it is sent as client_assertion (RFC 7523 §2.2)")
        if "client_id" not in made and not {"iss", "sub"} <= block.get("payload", {}).keys():
            notes.left("jwt.payload", "iss and sub have to name the client; write them, or client_id")
    if assertions.is_plain(body):
        del request["body"]
        says_who = {"iss", "sub"} <= block.get("payload", {}).keys() or made["grant_type"] == "jwt_bearer"
        if says_who and "iclient.client_id" not in repr(block):
            made.pop("client_id", None)  # theirs does not send it


def _credentials(made: Mapping, requests: dict[str, Mapping], place: str, notes: ResourceNotes) -> None:
    """Have the client credentials sent exactly once, where a body or a header of the operator's names them."""
    token = requests["access_token_request"]
    way = made.get("client_auth", "none")
    if way == "client_secret_basic" and any(name.lower() == "authorization" for name in token.get("headers", ())):
        way = "none"
    elif way == "client_secret_basic" and _SECRET in token.get("body", {}).values():
        way = "client_secret_post"
        notes.guessed(f"{place}.clientCredentialsLocation", "the body names the secret; it is sent there alone")
    if way in {"client_secret_basic", "client_secret_post"} and not {"client_id", "client_secret"} <= made.keys():
        way = "none"
    made["client_auth"] = way
    if way == "client_secret_post":
        for each in requests.values():
            if "body" in each:  # theirs replaces the default whole: what it does not name is not sent
                each["body"] |= {name: None for name in ("client_id", "client_secret") if name not in each["body"]}
    if way not in {"client_secret_basic", "client_secret_post"} and "client_secret" in made:
        signs = "secret" not in made.get("jwt", {"secret": ""}) and made["jwt"]["algorithm"].startswith("HS")
        if not signs and "iclient.client_secret" not in repr(requests):
            del made["client_secret"]
            notes.left(f"{place}.clientSecret", "no request sends it")


def _defaults_out(made: Mapping, requests: dict[str, Mapping]) -> None:
    """Leave out bodies that are the default ones."""
    posted = {"client_id": _ID, "client_secret": _SECRET} if made["client_auth"] == "client_secret_post" else {}
    usual = _SENT_BY_GRANT.get(made["grant_type"], {}) | posted
    if made["grant_type"] == "authorization_code" and made.get("pkce") != "off":
        usual |= _VERIFIER
    if made["grant_type"] in {"password", "client_credentials"} and "scopes" in made:
        usual |= {"scope": "{{{iclient.scope}}}"}
    for key, default in (("access_token_request", usual), ("refresh_token_request", _REFRESH | posted)):
        if requests[key].get("body") == default:
            del requests[key]["body"]


def _refresh(
    made: Mapping, oauth: Mapping, requests: dict[str, Mapping], names: Names, place: str, notes: ResourceNotes
) -> None:
    refresh = requests["refresh_token_request"]
    url = template(member(oauth, "refresh", "uri"), names, f"{place}.refresh.uri", notes)
    if made["grant_type"] == "authorization_code":
        if url is not None and url != made.get("token_url"):
            refresh["url"] = url
        return
    # Without a refresh token theirs runs the refresh request as the next token request, ours the token request again.
    if refresh.get("body", requests["access_token_request"].get("body")) != requests["access_token_request"].get(
        "body"
    ):
        notes.left(f"{place}.refresh", "a token of this grant is renewed by the access token request")
    requests["refresh_token_request"] = {}
