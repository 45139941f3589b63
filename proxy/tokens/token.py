"""An access token as the data path sees it."""

from proxy.access_token import AccessToken

__all__ = ["AccessToken"]
