"""The clients: how each is called, and by which runtime's variables it is set up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pytest

from tests.clients.stage import PROGRAMS


@dataclass(frozen=True)
class Client:
    """`script` asks $URL/first, then posts $FILE to $URL/second; it prints a line for each: status, space, body.

    wget has no way to print the status of what succeeds, so what it prints is 200.
    """

    name: str
    runtime: str
    script: str
    needs: tuple[str, ...] = ()


_CURL = (
    "curl -sS -o first -w '%{http_code} ' $URL/first; cat first; echo; "
    "curl -sS -o second -w '%{http_code} ' --data-binary @$FILE $URL/second; cat second; echo"
)
_WGET = "echo 200 $(wget --quiet -O - $URL/first); echo 200 $(wget --quiet -O - --post-file=$FILE $URL/second)"
CLIENTS: Final = (
    Client("curl", "curl", _CURL, ("curl",)),
    Client("wget", "wget", _WGET, ("wget",)),
    *(
        Client(library, "python", f"python {PROGRAMS}/library.py {library} $URL $FILE")
        for library in ("requests", "httpx", "urllib", "aiohttp")
    ),
    Client("node-http", "node", f"node {PROGRAMS}/client.mjs http $URL $FILE", ("node",)),
    Client("node-fetch", "node", f"node {PROGRAMS}/client.mjs fetch $URL $FILE", ("node",)),
    Client("java", "java", "java -cp $CLASSES Client $URL $FILE", ("java", "javac")),
    Client("php", "php", f"php {PROGRAMS}/client.php $URL $FILE", ("php", "ext/curl")),
    Client("perl", "perl", f"perl {PROGRAMS}/client.pl $URL $FILE", ("perl",)),
)


def parameters(*, https: bool = False) -> list[object]:
    """Return every client as a parameter that is left out where its programs are missing."""
    more = {"perl": ("IO::Socket::SSL",)} if https else {}
    return [
        pytest.param(each, id=each.name, marks=pytest.mark.needs(*each.needs, *more.get(each.name, ())))
        for each in CLIENTS
    ]
