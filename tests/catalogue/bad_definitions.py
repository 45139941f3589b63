"""Every bad definition of the catalogue as a file, and all of them thrown at a running process as reloads.

Most stand in tests/definitions/golden; the others are made here: too large or too deep to be kept, not text, or with a
key that must not lie in a repository.
"""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from proxy.definitions.load import load
from proxy.errors import DefinitionsError
from tests.definitions import test_faults
from tests.definitions.test_reader import BOMB, LAUGHS
from tests.definitions.written import ENVIRON, with_iclient
from tests.support.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

_FILE: Final = "definitions.yaml"
_PROCESSES: Final = 8
_PASSPHRASE: Final = "canary-passphrase"


@dataclass(frozen=True)
class Bad:
    """One file that is refused; `cases` are the numbers that it shows, `beside` the files that it names."""

    name: str
    cases: tuple[str, ...]
    text: bytes
    beside: Mapping[str, bytes]


@dataclass(frozen=True)
class Thrown:
    """What became of it: the files that were thrown, their cases, and what was not as it has to be."""

    files: int
    cases: frozenset[str]
    wrong: tuple[str, ...]


def all_of_them() -> list[Bad]:
    """Return every bad definition."""
    return [*_golden(), *_made(), *_keys()]


def _golden() -> Iterator[Bad]:
    for mistake in test_faults.MISTAKES:
        marks = [] if isinstance(mistake, str) else mistake.marks
        name = mistake if isinstance(mistake, str) else str(mistake.values[0])
        text = (test_faults.GOLDEN / f"{name}.yaml").read_text(encoding="utf-8").split(test_faults.MARK)[0]
        yield Bad(name, tuple(str(number) for mark in marks for number in mark.args), text.encode(), {})


def _made() -> Iterator[Bad]:
    for name, case, text in (
        ("merge-key-bomb", "C-4", BOMB.encode()),
        ("alias-bomb", "C-5", LAUGHS.encode()),
        ("too-deep", "C-7", b"[" * 3000),
        ("too-large", "C-8", b"# " + b"x" * (1 << 20)),
        ("too-many-nodes", "C-8", b"x-list: [" + b"a, " * 10_000 + b"a]"),
        ("too-many-connections", "C-8", b"".join(
            [b"connections:\n", *(b"  c%d: {base_url: https://c%d.acme.com}\n" % (n, n) for n in range(1001))]
        )),
        ("not-utf-8", "C-10", b"via: \xff\n"),
        ("nul", "C-10", b"via: x\0y\n"),
        ("tab", "C-10", b"store:\n\tkind: memory\n"),
        ("five-thousand-digits", "C-13", b"limits: {tunnels: " + b"9" * 5000 + b"}"),
        ("secret-file-missing", "C-21", with_iclient("settings: {a: {file: no-such-file}}").encode()),
        ("secret-file-is-a-folder", "C-21", with_iclient("settings: {a: {file: .}}").encode()),
    ):  # fmt: skip
        yield Bad(name, (case,), text, {})
    yield Bad(
        "secret-file-too-large", ("C-21",), with_iclient("settings: {a: {file: large}}").encode(),
        {"large": b"x" * ((64 << 10) + 1)},
    )  # fmt: skip


