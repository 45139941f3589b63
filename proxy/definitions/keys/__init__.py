"""Keys and certificates as they are handed out: told apart by content, repaired, checked.

`signing_keys` and `ppk` read what signs assertions, `pem` what TLS wants, `rotated` secrets that somebody else rotates.
"""
