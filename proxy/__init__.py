"""A forward auth proxy for OAuth 2.0 APIs: the application speaks plain HTTP, the proxy keeps the token."""

import os
import sys

if os.environ.get("ICLIENT_PROXY_PURE", "") not in ("", "0"):
    # Python prefers a compiled module to the source beside it; whoever asks for the sources gets them.
    from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader

    def _sources_alone(path: str) -> FileFinder:
        if path != __path__[0] and not path.startswith(__path__[0] + os.sep):
            raise ImportError(path)  # another package's, though its name may begin like ours
        return FileFinder(path, (SourceFileLoader, SOURCE_SUFFIXES))

    sys.path_hooks.insert(0, _sources_alone)
