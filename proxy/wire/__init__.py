"""HTTP/1.1 as bytes: heads, framing, body scanners. No socket is touched here; both sides of the proxy use it."""
