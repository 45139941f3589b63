"""Whom we call: upstream streams and their pool, dialling, TLS, and the token endpoint."""
