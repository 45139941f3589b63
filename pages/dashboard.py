"""The Grafana dashboard as a table of panels: what an operator wants to see of the proxies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, Literal

_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
# What the variables at the top of the dashboard choose.
_CHOSEN: Final = 'job=~"$job",instance=~"$instance"'
_CONNECTION: Final = f'{_CHOSEN},connection=~"$connection"'
_COLUMNS: Final = 24
_HEIGHT: Final = 7
# Each state has the colour of what it means for the application: served, served still, not served, a human is wanted.
_COLOURS: Final = {
    "valid": "green",
    "due": "light-green",
    "disputed": "yellow",
    "none": "light-blue",
    "expired": "light-orange",
    "spent": "light-orange",
    "backoff": "orange",
    "braked": "red",
    "authorization_required": "dark-red",
    "not_applicable": "text",
}

_NEAREST_END: Final = (
    f"min by (connection, peer) (iclient_proxy_client_certificate_expiry_timestamp_seconds{{{_CONNECTION}}}) - time()"
)

Kind = Literal["timeseries", "stat", "table"]


@dataclass(frozen=True)
class Panel:
    """One panel: `queries` are pairs of an expression and its legend; `width` is in twenty-fourths of the page."""

    title: str
    about: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    width: int = 8
    kind: Kind = "timeseries"
    stacked: bool = False


def _quantile(share: str, name: str, of: str, by: str) -> str:
    return f"histogram_quantile({share}, sum by ({by}) (rate(iclient_proxy_{name}_bucket{{{of}}}[$__rate_interval])))"


def _rate(name: str, of: str, by: str) -> str:
    return f"sum by ({by}) (rate(iclient_proxy_{name}{{{of}}}[$__rate_interval]))"


ROWS: Final[tuple[tuple[str, tuple[Panel, ...]], ...]] = (
    (
        "At a glance",
        (
            Panel("Proxies", "How many answer their scrape.", ((f"sum(up{{{_CHOSEN}}})", ""),), kind="stat", width=4),
            Panel(
                "Connections without a token",
                "Back-off, brake, or waiting for a human: their requests get 503.",
                (
                    (
                        f'sum(iclient_proxy_token_state{{{_CONNECTION},state=~"backoff|braked|authorization_required"}})',
                        "",
                    ),
                ),
                kind="stat",
                width=5,
            ),
            Panel(
                "Requests a second",
                "Exchanges that ended.",
                ((f"sum(rate(iclient_proxy_requests_total{{{_CONNECTION}}}[$__rate_interval]))", ""),),
                unit="reqps",
                kind="stat",
                width=5,
            ),
            Panel(
                "Answered by the proxy itself",
                "Own answers of the last hour: no token, no route, upstream away …",
                ((f"sum(increase(iclient_proxy_local_replies_total{{{_CHOSEN}}}[1h]))", ""),),
                kind="stat",
                width=5,
            ),
            Panel(
                "Definitions",
                "1: the last reload was applied everywhere; 0: somewhere a fault was refused.",
                ((f"min(iclient_proxy_config_last_reload_successful{{{_CHOSEN}}})", ""),),
                kind="stat",
                width=5,
            ),
        ),
    ),
    (
        "Tokens",
        (
            Panel(
                "State",
                "The state of each connection's token; see docs/life-of-a-token.md.",
                ((f"max by (connection, state) (iclient_proxy_token_state{{{_CONNECTION}}} == 1)", "{{connection}}"),),
                kind="table",
            ),
            Panel(
                "Time until the token expires",
                "A saw: it is renewed before it reaches 0 while somebody uses it.",
                (
                    (
                        f"min by (connection) (iclient_proxy_token_expiry_timestamp_seconds{{{_CONNECTION}}}) - time()",
                        "{{connection}}",
                    ),
                ),
                unit="s",
            ),
            Panel(
                "Token requests",
                "By how they ended.",
                ((_rate("token_requests_total", _CONNECTION, "connection, outcome"), "{{connection}} {{outcome}}"),),
                unit="reqps",
            ),
            Panel(
                "Duration of token requests",
                "99 in 100 are faster.",
                (
                    (
                        _quantile("0.99", "token_request_duration_seconds", _CONNECTION, "le, connection"),
                        "{{connection}}",
                    ),
                ),
                unit="s",
            ),
            Panel(
                "Clock of the authorization server minus ours",
                "More than a few seconds break assertions and lifetimes.",
                (
                    (
                        f"max by (connection) (iclient_proxy_as_clock_skew_seconds{{{_CONNECTION}}})",
                        "{{connection}}",
                    ),
                ),
                unit="s",
            ),
            Panel(
                "Grants that a restart would lose",
                "Kept in memory only; a store keeps them.",
                ((f"max by (connection) (iclient_proxy_grant_at_risk{{{_CONNECTION}}})", "{{connection}}"),),
            ),
        ),
    ),
    (
        "Requests",
        (
            Panel(
                "By status",
                "What applications got.",
                ((_rate("requests_total", _CONNECTION, "connection, code"), "{{connection}} {{code}}"),),
                unit="reqps",
                stacked=True,
            ),
            Panel(
                "Duration",
                "Half and 99 in 100 are faster.",
                (
                    (_quantile("0.5", "request_duration_seconds", _CONNECTION, "le, connection"), "{{connection}} p50"),
                    (
                        _quantile("0.99", "request_duration_seconds", _CONNECTION, "le, connection"),
                        "{{connection}} p99",
                    ),
                ),
                unit="s",
            ),
            Panel(
                "Of it, the upstream's",
                "99 in 100 are faster.",
                (
                    (
                        _quantile("0.99", "upstream_duration_seconds", _CONNECTION, "le, connection"),
                        "{{connection}} p99",
                    ),
                ),
                unit="s",
            ),
            Panel(
                "Auth errors",
                "Responses that a rule took for a refused token, by rule.",
                ((_rate("auth_errors_total", _CONNECTION, "connection, rule"), "{{connection}} {{rule}}"),),
                unit="reqps",
            ),
            Panel(
                "What became of them",
                "accepted: the second attempt got through. The others were relayed.",
                ((_rate("replays_total", _CONNECTION, "connection, outcome"), "{{connection}} {{outcome}}"),),
                unit="reqps",
            ),
            Panel(
                "Own answers",
                "By code; see docs/reference/problems.md.",
                ((_rate("local_replies_total", _CHOSEN, "code"), "{{code}}"),),
                unit="reqps",
                stacked=True,
            ),
        ),
    ),
    (
        "Processes",
        (
            Panel(
                "What the proxy itself takes",
                "Time of an exchange that neither upstream nor token took: 99 in 100 are faster.",
                ((_quantile("0.99", "overhead_seconds", _CHOSEN, "le, instance"), "{{instance}}"),),
                unit="s",
            ),
            Panel(
                "CPU",
                "Cores in use.",
                ((f"rate(process_cpu_seconds_total{{{_CHOSEN}}}[$__rate_interval])", "{{instance}}"),),
            ),
            Panel(
                "Resident memory",
                "",
                ((f"process_resident_memory_bytes{{{_CHOSEN}}}", "{{instance}}"),),
                unit="bytes",
            ),
            Panel(
                "Under way",
                "Exchanges and tunnels open now.",
                (
                    (f"iclient_proxy_in_flight_requests{{{_CHOSEN}}}", "{{instance}} exchanges"),
                    (f"iclient_proxy_tunnels_open{{{_CHOSEN}}}", "{{instance}} tunnels"),
                ),
            ),
            Panel(
                "File descriptors",
                "Of those that the process may have.",
                ((f"process_open_fds{{{_CHOSEN}}} / process_max_fds{{{_CHOSEN}}}", "{{instance}}"),),
                unit="percentunit",
            ),
            Panel(
                "Memory and the loop",
                "Pressure: 1 nearly full, 2 full. Stalls: the event loop did nothing for more than a second.",
                (
                    (f"iclient_proxy_memory_pressure{{{_CHOSEN}}}", "{{instance}} pressure"),
                    (f"increase(iclient_proxy_loop_stalls_total{{{_CHOSEN}}}[5m])", "{{instance}} stalls"),
                ),
            ),
            Panel(
                "Lag of the loop",
                "How late it comes to its sweep: 99 in 100 are less.",
                ((_quantile("0.99", "loop_lag_seconds", _CHOSEN, "le, instance"), "{{instance}}"),),
                unit="s",
            ),
            Panel(
                "Log lines dropped",
                "Nobody took them.",
                ((_rate("log_lines_dropped_total", _CHOSEN, "instance"), "{{instance}}"),),
            ),
            Panel(
                "Slow clients closed",
                "Clients that neither read nor wrote.",
                ((_rate("slow_clients_closed_total", _CHOSEN, "instance"), "{{instance}}"),),
            ),
            Panel(
                "The store of grants",
                "1 while the server of the grants does what it is asked.",
                ((f"iclient_proxy_store_available{{{_CHOSEN}}}", "{{instance}}"),),
            ),
            Panel(
                "What the store did not do",
                "By operation.",
                ((_rate("store_errors_total", _CHOSEN, "operation"), "{{operation}}"),),
            ),
            Panel(
                "Client certificates expire in",
                "The nearest end of those that are shown.",
                (
                    (
                        _NEAREST_END,
                        "{{connection}} {{peer}}",
                    ),
                ),
                unit="s",
            ),
        ),
    ),
    (
        "Workers, where there are several",
        (
            Panel(
                "Workers that serve",
                "And how often one was begun anew.",
                (
                    (f"sum by (instance) (iclient_proxy_worker_up{{{_CHOSEN}}})", "{{instance}} serving"),
                    (
                        f"sum by (instance) (increase(iclient_proxy_worker_starts_total{{{_CHOSEN}}}[5m]))",
                        "{{instance}} begun anew",
                    ),
                ),
            ),
            Panel(
                "CPU of workers",
                "Cores in use.",
                ((_rate("worker_cpu_seconds_total", _CHOSEN, "instance, worker"), "{{instance}} {{worker}}"),),
            ),
            Panel(
                "Resident memory of workers",
                "",
                ((f"iclient_proxy_worker_resident_memory_bytes{{{_CHOSEN}}}", "{{instance}} {{worker}}"),),
                unit="bytes",
            ),
            Panel(
                "File descriptors of workers",
                "",
                ((f"iclient_proxy_worker_open_fds{{{_CHOSEN}}}", "{{instance}} {{worker}}"),),
            ),
        ),
    ),
)


def page() -> str:
    """Return the dashboard as JSON, for Grafana 9 and newer."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, members in ROWS:
        panels.append({"type": "row", "title": title, "collapsed": False, "gridPos": _place(0, top, _COLUMNS, 1)})
        left, top = 0, top + 1
        for panel in members:
            if left + panel.width > _COLUMNS:
                left, top = 0, top + _height(members)
            panels.append(_panel(panel, _place(left, top, panel.width, _height(members))))
            left += panel.width
        top += _height(members)
    for number, made in enumerate(panels, 1):
        made["id"] = number
    dashboard = {
        "uid": "iclient-proxy",
        "title": "iclient-proxy",
        "tags": ["oauth", "proxy"],
        "schemaVersion": 38,
        "editable": True,
        "time": {"from": "now-3h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": _variables()},
        "panels": panels,
    }
    return json.dumps(dashboard, indent=1) + "\n"


