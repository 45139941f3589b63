"""The tutorial, typed line by line into three terminals, on a machine that has Python, make and curl."""

from __future__ import annotations

import os
import re
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs.page import DOCS, ROOT, blocks
from tests.docs.terminals import Terminal

PAGE = DOCS / "tutorial.md"
# Blocks that stay in the foreground, and the line by which a reader sees that they are ready.
STAYS = {"demo --keep": r"curl http://[\d.]+:\d+/metrics\n", "iclient-proxy run": r'"listener":"admin".*\n'}
TUTORIAL = blocks(PAGE)


def free_ports(count):
    """Return ports that nobody had a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return [str(port) for port in ports]


def pattern(text):
    """Return the pattern of an output: it is as it is shown, and … stands for what is different each time."""
    lines = (".*".join(re.escape(piece) for piece in line.split("…")) for line in text.splitlines())
    return r"[^\n]*\n\s*".join(lines)


@pytest.mark.needs("make", "curl", "bash")
async def test_every_command_of_the_tutorial_shows_what_the_page_says(tmp_path):
    # The page writes the usual ports; here others may have them.
    reverse, admin = free_ports(2)
    ports = {"7480": reverse, "7489": admin}
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(tmp_path), "VENV": sys.prefix, "TERM": "dumb", "COLUMNS": "120", "LANG": "C.UTF-8",
    }  # fmt: skip

    listeners = f'listeners: {{reverse: {{bind: "127.0.0.1:{reverse}"}}, admin: {{bind: "127.0.0.1:{admin}"}}}}\n'

    def here(text):
        return re.sub("|".join(ports), lambda usual: ports[usual.group()], text)

    shown = ""
    typed = 0
    async with AsyncExitStack() as opened:
        terminals: dict[str, Terminal] = {}
        for block in TUTORIAL:
            if block.language == "yaml":
                (tmp_path / "tutorial" / block.title).write_text(here(block.text) + listeners)
            elif block.language == "sh":
                if block.title not in terminals:
                    terminals[block.title] = await Terminal.open(block.title, ROOT, environment)
                    opened.push_async_callback(terminals[block.title].close)
                terminal = terminals[block.title]
                until = next((line for command, line in STAYS.items() if command in block.text), None)
                if until is not None:
                    begun = len(terminal.text)
                    await terminal.shown(block.text, until)
                    shown = terminal.text[begun:]
                else:
                    status, shown = await terminal.type(here(block.text))
                    assert status == (78 if "credential'" in shown else 0), shown
                typed += 1
                if "demo --keep" in block.text:
                    urls = re.findall(r"^     (http://127\.0\.0\.1:\d+(?:/oauth/token)?)$", shown, re.MULTILINE)
                    ports |= dict(zip(("7481", "7482"), (str(urlsplit(url).port) for url in urls), strict=True))
                    environment["DEMO_CLIENT_SECRET"] = re.search(r"export DEMO_CLIENT_SECRET=(\S+)", shown)[1]
            else:
                assert re.search(pattern(here(block.text)), shown), f"{block}: {shown}"
        _, status_page = await terminals["Terminal 3"].type(f"curl --silent http://127.0.0.1:{admin}/")
        endings = [await terminal.close() for terminal in terminals.values()]
        opened.pop_all()

    assert typed == len([block for block in TUTORIAL if block.language == "sh"])
    assert "crm" in status_page
    assert '"event":"stopped"' in endings[1]
