"""Who plays in the story: definitions with a canary in every secret, servers that answer with canaries, and echo."""

from __future__ import annotations

import base64
import json
import random
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from tests.support.authorization_server import AuthorizationServer, End, raw, respond, say
from tests.support.canaries import Canary, Scanner, canary
from tests.support.interception import UPSTREAM, LocalAuthority
from tests.support.scripts import response, unauthorized
from tests.support.upstream import Upstream, listen

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.authorization_server import Exchange
    from tests.support.upstream import Request

# What an authorization server may do that is no answer, each with a secret of ours in it; by the name of the client.
FAULTS: Final = ("echoes", "pages", "spoils", "hangs-up", "redirects", "nonsense", "throttles")
CRASHING: Final = "crashing"  # a renewal that fails by a mistake of ours (see `mistakes/sitecustomize.py`)

# Words that have to arrive at one of the servers: a secret that nobody uses shows nothing.
WHERE_THEY_BELONG: Final = {
    "secret of cc", "static header", "secret of query", "secret of password", "password", "assertion",
    "assertion of somebody else", "secret of refresh", "refresh token", "secret of code", "authorization code",
    "code_verifier", "secret of device", "device code", "secret of exchange", "subject token", "actor token",
    "secret of templated", "pepper", *(f"secret of {name}" for name in FAULTS),
}  # fmt: skip


class Words:
    """All canaries of a story: those of the operator by the variable that holds them, those of servers as they come."""

    def __init__(self, seed: int) -> None:
        self.entropy = random.Random(seed)
        self.scanner = Scanner(())
        self.control = canary("control", self.entropy)
        self.environment: dict[str, str] = {}
        self.texts: dict[str, str] = {}

    def new(self, name: str, *, odd: bool = False) -> str:
        """Return a new word and look for it from now on."""
        made = canary(name, self.entropy, odd=odd)
        self.learn(name, made.text)
        return made.text

    def learn(self, name: str, text: str) -> None:
        """Look for what somebody else made, too."""
        self.texts[name] = text
        self.scanner.add(Canary(name, text))

    def env(self, name: str, text: str | None = None, *, odd: bool = False) -> dict[str, str]:
        """Put a new word, or `text`, into a variable; return what definitions write for it."""
        variable = name.upper().replace(" ", "_").replace("-", "_")
        if text is None:
            text = self.new(name, odd=odd)
        else:
            self.learn(name, text)
        self.environment[variable] = text
        return {"env": variable}


