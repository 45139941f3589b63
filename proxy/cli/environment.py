"""What each runtime has to be told, so that it takes its requests to the forward listener. Pure.

There is no standard for these variables: which case of a name a client reads, whether it proxies loopback, where it
looks for authorities differ from one to the next. The pages of docs/guides say what was seen at work here. A function
for each runtime makes it long.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Stands in a value for the listener's password, which is a secret: whoever evaluates the output puts it in.
PASSWORD: Final = "\0"
# Stands for the folder of the user's own settings, which only the shell knows.
FOLDER: Final = "\1"
# Stands for what the variable holds already, with a space after it.
HELD: Final = "\2"
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
# Goes with a user name that is no credential.
ANY_PASSWORD: Final = "x"
# Where a container finds what it is to trust, when it finds it anywhere.
MOUNTED: Final = "/etc/iclient-proxy/trust"
# The usual one of Java's own store. It protects nothing: what is in there is public.
STORE_PASSWORD: Final = "changeit"


class Runtime(StrEnum):
    """What the application runs on; `docker` and `k8s` are ways to set variables for any of the others."""

    CURL = "curl"
    WGET = "wget"
    GIT = "git"
    PERL = "perl"
    PYTHON = "python"
    NODE = "node"
    JAVA = "java"
    GO = "go"
    DOTNET = "dotnet"
    PHP = "php"
    DOCKER = "docker"
    K8S = "k8s"


@dataclass(frozen=True, slots=True)
class Trust:
    """Files that make a client trust the local authority beside the system's roots: PEM, and a store of Java."""

    bundle: str
    store: str


