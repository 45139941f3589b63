"""A dozen connections in all the states there are, for the pages that show them."""

from proxy.admin.ports import Event
from proxy.admin.status import ConnectionStatus
from tests.support.running import NOW

CALLBACK = "http://127.0.0.1:7489/oauth/callback/"


def interactive(name, **settings):
    return ConnectionStatus(
        name,
        grant_type="authorization_code",
        redirect_url=f"{CALLBACK}{settings.get('iclient', name)}",
        authorize_url=f"/oauth/start/{name}",
        can_authorize=True,
        **settings,
    )


def ahead(seconds):
    return NOW + seconds


STATUSES = (
    ConnectionStatus(
        "crm", iclient="acme", grant_type="client_credentials", state="valid", expires_at=ahead(2534),
        last_renewal_at=ahead(-1066), next_action="renew", next_attempt_at=ahead(1094), can_revoke=True,
    ),
    ConnectionStatus(
        "billing", iclient="acme", grant_type="client_credentials", state="due", expires_at=ahead(192),
        last_renewal_at=ahead(-3408), next_action="renewing", can_revoke=True,
    ),
    interactive(
        "calendar", iclient="google", state="valid", expires_at=ahead(3171), last_renewal_at=ahead(-429),
        next_action="renew", next_attempt_at=ahead(1731), can_revoke=True,
        warnings=("The refresh token is kept in memory only: a restart loses it. Set store to file or redis.",),
    ),
    interactive(
        "accounting-sandbox-eu-west", iclient="quickbooks", state="authorization_required",
        last_renewal_at=ahead(-8640000), last_error="invalid_grant", next_action="authorize",
    ),
    interactive("chat", iclient="chat", state="authorization_required", next_action="authorize"),
    ConnectionStatus(
        "warehouse", iclient="warehouse", grant_type="password", state="braked", expires_at=ahead(-5400),
        last_renewal_at=ahead(-9000), last_error="invalid_client", next_action="retry", next_attempt_at=ahead(214),
    ),
    ConnectionStatus(
        "shipping", iclient="parcel", grant_type="client_credentials", state="backoff", expires_at=ahead(-12),
        last_renewal_at=ahead(-3612), last_error="transport", next_action="retry", next_attempt_at=ahead(7),
        can_revoke=True,
    ),
    ConnectionStatus(
        "search", iclient="search", grant_type="jwt_bearer", state="spent", expires_at=ahead(1800),
        last_renewal_at=ahead(-1800), next_action="renewing",
    ),
    ConnectionStatus(
        "reports", iclient="reports", grant_type="token_exchange", state="disputed", expires_at=ahead(3420),
        last_renewal_at=ahead(-180), next_action="renew", next_attempt_at=ahead(1260), can_revoke=True,
    ),
    ConnectionStatus(
        "archive", iclient="archive", grant_type="client_credentials", state="expired", expires_at=ahead(-86400 * 3),
        last_renewal_at=ahead(-86400 * 3 - 3600), next_action="nothing",
    ),
    ConnectionStatus("maps", iclient="maps", grant_type="self_signed_jwt", state="none", next_action="nothing"),
    ConnectionStatus(
        "television", iclient="tv", grant_type="device_code", state="valid", expires_at=ahead(590),
        last_renewal_at=ahead(-10), next_action="renew", next_attempt_at=ahead(380), can_authorize=True,
        can_revoke=True,
    ),
    ConnectionStatus("intranet"),
)  # fmt: skip

EVENTS = {
    "crm": [
        Event(ahead(-1066), "renewed", "client_credentials in 84 ms; good for 1 h."),
        Event(ahead(-1067), "refused", "The API answered 401 (status-401); the token is spent."),
        Event(ahead(-4666), "renewed", "client_credentials in 91 ms; good for 1 h."),
    ],
    "accounting-sandbox-eu-west": [
        Event(ahead(-300), "lost", "The refresh token was rejected: invalid_grant. Someone has to authorize again."),
    ],
    "shipping": [
        Event(ahead(-5), "failed", "The token endpoint can't be reached: transport. Attempt 4."),
        Event(ahead(-9), "failed", "The token endpoint can't be reached: transport. Attempt 3."),
    ],
    "warehouse": [Event(ahead(-86), "braked", "The authorization server rejects this client: invalid_client.")],
    "calendar": [
        Event(ahead(-429), "refreshed", "By refresh token in 120 ms; good for 1 h."),
        Event(ahead(-86400), "authorized", "A new grant was stored."),
    ],
}
