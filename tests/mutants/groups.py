"""The security modules, by what they guard, and the quick tests that have to notice a mistake in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Group:
    """`modules` and `tests` are paths from the root of the project; a folder stands for the tests in it."""

    name: str
    modules: tuple[str, ...]
    tests: tuple[str, ...]


GROUPS: Final = (
    Group(
        "url-policy",
        (
            "proxy/definitions/domains.py",
            "proxy/definitions/redirects.py",
            "proxy/definitions/suffixes.py",
            "proxy/definitions/templates/permitted.py",
            "proxy/definitions/templates/placeholders.py",
            "proxy/definitions/templates/urls.py",
            "proxy/outbound/destinations.py",
        ),
        (
            "tests/definitions/test_domains.py",
            "tests/definitions/test_url_refusals.py",
            "tests/definitions/test_redirects.py",
            "tests/definitions/test_urls.py",
            "tests/definitions/test_permitted.py",
            "tests/definitions/test_placeholders.py",
            "tests/outbound/test_destinations.py",
        ),
    ),
    Group(
        "injection",
        ("proxy/exchange/inject.py", "proxy/exchange/location.py", "proxy/exchange/rewrite.py", "proxy/wire/names.py"),
        ("tests/exchange", "tests/wire"),
    ),
    Group(
        "framing",
        ("proxy/wire/framing.py", "proxy/wire/request.py", "proxy/wire/response.py", "proxy/wire/shapes.py"),
        ("tests/wire",),
    ),
    Group(
        "redaction",
        ("proxy/observe/redact.py", "proxy/secret.py"),
        ("tests/observe/test_redact.py", "tests/observe/test_logging.py", "tests/observe/test_secret.py"),
    ),
    Group(
        "keeper",
        (
            "proxy/tokens/course.py",
            "proxy/tokens/keeper.py",
            "proxy/tokens/lease.py",
            "proxy/tokens/lifecycle.py",
            "proxy/tokens/pace.py",
            "proxy/tokens/waiters.py",
        ),
        (
            "tests/tokens/test_looking_at_a_life.py",
            "tests/tokens/test_what_operators_hear.py",
            "tests/tokens/test_lifecycle.py",
            "tests/tokens/test_edges_of_a_life.py",
            "tests/tokens/test_waiters.py",
            "tests/tokens/test_course.py",
            "tests/tokens/test_keeper_in_time.py",
            "tests/tokens/test_keeper.py",
            "tests/tokens/test_clocks.py",
            "tests/tokens/test_retries.py",
            "tests/tokens/test_reloaded.py",
            "tests/tokens/test_replicas.py",
            "tests/tokens/test_late_answers.py",
            "tests/tokens/test_consent.py",
            "tests/tokens/test_lifecycle_walk.py",
            "tests/tokens/test_server.py",
            "tests/tokens/test_issuer.py",
        ),
    ),
    Group(
        "stores",
        (
            "proxy/sealing.py",
            "proxy/tokens/store/breaker.py",
            "proxy/tokens/store/file.py",
            "proxy/tokens/store/memory.py",
            "proxy/tokens/store/record.py",
            "proxy/tokens/store/redis.py",
            "proxy/tokens/store/redis_names.py",
            "proxy/tokens/store/redis_pauses.py",
            "proxy/tokens/store/redis_records.py",
            "proxy/tokens/store/redis_turn.py",
        ),
        (
            "tests/definitions/test_sealed.py",
            "tests/tokens/test_record.py",
            "tests/tokens/test_stores.py",
            "tests/tokens/test_redis.py",
            "tests/tokens/test_redis_records.py",
            "tests/tokens/test_redis_names.py",
        ),
    ),
    Group(
        "callback",
        (
            "proxy/admin/authorize.py",
            "proxy/admin/cookies.py",
            "proxy/admin/tickets.py",
            "proxy/oauth/authorize.py",
            "proxy/oauth/pkce.py",
            "proxy/oauth/redirect.py",
            "proxy/runtime/authorizations.py",
            "proxy/tokens/authorizations.py",
        ),
        (
            "tests/tokens/test_authorizations.py",
            "tests/admin/test_authorize.py",
            "tests/admin/test_cookies.py",
            "tests/admin/test_tickets.py",
            "tests/oauth/test_callback_limits.py",
            "tests/oauth/test_redirect.py",
            "tests/oauth/test_authorize.py",
            "tests/runtime/test_authorizations.py",
        ),
    ),
)