def _keys() -> Iterator[Bad]:
    key, small = (rsa.generate_private_key(65537, bits) for bits in (2048, 1024))
    plain, curve = _pem(key), _pem(ec.generate_private_key(ec.SECP256R1()))
    locked = _pem(key, _PASSPHRASE)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for name, case, algorithm, data, passphrase in (
        ("encrypted-without-passphrase", "C-46", "RS256", locked, ""),
        ("encrypted-with-another-passphrase", "C-46", "RS256", locked, "SECRET"),
        ("passphrase-for-a-plain-key", "C-46", "RS256", plain, "SECRET"),
        ("half-a-key", "C-47", "RS256", plain[: len(plain) // 2], ""),
        ("public-key", "C-47", "RS256", public, ""),
        ("two-keys", "C-47", "RS256", plain + curve, ""),
        ("curve-for-rsa", "C-48", "RS256", curve, ""),
        ("rsa-for-curve", "C-48", "ES256", plain, ""),
        ("another-curve", "C-48", "ES384", curve, ""),
        ("short-key", "C-50", "RS256", _pem(small), ""),
    ):
        words = f"algorithm: {algorithm}, private_key: {{file: key.pem}}"
        if passphrase:
            words += f", passphrase: {{env: {passphrase}}}"
        text = with_iclient(f"client_auth: private_key_jwt\njwt: {{{words}}}").replace(
            "client_secret: {env: SECRET}", ""
        )
        yield Bad(name, (case,), text.encode(), {"key.pem": data})
    text = with_iclient("jwt: {algorithm: HS256, secret: {env: EMPTY}}").replace("client_secret: {env: SECRET}", "")
    yield Bad("empty-shared-secret", ("C-50",), text.encode(), {})


def _pem(key: PrivateKeyTypes, passphrase: str = "") -> bytes:
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def codes(folder: Path, bad: Bad) -> list[str]:
    """Return the codes of the faults that the loader finds, in their order."""
    _lay(folder, bad)
    try:
        load([folder / _FILE], {**ENVIRON, "HOME": str(folder)})
    except DefinitionsError as error:
        return [fault.code for fault in error.faults]
    return []


def _lay(folder: Path, bad: Bad) -> None:
    for name, content in bad.beside.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    (folder / _FILE).write_bytes(bad.text)


async def throw(folder: Path, seed: int) -> Thrown:
    """Give each of them to a running process as a reload, in a random order, while requests go on beside.

    Reloads come once a second at most, so that several processes share the files.
    """
    bads = all_of_them()
    random.Random(seed).shuffle(bads)
    hands = [bads[number::_PROCESSES] for number in range(_PROCESSES)]
    folders = [folder / str(number) for number in range(_PROCESSES)]
    wrong = await asyncio.gather(*(_throw(*each) for each in zip(folders, hands, strict=True)))
    cases = frozenset(number for bad in bads for number in bad.cases)
    return Thrown(len(bads), cases, tuple(fault for each in wrong for fault in each))


async def _throw(folder: Path, bads: list[Bad]) -> list[str]:
    aside = folder / "aside"
    aside.mkdir(parents=True)
    wrong: list[str] = []
    async with AsyncExitStack() as after:
        stage = Stage({"c0": {}}, {})
        await stage.start(folder, environment=ENVIRON)
        after.push_async_callback(stage.close)
        case = await stage.case("c0")
        after.push_async_callback(case.close)
        good = (folder / _FILE).read_bytes()
        client = await case.warm()
        for bad in bads:
            expected = codes(aside, bad)
            _lay(folder, bad)
            report = json.loads((await stage.process.admin_post("/api/reload")).body)
            found = [fault.partition(":")[0] for fault in report["faults"]]
            if report["applied"] or not found or found != expected:
                wrong.append(f"{bad.name}: {found} instead of {expected}")
            if await stage.process.metric("config_last_reload_successful"):
                wrong.append(f"{bad.name}: the metric calls it a success")
            if (await client.ask(case.request())).status != HTTPStatus.OK:
                wrong.append(f"{bad.name}: the request after it failed")
        (folder / _FILE).write_bytes(good)
        report = json.loads((await stage.process.admin_post("/api/reload")).body)
        if not report["applied"] or report["changed"]:
            wrong.append(f"the good definitions afterwards: {report}")
        if (case.token_requests, case.upstream_requests) != (1, len(bads)):
            wrong.append(f"T={case.token_requests}, U={case.upstream_requests} for {len(bads)} requests")
        await case.assert_serves()
    return wrong
