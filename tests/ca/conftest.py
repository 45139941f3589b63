"""An authority of the tests: made for a domain and an address, and files to keep it in."""

import os
from dataclasses import dataclass, field

import pytest

from proxy.ca import authority
from proxy.definitions.settings import AuthorityFiles

NOW = 1_800_000_000.0  # 2027-01-15


@dataclass
class Clock:
    """Stands still until a test moves it."""

    now: float = NOW
    ticks: float = field(default=0.0)

    def wall(self):
        return self.now

    def monotonic(self):
        return self.ticks


def made(folder, *hosts, clock=None, seal=None):
    """Make an authority for these hosts in the folder, and open it."""
    files = AuthorityFiles(cert=folder / "ca" / "cert.pem", key=folder / "ca" / "key.pem")
    certificate, key = authority.make(hosts, clock or Clock(), os.urandom)
    authority.write(files, certificate, key, seal)
    return files


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def files(tmp_path):
    return made(tmp_path, "acme.example", "127.0.0.1")


@pytest.fixture
def opened(files):
    return authority.read(files)
