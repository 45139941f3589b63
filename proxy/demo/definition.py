"""The definition of the demo; `config/demo.yaml` is the same with the usual ports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SECRET_VARIABLE: Final = "DEMO_CLIENT_SECRET"
CLIENT_ID: Final = "demo-app"

_HEAD: Final = """\
# What `iclient-proxy demo` runs; the demo takes free ports instead of these.
"""
_SETTINGS: Final = """\
listeners:
  reverse: {{bind: "127.0.0.1:{reverse}"}}
  admin: {{bind: "127.0.0.1:{admin}"}}
log: {{format: json}}
shutdown: {{drain_delay: 100ms, grace: 2s}}
"""
_CONNECTIONS: Final = """\
connections:
  crm:
    base_url: http://127.0.0.1:{api}
    iclient:
      grant_type: client_credentials
      token_url: http://127.0.0.1:{authorization_server}/oauth/token
      client_id: {client_id}
      client_secret: {{env: {variable}}}
      valid_domains: ["127.0.0.1:{authorization_server}"]
      allow_insecure: true    # this little world has no TLS; yours has
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everybody listens on 127.0.0.1; 0 takes any free port."""

    api: int = 7481
    authorization_server: int = 7482
    reverse: int = 7480
    admin: int = 7489


def text(ports: Ports) -> str:
    """Return the whole definition."""
    return _HEAD + _filled(_SETTINGS, ports) + connections(ports)


def connections(ports: Ports) -> str:
    """Return the part of it that a newcomer should look at."""
    return _filled(_CONNECTIONS, ports)


def _filled(template: str, ports: Ports) -> str:
    return template.format(
        api=ports.api,
        authorization_server=ports.authorization_server,
        reverse=ports.reverse,
        admin=ports.admin,
        client_id=CLIENT_ID,
        variable=SECRET_VARIABLE,
    )
