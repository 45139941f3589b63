"""The proxy measured beside its peers: interleaved, pinned to one core, with an upstream that counts (`make bench`)."""
