"""An HTTP connection of integrator.io as a connection of ours. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

from proxy.celigo import assertions
from proxy.celigo.fields import auth_errors, bag, header_pairs, member, placement, request, template, text, words
from proxy.celigo.iclient import registration
from proxy.celigo.placeholders import Names, paths, renamed

if TYPE_CHECKING:
    from proxy.celigo.iclient import Imported
    from proxy.celigo.notes import ResourceNotes
    from proxy.celigo.resources import Resource

    Mapping = dict[str, Any]

_TOKEN_PATH: Final = "connection.http.auth.token.token"
_TOKEN: Final = "{{{connection.token.access_token}}}"
_WHY_NOT: Final = {
    "cookie": "a session by cookies is no token",
    "digest": "the digest has to be computed for each request; your HTTP library can",
    "oauth1": "OAuth 1.0 signs each request; it is another protocol",
    "specific": "what it does is known to integrator.io alone",
    "wsse": "the digest has to be computed for each request",
}
# Where the JWT of such a connection lies, by the age of the export.
_BEARER: Final = ("jwt", "jwtbearer", "jwtBearer")
# What concerns integrator.io's own traffic; a proxy leaves it to the application.
_APPLICATIONS: Final = {
    "rateLimit": "the proxy neither waits for rate limits nor retries; Retry-After is relayed",
    "retryHeader": "the proxy neither waits for rate limits nor retries; Retry-After is relayed",
    "concurrencyLevel": "how much is asked at once is up to the application",
}
FIELDS: Final = frozenset({
    "auth", "baseURI", "clientCertificates", "disableStrictSSL", "encrypted", "errorMediaType", "formType", "headers",
    "mediaType", "ping", "successMediaType", "unencrypted", "_iClientId", "_httpConnectorId", "_httpConnectorApiId",
    "_httpConnectorVersionId",
})  # fmt: skip


def connection(resource: Resource, client: tuple[str, Imported] | None, notes: ResourceNotes) -> Mapping:
    """Return a connection as a definition; `client` is its iClient with the name that that has in the definitions."""
    http: Mapping = resource.content["http"]
    settings, secrets = renamed(http.get("unencrypted") or {}), renamed(http.get("encrypted") or {})
    imported = client[1] if client is not None else None
    names = Names(
        iclient_settings=imported.settings if imported is not None else {},
        iclient_secrets=imported.secrets if imported is not None else {},
        connection_settings=settings,
        connection_secrets=secrets,
        delimiter=imported.delimiter if imported is not None else " ",
    )
    made: Mapping = {}
    for kind, given, place in (("settings", settings, "unencrypted"), ("secrets", secrets, "encrypted")):
        if found := bag(http.get(place), kind, given, f"http.{place}", notes):
            made[kind] = found
    base = template(http.get("baseURI"), names, "http.baseURI", notes)
    if base is None:
        notes.left("http.baseURI", "there is none that can be used; write base_url")
    else:
        made["base_url"] = base.rstrip("/")
    _auth(made, http, client, names, notes)
    _headers(made, http, names, notes)
    _tls(made, http, notes)
    _ping(made, http, names, notes)
    for name, why in _APPLICATIONS.items():
        if http.get(name) not in (None, "", {}):
            notes.left(f"http.{name}", why)
    for name in sorted(http.keys() - FIELDS - _APPLICATIONS.keys()):
        notes.left(f"http.{name}", "it has no counterpart")
    return made


def _auth(
    made: Mapping, http: Mapping, client: tuple[str, Imported] | None, names: Names, notes: ResourceNotes
) -> None:
    auth: Mapping = http.get("auth") or {}
    kind = text(auth.get("type")).lower() or "custom"
    match kind:
        case "oauth":
            _oauth(made, auth, client, names, notes)
        case "token":
            _token(made, auth, names, notes)
        case "basic":
            _basic(made, auth, names, notes)
        case "jwt" | "jwtbearer":
            _bearer(made, auth, names, notes)
        case "custom":
            return
        case _:
            notes.left("http.auth.type", f"{kind}: {_WHY_NOT.get(kind, 'it is not known')}")
            return
    if "iclient" in made and (rules := auth_errors(auth, names, "http.auth", notes)):
        made["auth_errors"] = rules


def _oauth(
    made: Mapping, auth: Mapping, client: tuple[str, Imported] | None, names: Names, notes: ResourceNotes
) -> None:
    own: Mapping = auth.get("oauth") or {}
    token: Mapping = auth.get("token") or {}
    if client is not None and own.get("useIClientFields") is not False:
        made["iclient"], imported = client
        holder, place = imported.oauth, "the iClient's oauth2"
        if own.get("scope"):
            made["scopes"] = [one for one in map(text, _list(own["scope"])) if one]
    else:
        linked = client[1] if client is not None else None
        oauth = _as_iclient(auth, linked.oauth if linked is not None else {})
        jwt = linked.jwt if linked is not None else None
        made["iclient"] = registration(oauth, jwt, names, "http.auth.oauth", notes)
        holder, place = own, "http.auth.oauth"
        if rules := made["iclient"].pop("auth_errors", None):
            made["auth_errors"] = rules
    if text(member(holder, "grantType")).lower() == "password":
        user = text(own.get("username")) or text(holder.get("username"))
        if user:
            made["username"] = user
        else:
            notes.left(f"{place}.username", "there is none; write username")
        made["password"] = notes.secret("password", f"{place}.password")
    if token.get("tokenPaths"):
        notes.left("http.auth.token.tokenPaths", "only the access token and the refresh token are kept")


def _list(value: object) -> list[object]:
    return [*value] if isinstance(value, list) else [*text(value).replace(",", " ").split()]


def _as_iclient(auth: Mapping, linked: Mapping) -> Mapping:
    """Return a connection's own OAuth fields in the shape of an iClient's, with the credentials of the linked one."""
    own: Mapping = auth.get("oauth") or {}
    token: Mapping = auth.get("token") or {}
    made: Mapping = {
        "grantType": own.get("grantType") or linked.get("grantType"),
        "clientId": linked.get("clientId") or own.get("clientId"),
        "clientSecret": linked.get("clientSecret") or own.get("clientSecret"),
        "scope": own.get("scope"),
        "scopeDelimiter": own.get("scopeDelimiter"),
        "clientCredentialsLocation": own.get("clientCredentialsLocation"),
        "accessTokenPath": own.get("accessTokenPath"),
        "pkceCodeChallengeMethod": linked.get("pkceCodeChallengeMethod"),
        "validDomainNames": linked.get("validDomainNames"),
        "auth": {"uri": own.get("authURI")},
        "token": {
            "uri": own.get("tokenURI"),
            "body": own.get("accessTokenBody"),
            "headers": own.get("accessTokenHeaders"),
        },
        "refresh": {
            "uri": token.get("refreshRelativeURI"),
            "body": token.get("refreshBody"),
            "headers": token.get("refreshHeaders"),
            "method": token.get("refreshMethod"),
        },
        "revoke": token.get("revoke") or {},
        "accessTokenLocation": token.get("location"),
        "accessTokenHeaderName": token.get("headerName"),
        "accessTokenParamName": token.get("paramName"),
        "failStatusCode": auth.get("failStatusCode"),
        "failPath": auth.get("failPath"),
        "failValues": auth.get("failValues"),
        "failures": auth.get("failures"),
    }
    if "scheme" in token:
        made["scheme"] = token["scheme"]
    return {name: value for name, value in made.items() if value is not None}


def _token(made: Mapping, auth: Mapping, names: Names, notes: ResourceNotes) -> None:
    """A token that somebody brought, or that a request of its own fetches."""
    token: Mapping = auth.get("token") or {}
    via = placement(
        token.get("location"), token.get("headerName"), token.get("scheme"), token.get("paramName"),
        "http.auth.token.location", notes,
    )  # fmt: skip
    url = template(token.get("refreshRelativeURI"), names, "http.auth.token.refreshRelativeURI", notes)
    if url is None:
        _static(made, via, notes)
        return
    content = {
        "method": token.get("refreshMethod"),
        "body": token.get("refreshBody"),
        "headers": token.get("refreshHeaders"),
    }
    if _TOKEN_PATH in paths(repr(content)):
        notes.left("http.auth.token", "its refresh request shows the last token, which is not at hand at the start")
        return
    media = text(token.get("refreshMediaType"))
    override = request(content, names, "http.auth.token", notes, media_type=media)
    method = override.get("method", "POST")
    override["body"] = override.get("body", {"grant_type": None} if method == "POST" else {})
    if not override["body"]:
        override["extra"] = {"grant_type": None}
        del override["body"]
    client: Mapping = {
        "grant_type": "client_credentials",
        "token_url": url if "://" in url.partition("{")[0] or url.startswith("{{{") else _joined(made, url),
        "client_auth": "none",
        "access_token_request": override,
    }
    # Theirs calls the place of the new access token so.
    path = text(token.get("refreshTokenPath")).strip() or text(next(iter(words(token.get("tokenPaths"))), ""))
    if path and path != "access_token":
        client["access_token_path"] = path
    if token.get("tokenPaths"):
        notes.left("http.auth.token.tokenPaths", "only the access token is kept")
    if via is not None:
        client["send_token_via"] = via
    made["iclient"] = client
    if "{{" in str(made.get("base_url", "")) and "://" not in url:
        notes.guessed("http.auth.token.refreshRelativeURI", "write valid_domains: the host has a placeholder in it")


def _joined(made: Mapping, url: str) -> str:
    base = text(made.get("base_url"))
    return f"{base}/{url.lstrip('/')}" if "{{" in base else urljoin(f"{base}/", url.lstrip("/"))


def _static(made: Mapping, via: Mapping | None, notes: ResourceNotes) -> None:
    made.setdefault("secrets", {})["token"] = notes.secret("token", "http.auth.token.token")
    if via is not None and "query" in via:
        del made["secrets"]["token"]
        notes.left("http.auth.token.location", "a fixed token in the query is not supported; is a header possible?")
        return
    header = (via or {"header": {"name": "Authorization", "scheme": "Bearer"}})["header"]
    value = f"{header['scheme']} {{{{{{connection.secrets.token}}}}}}".strip()
    made.setdefault("headers", {})[header["name"]] = value


def _basic(made: Mapping, auth: Mapping, names: Names, notes: ResourceNotes) -> None:
    user = template(member(auth, "basic", "username"), names, "http.auth.basic.username", notes) or ""
    made.setdefault("settings", {})["username"] = user
    made.setdefault("secrets", {})["password"] = notes.secret("password", "http.auth.basic.password")
    pair = '{{{base64Encode (join ":" connection.settings.username connection.secrets.password)}}}'
    made.setdefault("headers", {})["Authorization"] = f"Basic {pair}"


def _bearer(made: Mapping, auth: Mapping, names: Names, notes: ResourceNotes) -> None:
    """A JWT that is signed and sent as it is."""
    content: Mapping = next((auth[name] for name in _BEARER if isinstance(auth.get(name), dict)), {})
    if content.get("token") and not content.get("signatureMethod"):
        block: Mapping | None = {"token": notes.secret("jwt", "http.auth.jwt.token")}
    else:
        block = assertions.jwt(content, names, "http.auth.jwt", notes)
    if block is None:
        return
    client: Mapping = {"grant_type": "self_signed_jwt", "jwt": block}
    token: Mapping = auth.get("token") or {}
    via = placement(
        token.get("location"), token.get("headerName"), token.get("scheme"), token.get("paramName"),
        "http.auth.token.location", notes,
    )  # fmt: skip
    if via is not None:
        client["send_token_via"] = via
    made["iclient"] = client


def _headers(made: Mapping, http: Mapping, names: Names, notes: ResourceNotes) -> None:
    headers: Mapping = {}
    for name, written in header_pairs(http.get("headers")):
        value = template(written, names, f"http.headers.{name}", notes)
        if value is None or not name:
            continue
        if value.endswith(_TOKEN) and "iclient" in made:
            via = {"header": {"name": name, "scheme": value.removesuffix(_TOKEN).strip()}}
            if via != {"header": {"name": "Authorization", "scheme": "Bearer"}}:
                made["send_token_via"] = via
            continue
        headers[name] = value.strip()
    if headers:
        made["headers"] = {**made.get("headers", {}), **headers}


def _tls(made: Mapping, http: Mapping, notes: ResourceNotes) -> None:
    certificates: Mapping = http.get("clientCertificates") or {}
    if certificates.get("pfx"):
        notes.left(
            "http.clientCertificates.pfx", "write tls.client_cert and tls.client_key (openssl pkcs12 takes it apart)"
        )
    elif certificates.get("cert") or certificates.get("key"):
        made["tls"] = {
            "client_cert": notes.secret("client_cert", "http.clientCertificates.cert"),
            "client_key": notes.secret("client_key", "http.clientCertificates.key"),
        }
        if certificates.get("passphrase"):
            notes.left("http.clientCertificates.passphrase", "write the key without one (openssl pkey takes it off)")
    if certificates.get("ca"):
        made.setdefault("tls", {})["ca"] = notes.secret("ca", "http.clientCertificates.ca")
    if http.get("disableStrictSSL") is True:
        notes.left(
            "http.disableStrictSSL",
            "certificates are verified; tls.ca trusts a private authority",
        )


def _ping(made: Mapping, http: Mapping, names: Names, notes: ResourceNotes) -> None:
    ping: Mapping = http.get("ping") or {}
    relative = template(ping.get("relativeURI"), names, "http.ping.relativeURI", notes)
    if relative is None:
        return
    if "{{" in relative or "://" in relative:
        notes.left("http.ping.relativeURI", "the path of a ping is fixed")
        return
    made["ping"] = {"path": "/" + relative.lstrip("/")}
    method = text(ping.get("method")).upper() or "GET"
    if method != "GET":
        made["ping"]["method"] = method
    for name in ("body", "successPath", "successValues", "failPath", "failValues", "errorPath"):
        if ping.get(name) not in (None, "", [], {}):
            notes.left(f"http.ping.{name}", "a ping is judged by its status, and sends no body")
