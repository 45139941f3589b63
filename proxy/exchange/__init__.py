"""The life of a request: routed, rewritten, given its token, judged by its response, relayed or sent once more."""
