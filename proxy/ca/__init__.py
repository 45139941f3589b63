"""The local certificate authority: made once, bound to the claimed domains, signing leaves for interception."""
