"""The script that tells browsers which hosts to reach through the forward listener: `/proxy.pac`. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

MEDIA: Final = "application/x-ns-proxy-autoconfig"
# It answers on the forward listener only, so a browser has to take it there, too.
MAGIC_HOST: Final = "iclient-proxy.internal"

# No DIRECT after PROXY: a browser that can't reach the proxy would send the request without a token. The language is
# that of the oldest engines that evaluate such scripts: no `let`, no arrow functions, no method that came after ES3.
_SCRIPT: Final = """\
// Hosts that connections of iclient-proxy claim go through it, all others do not.
var PROXY = {proxy};
var HOSTS = {hosts};
var BELOW = {below};

function FindProxyForURL(url, host) {{
  host = host.toLowerCase();
  if (host.charAt(host.length - 1) === ".") host = host.substring(0, host.length - 1);
  for (var i = 0; i < HOSTS.length; i++) if (host === HOSTS[i]) return PROXY;
  for (var j = 0; j < BELOW.length; j++) {{
    var from = host.length - BELOW[j].length;
    if (from > 0 && host.substring(from) === BELOW[j]) return PROXY;
  }}
  return "DIRECT";
}}
"""


@dataclass(frozen=True, slots=True)
class Forward:
    """The forward listener: `address` is HOST:PORT as a browser on this machine reaches it; `claims` as written."""

    address: str
    claims: Sequence[str]


def script(forward: Forward | None) -> bytes:
    """Return the script; without a forward listener everything is DIRECT."""
    claims = sorted(set(forward.claims)) if forward is not None else ()
    exact = [claim.strip("[]") for claim in claims if not claim.startswith("*.")]
    below = [claim.removeprefix("*") for claim in claims if claim.startswith("*.")]
    proxy = f"PROXY {forward.address}" if forward is not None else "DIRECT"
    written = {"proxy": proxy, "hosts": [*exact, MAGIC_HOST], "below": below}
    # JSON of ASCII is JavaScript, whatever is in it.
    return _SCRIPT.format(**{name: json.dumps(value) for name, value in written.items()}).encode()
