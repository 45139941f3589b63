"""`Location` of a reverse route: what lies under the upstream's base becomes a path of the route. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class LocationMap:
    """The upstream's origin and base path, and the route's prefix ("" where nothing was stripped)."""

    scheme: str
    host: str
    port: int
    base_path: str
    prefix: str
    strip: bool

    def rewrite(self, value: bytes, target: bytes) -> bytes:
        """Return what the application should see for `value`, a response to the upstream request for `target`."""
        try:
            text = value.decode("ascii")
            request = f"{self.scheme}://{self._authority()}{target.decode('ascii')}"
            resolved = urlsplit(urljoin(request, text))
            port = resolved.port or _DEFAULT_PORTS.get(resolved.scheme)
        except (ValueError, UnicodeDecodeError):
            return value
        if (resolved.scheme, resolved.hostname, port) != (self.scheme, self.host, self.port) or resolved.username:
            return value
        path = resolved.path or "/"
        if not self.base_path.startswith("/") and self.base_path:
            return value
        if self.base_path and path != self.base_path and not path.startswith(self.base_path + "/"):
            return value
        rest = path[len(self.base_path) :]
        if not self.strip and self.prefix and rest != self.prefix and not rest.startswith(self.prefix + "/"):
            return value
        mapped = (self.prefix if self.strip else "") + rest or "/"
        if mapped.startswith("//"):  # would be read as an authority
            return value
        query = f"?{resolved.query}" if resolved.query else ""
        fragment = f"#{resolved.fragment}" if resolved.fragment else ""
        return (mapped + query + fragment).encode()

    def _authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if _DEFAULT_PORTS.get(self.scheme) == self.port else f"{host}:{self.port}"