@dataclass(frozen=True, slots=True)
class Way:
    """How applications reach the forward listener; `user` and `password` as the proxy's URL needs them.

    `claimed` are the hosts that get tokens, `bypass` those that are reached without the proxy; `rejects` all others.
    """

    host: str
    port: int
    claimed: tuple[str, ...]
    bypass: tuple[str, ...]
    user: str = ""
    password: bool = False
    trust: Trust | None = None
    rejects: bool = False

    @property
    def url(self) -> str:
        """The proxy's URL, with `PASSWORD` in its place."""
        # A user name alone is sent by some: wget, requests and urllib want a password with it, and any will do.
        credential = f"{self.user}:{PASSWORD if self.password else ANY_PASSWORD}@" if self.user else ""
        return f"http://{credential}{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of the environment."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the one who reads."""

    text: str


@dataclass(frozen=True, slots=True)
class Written:
    """A small file that the runtime reads, at a path that begins with `FOLDER`."""

    path: str
    content: str


Line = Variable | Note | Written


def bypassed(claimed: tuple[str, ...], named: tuple[str, ...]) -> tuple[str, ...]:
    """Return what goes past the proxy: loopback, unless a connection claims it, and the hosts `named`."""
    loopback = () if set(LOOPBACK) & set(claimed) or any(host.startswith("127.") for host in claimed) else LOOPBACK
    # A client takes `example.com` for that host, for all below it, or for both: only the two together mean the same to
    # all of them.
    below = (form for host in named for form in _forms(host))
    return (*loopback, *dict.fromkeys(below))


def lines(runtime: Runtime, way: Way) -> list[Line]:
    """Return what that runtime needs, in order."""
    return [*_to_know(runtime, way), *_TABLE[runtime](way)]


def _to_know(runtime: Runtime, way: Way) -> Iterator[Line]:
    if way.rejects:
        yield Note("Hosts that no connection claims are refused: --bypass HOST names those to reach without the proxy.")
    if way.trust is None:
        yield Note(_CALLED.format(_listed(way.claimed)))
        return
    yield Note(_TRUSTED)
    if runtime is not Runtime.K8S:
        form, path = ("p12", way.trust.store) if runtime is Runtime.JAVA else ("bundle", way.trust.bundle)
        yield Note(f"once: iclient-proxy ca export --format {form} --output {shlex.quote(path)}")


_CALLED: Final = (
    "Call http://HOST/...: what goes to {} is upgraded to https and gets its token; https:// passes without one."
)
_TRUSTED: Final = "http:// and https:// both get tokens. Whoever uses https:// has to trust the local authority:"


def _listed(hosts: tuple[str, ...]) -> str:
    shown = ", ".join(hosts[:3])
    return f"{shown} and {len(hosts) - 3} more" if len(hosts) > 3 else shown or "no host yet"


def _forms(host: str) -> tuple[str, ...]:
    bare = host.removeprefix("*").lstrip(".")
    return (bare,) if _is_address(bare) else (bare, f".{bare}")


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _variables(way: Way, *, upper: bool = True) -> Iterator[Line]:
    """Yield the usual variables: in lower case, which everyone reads, and in upper case for the few who need that."""
    passed = ",".join(way.bypass)
    for name, value in (("http_proxy", way.url), ("https_proxy", way.url), ("no_proxy", passed)):
        yield Variable(name, value)
        if upper:
            yield Variable(name.upper(), value)


def _curl(way: Way) -> Iterator[Line]:
    yield Note("curl reads http_proxy in lower case only.")
    yield from _variables(way)
    if way.trust is not None:
        yield Variable("CURL_CA_BUNDLE", way.trust.bundle)


def _wget(way: Way) -> Iterator[Line]:
    yield Note("wget reads lower case only, and no variable names its authorities: WGETRC stands for ~/.wgetrc.")
    yield from _variables(way, upper=False)
    if way.trust is not None:
        yield Written(f"{FOLDER}/wgetrc", f"ca_certificate = {way.trust.bundle}")
        yield Variable("WGETRC", f"{FOLDER}/wgetrc")


def _git(way: Way) -> Iterator[Line]:
    yield Note("http.proxy of git's own configuration wins over these.")
    yield from _variables(way)
    if way.trust is not None:
        yield Variable("GIT_SSL_CAINFO", way.trust.bundle)


def _perl(way: Way) -> Iterator[Line]:
    yield Note("HTTP::Tiny and LWP::UserAgent (with env_proxy) read these; https:// needs IO::Socket::SSL.")
    yield from _variables(way)
    if way.trust is not None:
        yield Variable("SSL_CERT_FILE", way.trust.bundle)
        yield Variable("PERL_LWP_SSL_CA_FILE", way.trust.bundle)


def _python(way: Way) -> Iterator[Line]:
    yield Note("requests, httpx and urllib read these; aiohttp with ClientSession(trust_env=True) only.")
    yield from _variables(way)
    if way.trust is not None:
        yield Variable("SSL_CERT_FILE", way.trust.bundle)
        yield Variable("REQUESTS_CA_BUNDLE", way.trust.bundle)


PRELOAD: Final = Path(__file__).with_name("preload.cjs")


def _preload(path: str) -> Iterator[Line]:
    # Node's own way would be in the way of the script.
    yield Variable("NODE_USE_ENV_PROXY", "0")
    script = f'"{path}"' if " " in path else path
    yield Variable("NODE_OPTIONS", f"{HELD}--require={script}")


def _node(way: Way) -> Iterator[Line]:
    yield Note("Node reads these late (22.21, 24.5) or in part; a script, loaded before the program, does it for all.")
    yield from _variables(way)
    yield from _preload(str(PRELOAD))
    if way.trust is not None:
        yield Variable("NODE_EXTRA_CA_CERTS", way.trust.bundle)


def _java(way: Way) -> Iterator[Line]:
    yield Note("Java reads no proxy variable; it says on standard error that it picked these options up.")
    if way.password:
        yield Note("Java takes no proxy credential from options: the application has to set an Authenticator.")
    yield Variable("JAVA_TOOL_OPTIONS", HELD + _java_options(way))


_OF_JAVA: Final = {"127.0.0.1": "127.*", "::1": "[::1]"}


def _java_options(way: Way) -> str:
    # Without a list of its own Java keeps loopback and 127.* from every proxy.
    passed = "|".join(_OF_JAVA.get(host, f"*{host}" if host.startswith(".") else host) for host in way.bypass)
    address = (f"Host={way.host}", f"Port={way.port}")
    options = [
        *(f"-D{scheme}.proxy{part}" for scheme in ("http", "https") for part in address),
        f"-Dhttp.nonProxyHosts={passed}",
    ]
    if way.trust is not None:
        options += [
            f"-Djavax.net.ssl.trustStore={_one_word(way.trust.store)}",
            "-Djavax.net.ssl.trustStoreType=PKCS12",
            f"-Djavax.net.ssl.trustStorePassword={STORE_PASSWORD}",
        ]
    return " ".join(options)


def _one_word(path: str) -> str:
    """Quote a path with a space in it as JAVA_TOOL_OPTIONS wants it."""
    return f"'{path}'" if " " in path else path


def _go(way: Way) -> Iterator[Line]:
    yield Note("Go never takes loopback addresses to a proxy.")
    yield from _variables(way)
    if way.trust is not None:
        yield Note("Go reads SSL_CERT_FILE on Linux and BSD; elsewhere the authority belongs into the system's store.")
        yield Variable("SSL_CERT_FILE", way.trust.bundle)


def _dotnet(way: Way) -> Iterator[Line]:
    yield Note(".NET takes .example.com in NO_PROXY for what is below it only, and knows no *: hence both forms.")
    yield from _variables(way)
    if way.trust is not None:
        yield Note(".NET reads SSL_CERT_FILE on Linux; elsewhere the authority belongs into the system's store.")
        yield Variable("SSL_CERT_FILE", way.trust.bundle)


def _php(way: Way) -> Iterator[Line]:
    yield Note("ext/curl reads these as curl does, Guzzle in a CLI process only, streams (fopen, SOAP) need a context.")
    yield from _variables(way)
    if way.trust is not None:
        settings = f'curl.cainfo = "{way.trust.bundle}"\nopenssl.cafile = "{way.trust.bundle}"'
        yield Written(f"{FOLDER}/php/trust.ini", settings)
        # The empty first part keeps the folder that PHP was built with.
        yield Variable("PHP_INI_SCAN_DIR", f":{FOLDER}/php")


_BUNDLES: Final = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS")


def _docker(way: Way) -> Iterator[Line]:
    """What any runtime in a container might read; the script for Node is mounted there."""
    yield from _container(way)
    yield from _preload(f"{MOUNTED}/{PRELOAD.name}")


def _k8s(way: Way) -> Iterator[Line]:
    """The same; a script of this machine is not in a pod, so Node has to do what it can."""
    yield from _container(way)
    yield Variable("NODE_USE_ENV_PROXY", "1")


def _container(way: Way) -> Iterator[Line]:
    yield from _variables(way)
    yield Variable("JAVA_TOOL_OPTIONS", _java_options(way))
    if way.trust is not None:
        for name in _BUNDLES:
            yield Variable(name, way.trust.bundle)


_TABLE: Final[dict[Runtime, Callable[[Way], Iterator[Line]]]] = {
    Runtime.CURL: _curl,
    Runtime.WGET: _wget,
    Runtime.GIT: _git,
    Runtime.PERL: _perl,
    Runtime.PYTHON: _python,
    Runtime.NODE: _node,
    Runtime.JAVA: _java,
    Runtime.GO: _go,
    Runtime.DOTNET: _dotnet,
    Runtime.PHP: _php,
    Runtime.DOCKER: _docker,
    Runtime.K8S: _k8s,
}
