"""Mutants against the proxy: what it forwards and relays is read by parsers that are not ours."""
