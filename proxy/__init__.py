"""A forward auth proxy for OAuth 2.0 APIs: the application speaks plain HTTP, the proxy keeps the token."""