def _height(members: tuple[Panel, ...]) -> int:
    return 4 if all(panel.kind == "stat" for panel in members) else _HEIGHT


def _place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    instant = panel.kind != "timeseries"
    made: dict[str, Any] = {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _SOURCE,
                "expr": expression,
                "legendFormat": legend,
                **({"instant": True, "range": False} if instant else {"range": True}),
                **({"format": "table"} if panel.kind == "table" else {}),
            }
            for number, (expression, legend) in enumerate(panel.queries)
        ],
    }
    if panel.stacked:
        made["fieldConfig"]["defaults"]["custom"] = {"stacking": {"mode": "normal"}, "fillOpacity": 20}
    if panel.kind == "table":
        mappings = {state: {"color": colour, "index": index} for index, (state, colour) in enumerate(_COLOURS.items())}
        made["fieldConfig"]["defaults"] |= {
            "mappings": [{"type": "value", "options": mappings}],
            "custom": {"cellOptions": {"type": "color-text"}},
        }
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": {"Time": True, "Value": True}}}]
    return made


def _variables() -> list[dict[str, Any]]:
    of = {"job": "iclient_proxy_build_info", "instance": 'iclient_proxy_build_info{job=~"$job"}'}
    of["connection"] = f"iclient_proxy_requests_total{{{_CHOSEN}}}"
    return [
        {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        *(
            {
                "name": name,
                "label": name.capitalize(),
                "type": "query",
                "datasource": _SOURCE,
                "query": {"query": f"label_values({series}, {name})", "refId": name},
                "refresh": 2,
                "includeAll": True,
                "allValue": ".*",
                "multi": True,
                "current": {"text": "All", "value": "$__all"},
            }
            for name, series in of.items()
        ),
    ]