class Servers:
    """An authorization server and an upstream, both talkative: they say again whatever they were told."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self.authorization = AuthorizationServer()
        self.authorization.default = self._answer
        self.upstream = Upstream(listen())
        self.upstream.always(self._respond)
        self.lifetime = 3600
        self.seen: set[str] = set()  # words that arrived where they belong: proof that they were in use

    async def _answer(self, exchange: Exchange) -> None:
        asked = exchange.asked
        told = json.dumps({"head": asked.headers, "body": asked.body.decode()})
        self.seen.add(told)
        form = asked.form
        client = form.get("client_id") or (asked.basic or "").partition(":")[0] or "somebody"
        if "client_assertion" in form or "assertion" in form:
            self._words.learn("assertion", form.get("client_assertion") or form["assertion"])
            client = "asserted"
        if "code_verifier" in form:
            self._words.learn("code_verifier", form["code_verifier"])
        if client in FAULTS:
            await self._fault(client, told)(exchange)
            return
        number = len(self.authorization.asked)
        words = self._words
        content = {
            "access_token": words.new(f"access token {number} of {client}"),
            "token_type": "Bearer",
            "expires_in": self.lifetime,
            "id_token": words.new(f"id token {number} of {client}"),
            "tenant_key": words.new(f"field {number} of {client}"),
        }
        if form["grant_type"] in ("authorization_code", "refresh_token", "password") or "device_code" in form:
            content["refresh_token"] = words.new(f"refresh token {number} of {client}")
        await say(200, content)(exchange)

    def _fault(self, client: str, told: str) -> Any:
        word = self._words.texts[f"secret of {client}"]
        match client:
            case "echoes":
                return say(400, {"error": "invalid_client", "error_description": f"bad secret {word!r} in {told}"})
            case "pages":
                return respond(500, f"<h1>{word}</h1>{told}".encode(), content_type="text/html")
            case "spoils":
                return say(200, {"access_token": f"{word}\r\nX: y", "token_type": "Bearer"})
            case "hangs-up":
                return raw(f"HTTP/1.1 200 {word}\r\nX-{word}".encode(), End.RESET)
            case "redirects":
                return respond(307, b"", location=f"{self.authorization.issuer}/{quote(word, safe='')}")
            case "throttles":
                return say(429, {"error": word, "error_description": quote(word, safe="")}, retry_after=word)
            case _:
                return respond(200, f"{word} is not JSON".encode())

    async def _respond(self, request: Request) -> None:
        """Answer as the path says; each answer holds the credential that came, in one way or another."""
        await request.read_body()
        told = b" ".join(value for name, value in request.fields if name.lower() in (b"authorization", b"x-api-key"))
        told = told or request.target
        self.seen.add(request.head.decode("latin-1"))
        path = request.target.partition(b"?")[0]
        if path.endswith(b"/refused"):
            await request.send(unauthorized(b'Bearer error="invalid_token", error_description="%s"' % told[-60:]))
        elif path.endswith(b"/malformed"):
            await request.send(b"HTTP/1.1 200 %s\r\nX-Bad : %s\r\n\r\n" % (told, told))
        elif path.endswith(b"/conflicting"):
            head = b"HTTP/1.1 200 OK\r\nX-Told: %s\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n" % told
            await request.send(head)
        elif path.endswith(b"/cut"):
            await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + told)
            request.reset()
        elif path.endswith(b"/gone"):
            request.reset()
        else:
            await request.send(response(b'{"told": "%s"}' % told.replace(b'"', b"'"), b"X-Told: " + told))


def pem(words: Words, name: str, passphrase: str | None = None) -> str:
    """Return a new private key; its lines are looked for as they are in the file, and without encryption."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    texts = []
    for how in (NoEncryption(), BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()):
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how).decode()
        # The first line of each key says the same: what kind of key it is.
        words.learn(name, "".join(text.splitlines()[3:-2]))
        texts.append(text)
    return texts[-1]


