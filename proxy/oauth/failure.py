"""What can go wrong between a token request and a token, and what that means for the next attempt. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from proxy.errors import ProxyError


class Outcome(StrEnum):
    """How one token request ended: a closed set, the label of the metric."""

    OK = "ok"
    TRANSPORT = "transport"
    TIMEOUT = "timeout"
    MALFORMED = "malformed"
    INVALID_GRANT = "invalid_grant"
    INVALID_CLIENT = "invalid_client"
    OTHER_ERROR = "other_error"
    RATE_LIMITED = "rate_limited"


class Remedy(Enum):
    """What may help.

    `WAIT`: the same request again, a little later. `ANOTHER_GRANT`: this grant is used up, only a new one helps.
    `OPERATOR`: someone has to change the definitions or the registration; asking often may lock the client out.
    """

    WAIT = "wait"
    ANOTHER_GRANT = "another_grant"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed token request.

    `code` is ours and may be logged and shown. `said` comes from the authorization server: printable ASCII, cut, for
    the log only. `retry_after` is in seconds, already limited; `server_time` is the server's wall clock. `unanswered`:
    the request may have been carried out, and what became of it is not known. The rest describes the answer, never
    quotes it.
    """

    outcome: Outcome
    code: str
    remedy: Remedy = Remedy.WAIT
    retry_after: float | None = None
    said: str = ""
    status: int | None = None
    content_type: str = ""
    length: int | None = None
    digest: str = ""
    server_time: float | None = None
    unanswered: bool = False


class EndpointFault(ProxyError):
    """The token endpoint gave no complete HTTP answer. Carries no URL and no secret.

    `attempted` is False when the definitions did not even allow to try, `sent` is True from the moment the request's
    bytes may have left. `reason` is a short word of the layer below
    (the name of an error number, OpenSSL's reason), for the log.
    """

    def __init__(self, outcome: Outcome, code: str, *, attempted: bool = True, reason: str = "") -> None:
        self.outcome = outcome
        self.code = code
        self.attempted = attempted
        self.sent = False
        self.reason = reason
        super().__init__(f"{code} ({reason})" if reason else code)
