"""Which connection a request of the reverse listener belongs to: by port, host and path prefix. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.definitions.models import Connection


class Routed(Protocol):
    """What belongs to a connection, and is found by its route: a plan, as a rule."""

    @property
    def connection(self) -> Connection:
        """Whose it is."""
        ...


P = TypeVar("P", bound=Routed)


class RouteTable(Generic[P]):
    """The routes of one listener. Looking one up costs the same for one route and for a thousand."""

    __slots__ = ("_anywhere", "_by_host")

    def __init__(self, plans: Iterable[P]) -> None:
        self._by_host: dict[bytes, _Prefixes[P]] = {}
        self._anywhere: _Prefixes[P] = _Prefixes()
        for plan in plans:
            route = plan.connection.route
            if route is None:
                continue
            table = self._anywhere
            if route.host is not None:
                table = self._by_host.setdefault(route.host.lower().encode(), _Prefixes())
            table.add(route.prefix.rstrip("/").encode(), plan)

    def hosts(self) -> frozenset[bytes]:
        """The virtual hosts that some route names."""
        return frozenset(self._by_host)

    def find(self, host: bytes, target: bytes) -> P | None:
        """Return the plan whose route has the longest matching prefix; a virtual host's own routes come first.

        `host` is lower case and without a port. `/crm` matches `/crm`, `/crm/…` and `/crm?…`, never `/crmx`.
        """
        if self._by_host:
            own = self._by_host.get(host)
            if own is not None:
                plan = own.find(target)
                if plan is not None:
                    return plan
        return self._anywhere.find(target)


class _Prefixes(Generic[P]):
    """Path prefixes by their first segment, the longest first."""

    __slots__ = ("_by_segment", "_everything")

    def __init__(self) -> None:
        self._by_segment: dict[bytes, list[tuple[bytes, P]]] = {}
        self._everything: P | None = None

    def add(self, prefix: bytes, plan: P) -> None:
        if not prefix:
            self._everything = plan
            return
        entries = self._by_segment.setdefault(_first_segment(prefix), [])
        entries.append((prefix, plan))
        entries.sort(key=lambda entry: -len(entry[0]))

    def find(self, target: bytes) -> P | None:
        end = target.find(b"/", 1)
        segment = target if end < 0 else target[:end]
        entries = self._by_segment.get(segment)
        if entries is None:  # a query may stand behind it
            segment = _first_segment(target)
            entries = self._by_segment.get(segment)
        if entries is not None:
            for prefix, plan in entries:
                if len(prefix) == len(segment):  # it is the segment, which ends where a prefix may
                    return plan
                if target.startswith(prefix) and target[len(prefix) : len(prefix) + 1] in (b"", b"/", b"?"):
                    return plan
        return self._everything


def _first_segment(target: bytes) -> bytes:
    end = target.find(b"/", 1)
    segment = target if end < 0 else target[:end]
    mark = segment.find(b"?")
    return segment if mark < 0 else segment[:mark]