def definitions(words: Words, servers: Servers, folder: Path) -> dict[str, Any]:
    """Return definitions with a word in every place where a secret may stand; key files are written into `folder`."""
    server, upstream = servers.authorization, servers.upstream
    words.env("ICLIENT_PROXY_KEY", base64.b64encode(words.entropy.randbytes(32)).decode())
    passphrase = words.env("passphrase")
    (folder / "key.pem").write_text(pem(words, "private key", words.environment["PASSPHRASE"]))
    (folder / "client.key").write_text(pem(words, "client key"))
    issued = UPSTREAM.issue_cert("client.example")
    (folder / "client.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    (folder / "client.key").write_bytes(issued.private_key_pem.bytes())
    words.learn("client key", "".join(issued.private_key_pem.bytes().decode().splitlines()[3:-2]))
    (folder / "assertion.jwt").write_text(words.new("assertion of somebody else"))
    intercept = LocalAuthority("localhost").write(folder)
    private = (folder / "ca" / "key.pem").read_text().partition(" PRIVATE KEY-----")[2].partition("-----END")[0]
    words.learn("key of the authority", "".join(private.splitlines()[2:]))
    for private in ("key.pem", "client.key", "assertion.jwt"):
        (folder / private).chmod(0o600)

    def client(name: str, grant: str = "client_credentials", **more: Any) -> dict[str, Any]:
        return {
            "grant_type": grant, "client_id": name, "token_url": server.url, "valid_domains": [server.authority],
            "allow_insecure": True, **more,
        }  # fmt: skip

    def secret(name: str) -> dict[str, Any]:
        return {"client_secret": words.env(f"secret of {name}", odd=True)}

    def connection(iclient: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
        own = {"base_url": f"http://127.0.0.1:{upstream.port}", "hosts": [], **more}
        return own if iclient is None else {**own, "prefetch": False, "iclient": iclient}

    query = {"send_token_via": {"query": {"name": "access_token"}}}
    hs256 = {"algorithm": "HS256", "secret": words.env("secret of signatures"), "payload": {"sub": "app", "aud": "api"}}
    rs256 = {
        "algorithm": "RS256", "private_key": {"file": "key.pem"}, "passphrase": passphrase,
        "payload": {"iss": "app", "sub": "app"},
    }  # fmt: skip
    brought = {"token": {"file": "assertion.jwt"}}
    interactive = {"authorization_url": server.url_of("/authorize"), "pkce": "S256"}
    connections = {
        "cc": connection(
            client("cc", **secret("cc")),
            secrets={"api_key": words.env("static header")},
            headers={"X-Api-Key": "{{{connection.secrets.api_key}}}"},
            hosts=["127.0.0.1"],
        ),
        "query": connection(client("query", client_auth="client_secret_post", **secret("query")), **query),
        "password": connection(
            client("password", "password", **secret("password")), username="somebody",
            password=words.env("password", odd=True),
        ),
        "jwt": connection(client("jwt", "jwt_bearer", jwt=rs256, client_auth="none")),
        "signed": connection({"grant_type": "self_signed_jwt", "jwt": hs256}),
        "asserted": connection(client("asserted", client_auth="client_secret_jwt", jwt=hs256)),
        "ready": connection(client("ready", "jwt_bearer", jwt=brought, client_auth="none")),
        "refresh": connection(
            client("refresh", "refresh_token", **secret("refresh")), refresh_token=words.env("refresh token")
        ),
        "code": connection(client("code", "authorization_code", **interactive, **secret("code"))),
        "device": connection(
            client(
                "device", "device_code", device_authorization_url=server.url_of("/device"), **secret("device"),
            )
        ),
        "exchange": connection(
            client(
                "exchange", "token_exchange", **secret("exchange"),
                token_exchange={"subject_token": words.env("subject token"), "actor_token": words.env("actor token"),
                                "actor_token_type": "urn:ietf:params:oauth:token-type:access_token"},
            )
        ),
        "templated": connection(
            client(
                "templated", secrets={"pepper": words.env("pepper", odd=True)}, **secret("templated"),
                client_auth="none",
                access_token_request={
                    "headers": {"X-Pepper": "{{{base64Encode iclient.secrets.pepper}}}"},
                    "url": server.url + "?pepper={{{iclient.secrets.pepper}}}",
                    "body": {"grant_type": "client_credentials", "client_id": "templated",
                             "client_secret": "{{{iclient.client_secret}}}"},
                },
            )
        ),
        "mutual": connection(
            None, base_url=f"https://localhost:{upstream.port}",
            tls={"client_cert": "client.pem", "client_key": "client.key"}, hosts=["localhost"],
        ),
        CRASHING: connection(client(CRASHING, **secret(CRASHING))),
        **{name: connection(client(name, **secret(name))) for name in FAULTS},
    }  # fmt: skip
    return {
        "log": {"level": "debug"},
        "shutdown": {"drain_delay": "10ms", "grace": "5s", "revoke": True},
        "limits": {"token_wait": "2s", "backoff": {"min": "1s", "max": "1s"}},
        "store": {"kind": "file"},
        "listeners": {
            "reverse": [
                {"bind": "127.0.0.1:0", "auth": {"bearer": words.env("bearer of the listener")}},
            ],
            "forward": {
                "bind": "127.0.0.1:0", "intercept": intercept,
                "proxy_auth": {"username": "app", "password": words.env("password of the listener")},
            },
            "admin": {"bind": "127.0.0.1:0", "auth": words.env("ICLIENT_PROXY_ADMIN_TOKEN")},
        },
        "connections": connections,
    }  # fmt: skip
