"""Operators' files: definitions, or faults with a place; the same twice; and no secret in what is said."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from proxy.definitions.load import Loaded, load
from proxy.errors import DefinitionsError
from tests.fuzz.targets import Target

CANARY: Final = "canary-of-the-loader"
_ENVIRON: Final = {"ACME_SECRET": CANARY, "CLIENT_SECRET": CANARY}
_FOLDER: Final = tempfile.TemporaryDirectory(prefix="fuzz-loader-")
_GOLDEN: Final = Path(__file__).parents[2] / "definitions" / "golden"


_SOUND: Final = (
    b"connections:\n  acme:\n    base_url: https://api.acme.com\n    iclient:\n      grant_type: client_credentials\n"
    b"      token_url: https://acme.com/token\n      client_id: id\n      client_secret: {env: ACME_SECRET}\n"
)


def _outcome(data: bytes) -> Loaded | DefinitionsError:
    file = Path(_FOLDER.name) / "f.yaml"
    file.write_bytes(data)
    try:
        return load([file], _ENVIRON)
    except DefinitionsError as error:
        return error


def check(data: bytes) -> None:
    """See the rule."""
    if b"include" in data or b"file:" in data:
        return  # it may name any file of this machine
    found = _outcome(data)
    if isinstance(found, Loaded):
        assert CANARY not in f"{found.definitions!r}{found.warnings!r}", "a secret shows"
        return
    assert found.faults
    for fault in found.faults:
        assert fault.code
        assert fault.message
        assert "\n" not in str(fault)
        assert CANARY not in str(fault), "a secret shows"
    assert list(found.faults) == sorted(set(found.faults))
    again = _outcome(data)
    assert isinstance(again, DefinitionsError)
    assert [str(fault) for fault in again.faults] == [str(fault) for fault in found.faults]


TARGET: Final = Target(
    "Loaded or DefinitionsError; each fault on one line with a code; the same twice; no secret shows",
    check,
    (
        *(path.read_bytes() for path in sorted(_GOLDEN.glob("*.yaml"))),
        b"",
        b"\xff\xfe",
        b"a: &x [*x]\n",
        b"[]",
        b"{a: {b: c}}",
        _SOUND,
    ),
)
