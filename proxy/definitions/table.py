"""The top of the file: every key outside iClients and connections, with its kind, range and default."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from proxy.definitions.connections import CONNECTION
from proxy.definitions.destinations import EGRESS_PROXY
from proxy.definitions.iclients import ICLIENT
from proxy.definitions.listeners import LISTENERS
from proxy.definitions.notation.kinds import Choice, Duration, Flag, Kind, Size, Whole
from proxy.definitions.notation.nodes import Mapping, Node, Scalar, shown
from proxy.definitions.notation.shapes import EXTENSION, AutoOr, Block, Key, as_mapping
from proxy.definitions.state_dir import STATE_DIR
from proxy.definitions.stores import STORE

if TYPE_CHECKING:
    from proxy.definitions.notation.reading import Reading

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_KIB, _MIB = 1024, 1024**2


@dataclass(frozen=True)
class Only(Kind[int]):
    """A whole number of which one value alone is known."""

    number: int

    def read(self, node: Node, reading: Reading) -> int:
        if isinstance(node, Scalar) and node.plain and node.text == str(self.number):
            return self.number
        raise reading.refused(node, "unknown_value", f"only {self.number} is known")

    def schema(self) -> dict[str, Any]:
        return {"const": self.number}


@dataclass(frozen=True)
class Named(Kind[dict[str, Node]]):
    """A map of names to blocks; the blocks are read one by one, after their defaults are laid under them."""

    block: Block
    ref: str

    def read(self, node: Node, reading: Reading) -> dict[str, Node]:
        named = {}
        for name, child in as_mapping(node, reading).entries.items():
            if name.startswith(EXTENSION):
                continue
            if not NAME.fullmatch(name):
                reading.fault(
                    child,
                    "invalid_name",
                    f"{shown(name)} is not a name: a-z, 0-9, _ and -, at most 63, the first one a letter or digit",
                )
            named[name] = child
        return named

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "patternProperties": {"^(?!x-)[a-z0-9][a-z0-9_-]{0,62}$": {"$ref": self.ref}, "^x-": {}},
            "additionalProperties": False,
        }


@dataclass(frozen=True)
class Span(Kind[Any]):
    """`{min, max}` for what doubles between them."""

    low: str
    high: str
    default: tuple[str, str]

    def block(self) -> Block:
        duration = Duration(self.low, self.high)
        keys = {
            "min": Key(duration, "The first one.", default=self.default[0]),
            "max": Key(duration, "The last one.", default=self.default[1]),
        }
        return Block(keys)

    def read(self, node: Node, reading: Reading) -> Any:  # noqa: ANN401 Fields, or nothing where it raises
        fields = self.block().read(node, reading)
        low = fields.values.get("min", Duration().read(_default(node, self.default[0]), reading))
        high = fields.values.get("max", Duration().read(_default(node, self.default[1]), reading))
        if not fields.broken and low > high:
            raise reading.refused(node, "out_of_range", "min is larger than max")
        return {"min": low, "max": high}

    def merge(self, under: Node, over: Node) -> Node:
        return self.block().merge(under, over)

    def schema(self) -> dict[str, Any]:
        return self.block().schema()


def _default(node: Node, text: str) -> Scalar:
    return Scalar(text, True, node.place, node.path)


LIMITS: Final = Block(
    {
        "head_timeout": Key(Duration(), "Until the head of a request is complete.", default="10s"),
        "body_idle": Key(Duration(), "Between two pieces of a request body.", default="30s"),
        "keep_alive": Key(Duration(), "An idle stream of an application stays open this long.", default="75s"),
        "write_idle": Key(Duration(), "An application may take this long to read nothing.", default="60s"),
        "head_size": Key(Size(_KIB, _MIB), "Largest head.", default="64KiB"),
        "header_line": Key(Size(256, _MIB), "Longest header line.", default="16KiB"),
        "header_fields": Key(Whole(1, 10_000), "Most header fields.", default=128),
        "target": Key(Size(64, _MIB), "Longest request target.", default="16KiB"),
        "connections": Key(
            AutoOr(Whole(1, 1_000_000)), "Most streams of applications; auto: half of the file limit.", default="auto"
        ),
        "upstream_streams": Key(
            Whole(1, 1_000_000), "Most streams to upstreams, as far as the file limit goes.", default=1000
        ),
        "upstream_idle": Key(Duration(), "An idle stream to an upstream stays open this long.", default="30s"),
        "tunnels": Key(Whole(1, 1_000_000), "Most tunnels.", default=1000),
        "tunnel_idle": Key(Duration(), "A silent tunnel stays open this long.", default="5m"),
        "replay_memory": Key(
            AutoOr(Size(0, 1024**4)),
            "Memory for bodies that are kept for a replay; auto: 64MiB or an eighth of the cgroup's.",
            default="auto",
        ),
        "token_wait": Key(Duration(), "A request waits this long for a token.", default="15s"),
        "token_connect": Key(Duration(), "Until the stream to the token endpoint is open.", default="3s"),
        "token_total": Key(Duration(), "One token request as a whole.", default="10s"),
        "token_answer": Key(Size(_KIB, 16 * _MIB), "Largest answer of a token endpoint.", default="1MiB"),
        "inspect_raw": Key(Size(_KIB, 64 * _MIB), "Largest part of a response that is searched.", default="64KiB"),
        "inspect_decoded": Key(
            Size(_KIB, 64 * _MIB), "Largest part of it when its compression is undone.", default="256KiB"
        ),
        "inspect_hold": Key(Duration(), "A response that is searched is held back this long.", default="2s"),
        "backoff": Key(Span("10ms", "1h", ("1s", "60s")), "Between failed token requests."),
        "brake": Key(Duration("1s"), "After an answer that repeating would not change.", default="5m"),
        "cooldown": Key(Span("1s", "24h", ("30s", "10m")), "After a renewal that did not help."),
        "definitions": Key(Whole(1, 100_000), "Most connections, and most iClients.", default=1000),
    },
)

TOP: Final = Block(
    {
        "version": Key(Only(1), "Version of this format.", default=1),
        "workers": Key(Whole(1, 64), "Processes that share the listeners; one more keeps the tokens.", default=1),
        "egress_proxy": Key(
            EGRESS_PROXY,
            "HTTP proxy that streams to upstreams and token endpoints go through: http://user:password@host:port.",
            nullable=True,
        ),
        "via": Key(Choice(("forward", "always", "never")), "Where Via is added to requests.", default="forward"),
        "allow_inline_secrets": Key(Flag(), "Secrets may stand in the file.", default=False),
        "defaults": Key(
            Block(
                {
                    "iclient": Key(ICLIENT, "Under every iClient."),
                    "connection": Key(CONNECTION, "Under every connection."),
                },
            ),
            "Laid under each iClient and connection, key by key.",
        ),
        "listeners": Key(LISTENERS, "Where the proxy listens."),
        "state_dir": STATE_DIR,
        "store": Key(STORE, "Token store."),
        "log": Key(
            Block(
                {
                    "level": Key(
                        Choice(("debug", "info", "warning", "error")), "Least level that is written.", default="info"
                    ),
                    "format": Key(
                        Choice(("auto", "console", "json")), "auto: console on a terminal, else json.", default="auto"
                    ),
                    "access": Key(Flag(), "One line per exchange.", default=True),
                },
            ),
            "Logs.",
        ),
        "shutdown": Key(
            Block(
                {
                    "drain_delay": Key(Duration("0s", "1h"), "Goes on accepting for this long.", default="5s"),
                    "grace": Key(Duration("0s", "24h"), "Then exchanges may take this long to end.", default="25s"),
                    "revoke": Key(Flag(), "Revoke all tokens at the end.", default=False),
                },
            ),
            "What happens on SIGTERM.",
        ),
        "limits": Key(LIMITS, "Limits and timeouts."),
        "iclients": Key(Named(ICLIENT, "#/$defs/iclient"), "OAuth 2.0 client registrations by name."),
        "connections": Key(
            Named(CONNECTION, "#/$defs/connection"), "Upstreams by name, and how they want their token."
        ),
    },
)


def merge_files(roots: list[Mapping], reading: Reading) -> Mapping:
    """Return the keys of all files as one mapping; what two files define is a fault that names both places."""
    merged: dict[str, Node] = {}
    for root in roots:
        for name, node in root.entries.items():
            there = merged.get(name)
            if there is None or name == "version" or name.startswith(EXTENSION):
                merged[name] = node
            elif isinstance(there, Mapping) and isinstance(node, Mapping):
                merged[name] = _merge_blocks(there, node, reading)
            elif not _nothing(node):
                if not _nothing(there):
                    reading.fault(
                        node, "duplicate_name", f"{name} is already defined at {there.place}; keep one of the two"
                    )
                merged[name] = node
    first = roots[0]
    return Mapping(merged, first.place, "")


def _merge_blocks(one: Mapping, other: Mapping, reading: Reading) -> Mapping:
    entries = dict(one.entries)
    for name, node in other.entries.items():
        if name in entries and not name.startswith(EXTENSION):
            reading.fault(
                node, "duplicate_name", f"this name is already defined at {entries[name].place}; keep one of the two"
            )
        entries.setdefault(name, node)
    return Mapping(entries, one.place, one.path)


def _nothing(node: Node) -> bool:
    return isinstance(node, Scalar) and node.is_null
