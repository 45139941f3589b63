"""A whole world on one machine, to watch the proxy in: an authorization server, an API, an application, a story."""
