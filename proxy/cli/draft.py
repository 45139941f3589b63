"""A first definition: what has to be asked for a provider and a grant, and the commented text of the answers. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.cli.plain import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.definitions.providers import Preset

# Grants that can be written down without a preset.
GENERIC: Final = (
    "client_credentials", "authorization_code", "password", "jwt_bearer", "device_code", "refresh_token",
)  # fmt: skip
_BY_SECRET: Final = ("client_secret_basic", "client_secret_post")
_BY_ASSERTION: Final = ("jwt_bearer", "self_signed_jwt")
_BY_HUMANS: Final = ("authorization_code", "device_code")
_NOT_A_VARIABLE: Final = re.compile(r"[^A-Z0-9]+")
_URL: Final = re.compile(r"https?://[^\s/]+(?:/\S*)?")
_WORD: Final = re.compile(r"\S+")
_SCOPES: Final = re.compile(r"[!-~]+(?: +[!-~]+)*")
_ANY: Final = re.compile(r".+")
_VARIABLE: Final = re.compile(r"[A-Za-z_]\w*")
# Text that YAML takes as it stands.
_PLAIN: Final = re.compile(r"(?!(?i:yes|no|on|off|true|false|null|y|n)$)[A-Za-z](?:[A-Za-z0-9_./@-]|:(?=\S))*")
_SECRET: Final = "the name of the variable that holds it; the secret itself never stands here"


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that nobody but the operator knows. `place` is its key in the connection: `iclient.client_id`.

    `secret`: the answer is the name of an environment variable. One that is not `required` may stay open.
    """

    place: str
    title: str
    help: str
    example: str
    pattern: re.Pattern[str] = _ANY
    default: str | None = None
    required: bool = True
    secret: bool = False

    @property
    def key(self) -> str:
        """The last part of its place."""
        return self.place.rpartition(".")[2]

    def fits(self, answer: str) -> bool:
        """Tell whether `answer` can be one."""
        return self.pattern.fullmatch(answer) is not None

    def lines(self, answer: str | None) -> list[str]:
        """Return what it is about, then the answer; a missing one is left empty, a default stands as a comment."""
        about = f"# {self.title}: {self.help}." if self.help else f"# {self.title}."
        if self.secret:
            return [about, f"{self.key}: {{env: {answer or self.default}}}"]
        if answer is not None:
            return [about, f"{self.key}: {self._value(answer)}"]
        if self.required and self.default is None:
            return [about, f"{self.key}:    # for example {self.example}"]
        return [about, f"# {self.key}: {self._value(self.default or self.example)}"]

    def _value(self, text: str) -> str:
        if self.key == "scopes":
            return f"[{', '.join(_scalar(one) for one in text.split())}]"
        return _scalar(text)


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be written: a connection, by this grant of a provider (None: of nobody that is known)."""

    name: str
    preset: Preset | None
    grant: str
    api: str | None = None

    def questions(self) -> tuple[Question, ...]:
        """Return what has to be asked, in the order of the file."""
        return tuple(_of_nobody(self) if self.preset is None else _of_provider(self, self.preset))

    def text(self, answers: Mapping[str, str]) -> str:
        """Return the definition with these answers, by place. What is missing is left empty: `check` names it."""
        asked = self.questions()
        inner = self._choices()
        inner += _block(asked, answers, "iclient")
        for name in ("jwt", "token_exchange", "params"):
            inner += _nested(name, _block(asked, answers, f"iclient.{name}"))
        body = _nested("iclient", inner)
        body += _block(asked, answers, "")
        body += _nested("secrets", _block(asked, answers, "secrets"))
        return "\n".join([*self._head(), "connections:", *_indented([f"{self.name}:", *_indented(body)]), ""])

    def _head(self) -> list[str]:
        if self.preset is None:
            return ["# `iclient-proxy schema` tells your editor every key, `iclient-proxy providers` many APIs."]
        name = self.preset.name
        head = [f"# {self.preset.title}. The rest comes from the preset: `iclient-proxy providers show {name}`."]
        if self.preset.verified is None:
            head.append("# Nobody has verified this preset: look at what comes of it, `iclient-proxy explain`.")
        return [*head, *(f"# Beware: {quirk}." for quirk in self.preset.quirks)]

    def _choices(self) -> list[str]:
        """Return the lines about what is chosen, and what else there is."""
        if self.preset is None:
            return [f"grant_type: {self.grant}"]
        lines = [f"provider: {self.preset.name}"]
        for key, chosen, known in (("api", self.api, self.preset.apis), ("grant_type", self.grant, self.preset.grants)):
            first, *others = known
            if chosen not in (None, first):
                lines.append(f"{key}: {chosen}")
            elif others:
                lines.append(f"# {key}: {first}    # or {', '.join(others)}")
        return lines


def _block(asked: tuple[Question, ...], answers: Mapping[str, str], place: str) -> list[str]:
    """Return the lines of the questions that stand right below a place."""
    below = [each for each in asked if each.place.rpartition(".")[0] == place]
    return [line for each in below for line in each.lines(answers.get(each.place))]


def _nested(name: str, lines: list[str]) -> list[str]:
    """Return lines below a key; a comment like them where all of them are comments."""
    if not lines:
        return []
    head = f"{name}:" if any(not line.startswith("#") for line in lines) else f"# {name}:"
    return [head, *_indented(lines)]


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _scalar(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _secret(draft: Draft, place: str, title: str) -> Question:
    name = _NOT_A_VARIABLE.sub("_", f"{draft.name}_{place.rpartition('.')[2]}".upper()).strip("_")
    name = f"_{name}" if name[:1].isdigit() else name
    return Question(place, title, _SECRET, name, _VARIABLE, name, secret=True)


def _scopes(*, required: bool) -> Question:
    about = "what your application may do, separated by spaces"
    return Question("iclient.scopes", "Scopes", about, "read write", _SCOPES, required=required)


def _assertion(draft: Draft) -> list[Question]:
    """Return what is asked about assertions that nobody has described."""
    about = ("iclient.jwt.algorithm", "Signature method", "RS256, ES256 and others", "RS256", _WORD)
    return [Question(*about), _secret(draft, "iclient.jwt.private_key", "Private key (PEM)")]


def _people(draft: Draft, text: str) -> list[Question]:
    """Return what is asked about the account that is used."""
    asked = []
    if draft.grant == "password" or "connection.username" in text:
        asked.append(Question("username", "User name", "of the account that is used", "integration@example.com"))
    if draft.grant == "password" or "connection.password" in text:
        asked.append(_secret(draft, "password", "Password"))
    if draft.grant == "refresh_token":
        asked.append(_secret(draft, "refresh_token", "Refresh token"))
    return asked


def _of_provider(draft: Draft, preset: Preset) -> list[Question]:
    differs = plain(preset.grants[draft.grant])
    api = preset.apis[draft.api or next(iter(preset.apis))]
    iclient = {**plain(preset.iclient), **differs, **plain(api.iclient)}
    text = json.dumps([iclient, plain(api.connection)])
    asked = [Question("iclient.client_id", "Client ID", "as the provider shows it", "my-app", _WORD)]
    signs = "jwt" in iclient or draft.grant in _BY_ASSERTION
    usual = "client_auth" not in iclient and not signs
    by_secret = usual or iclient.get("client_auth") in _BY_SECRET or "iclient.client_secret" in text
    if by_secret and draft.grant != "self_signed_jwt":  # which asks nobody for a token
        asked.append(_secret(draft, "iclient.client_secret", "Client secret"))
    if "iclient.scope" in text or draft.grant in _BY_HUMANS:
        asked.append(_scopes(required="iclient.scope" in text))
    if "jwt" in iclient:
        asked.append(_secret(draft, "iclient.jwt.private_key", "Private key (PEM)"))
    elif signs:
        asked += _assertion(draft)
    if draft.grant == "token_exchange" and "subject_token" not in plain(preset.iclient).get("token_exchange", {}):
        asked.append(_secret(draft, "iclient.token_exchange.subject_token", "Subject token"))
    for name, param in preset.params.items():
        if f"connection.params.{name}}}" in text:
            place = f"iclient.params.{name}"
            about = (place, param.title, param.help, param.example, param.pattern, param.default)
            asked.append(Question(*about, required=param.required))
    asked += _people(draft, text)
    named = sorted(set(re.findall(r"connection\.secrets\.(\w+)", text)))
    return [*asked, *(_secret(draft, f"secrets.{name}", name) for name in named)]


def _of_nobody(draft: Draft) -> list[Question]:
    asked = [_url("iclient.token_url", "Access token URL", "where tokens are asked for", "oauth/token")]
    if draft.grant == "authorization_code":
        asked.append(_url("iclient.authorization_url", "Authorization URL", "where a browser goes", "authorize"))
    if draft.grant == "device_code":
        asked.append(_url("iclient.device_authorization_url", "Device authorization URL", "RFC 8628", "device"))
    asked.append(Question("iclient.client_id", "Client ID", "as the authorization server knows you", "my-app", _WORD))
    if draft.grant == "jwt_bearer":
        asked += _assertion(draft)
    else:
        asked.append(_secret(draft, "iclient.client_secret", "Client secret"))
    asked.append(_scopes(required=False))
    asked.append(Question("base_url", "Base URL of the API", "requests go below it", "https://api.example.com", _URL))
    return [*asked, *_people(draft, "")]


def _url(place: str, title: str, about: str, path: str) -> Question:
    return Question(place, title, about, f"https://auth.example.com/{path}", _URL)
