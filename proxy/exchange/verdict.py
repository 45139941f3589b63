"""What the proxy would do with a recorded response, and why: asked of the very classifier of the data path. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from proxy.exchange.classify import OPEN, Match, challenge_errors, is_built_in_never
from proxy.exchange.document import Unread, UnreadableError
from proxy.exchange.inspection import Inspection
from proxy.exchange.policy import Next, decide, may_replay
from proxy.exchange.replay import HeldResponse, ReplayMemory

if TYPE_CHECKING:
    from proxy.definitions.models import Replay
    from proxy.exchange.classify import Classifier, Rule
    from proxy.exchange.document import Document
    from proxy.exchange.inspection import Bounds
    from proxy.exchange.recorded import Recorded

_SHOWN_MAX: Final = 80  # characters of a value: enough to recognize it


@dataclass(frozen=True, slots=True)
class Reason:
    """What one rule says, in words."""

    name: str
    group: Literal["any", "never"]
    matches: bool
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The verdict on one response. `rule` is None when it is no auth error.

    `ways` says what follows for a first attempt whose body is at hand, for an idempotent method (GET) and for another
    (POST). `body` says what was read of the body. `reasons` holds every rule in the order in which it is asked.
    """

    status: int
    rule: str | None
    ways: dict[str, Next]
    body: str
    reasons: tuple[Reason, ...]
    notes: tuple[str, ...]


def explain(classifier: Classifier, replay: Replay, bounds: Bounds, recorded: Recorded) -> Explanation:
    """Judge a response as the data path would if it came whole, with its head."""
    head = recorded.head
    held = HeldResponse(head, recorded.body, done=True)
    verdict = classifier.judge(head)
    document: Document | Unread | None = None
    if verdict is OPEN:
        inspection = Inspection(
            classifier, bounds, ReplayMemory(len(recorded.body)), held, chunked=False, bodiless=False
        )
        inspection.is_settled()
        document, verdict = inspection.document, inspection.verdict()
    rule = verdict if isinstance(verdict, str) else None
    reasons = (
        *(_reason("never", each, recorded, document) for each in classifier.sparing),
        *(_reason("any", each, recorded, document) for each in classifier.accusing),
    )
    notes = recorded.notes
    if is_built_in_never(challenge_errors(head.fields.www_authenticate)):
        notes += ('a challenge says error="insufficient_scope": more rights are asked for, not another token',)
    ways = {
        method: decide(
            is_auth_error=rule is not None,
            attempt=1,
            renews=True,
            replayable=may_replay(replay, method.encode(), head.status),
        )
        for method in ("GET", "POST")
    }
    return Explanation(head.status, rule, ways, _about(document), reasons, notes)


def _about(document: Document | Unread | None) -> str:
    if document is None:
        return "not looked at: the head decides"
    if isinstance(document, Unread):
        return f"not read: {document.value}"
    return document.kind


def _reason(
    group: Literal["any", "never"], rule: Rule, recorded: Recorded, document: Document | Unread | None
) -> Reason:
    head = recorded.head
    errors = challenge_errors(head.fields.www_authenticate)
    try:
        match = rule.match(head.status, errors, document)
    except UnreadableError as error:
        document = error.reason
        match = rule.match(head.status, errors, document)
    return Reason(rule.name, group, match is Match.YES, _why(match, rule, head.status, errors, document))


def _why(match: Match, rule: Rule, status: int, errors: frozenset[bytes], document: Document | Unread | None) -> str:
    match match:
        case Match.STATUS:
            return f"its status is not {status}"
        case Match.CHALLENGE:
            found = ", ".join(sorted(_shown(error.decode("latin-1")) for error in errors))
            return f"no challenge has its error; found: {found or 'none'}"
        case Match.BODY if isinstance(document, Unread):
            return f"the body was not read: {document.value}"
        case Match.VALUE if rule.path is not None and document is not None and not isinstance(document, Unread):
            found = ", ".join(
                "a list or an object" if one.text is None else _shown(one.text) for one in document.at(rule.path)
            )
            return f"at {rule.path.text} stands {found}"
        case _:
            return str(match.value)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…")
