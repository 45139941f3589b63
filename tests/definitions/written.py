"""Definitions as operators write them, and what the loader makes of them."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from proxy.definitions.load import load
from proxy.errors import DefinitionsError
from tests.support import seen

CANARY = "canary"
ENVIRON = {"SECRET": "canary-value", "LINES": "canary\ncanary", "EMPTY": "", "BLANK": " \t"}

ONE = """connections:
  acme:
    base_url: https://api.acme.com
    iclient:
      grant_type: client_credentials
      token_url: https://auth.acme.com/oauth/token
      client_id: my-app
      client_secret: {env: SECRET}
"""


def with_connection(lines):
    """Return the shortest definition with more lines in its connection."""
    return ONE + "".join(f"    {line}\n" for line in lines.strip().splitlines())


def with_iclient(lines):
    """Return the shortest definition with more lines in its iClient."""
    return ONE + "".join(f"      {line}\n" for line in lines.strip().splitlines())


def write(folder, text, name="f.yaml"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@contextmanager
def closed_folder(parent):
    """Make folders below each other down to one that can't be looked into; yield that one, remove them in the end.

    By the length of its path (PATH_MAX): root, who may be running this, may look into every other one.
    """
    names = ["x" * 250] * (4096 // 251 + 1)
    inner = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    for name in names:
        os.mkdir(name, dir_fd=inner)
        outer, inner = inner, os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=inner)
        os.close(outer)
    os.close(inner)
    try:
        paths = [Path(parent, *names[:depth]) for depth in range(1, len(names) + 1)]
        yield next(path for path in paths if len(os.fsencode(path)) >= 4096)
    finally:
        shutil.rmtree(parent / names[0])


def loaded(folder, text, environ=ENVIRON):
    """Load one file; the working directory is `folder`, so that faults name it `f.yaml`."""
    write(folder, text)
    try:
        return load([Path("f.yaml")], environ)
    except DefinitionsError as error:
        seen.faults(fault.code for fault in error.faults)
        raise


def definitions(folder, text, environ=ENVIRON):
    return loaded(folder, text, environ).definitions


def connection(folder, text, environ=ENVIRON):
    (only,) = definitions(folder, text, environ).connections
    return only


def said(folder, text, environ=ENVIRON):
    """Return the faults of one file as `code file:line:col: path: message`."""
    try:
        loaded(folder, text, environ)
    except DefinitionsError as error:
        return [f"{fault.code} {fault}" for fault in error.faults]
    return []


def codes(folder, text, environ=ENVIRON):
    return [line.split(" ", 1)[0] for line in said(folder, text, environ)]
