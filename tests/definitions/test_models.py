"""What the loader makes of definitions that are right: defaults, inheritance, folders."""

import pytest

from proxy.definitions.load import load
from proxy.definitions.models import (
    AuthErrorRule,
    AuthErrors,
    Definitions,
    HeaderPlacement,
    IClient,
    QueryPlacement,
    Replay,
    Route,
    SendTokenVia,
    Timeouts,
)
from proxy.definitions.settings import Limits, Span, TcpBind, UnixBind
from proxy.definitions.templates.placeholders import compile_template, literal
from proxy.definitions.templates.urls import compile_url
from proxy.errors import DefinitionsError
from proxy.secret import Secret
from tests.definitions.written import (
    ENVIRON,
    ONE,
    closed_folder,
    codes,
    connection,
    definitions,
    loaded,
    with_connection,
    with_iclient,
    write,
)

case = pytest.mark.case


def test_the_shortest_definition_is_enough(folder):
    found = definitions(folder, ONE)

    acme = found.connections[0]
    assert acme.iclient == IClient(
        name="acme",
        grant_type="client_credentials",
        client_auth="client_secret_basic",
        token_url=compile_url("https://auth.acme.com/oauth/token"),
        client_id=literal("my-app"),
        client_secret=Secret("canary-value"),
        valid_domains=("auth.acme.com",),
    )
    assert (acme.base_url, acme.route, acme.hosts) == ("https://api.acme.com", Route(prefix="/acme"), ("api.acme.com",))
    assert found == Definitions(connections=(acme,))


def test_limits_are_seconds_and_bytes(folder):
    sizes = "head_size: 128KiB, target: 8000, connections: 10"
    text = f"limits: {{token_wait: 1m30s, token_connect: 500ms, cooldown: {{max: 1h}}, {sizes}}}\n"

    limits = definitions(folder, text + ONE).limits

    assert limits == Limits(
        token_wait=90, token_connect=0.5, head_size=131072, target=8000, cooldown=Span(min=30, max=3600), connections=10
    )


@pytest.mark.parametrize(
    ("written", "kept"), [("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h", 3600), ("1h30m", 5400), ("1.5s", 1.5)]
)
def test_durations_have_a_unit(folder, written, kept):
    assert connection(folder, with_connection(f"timeouts: {{response: {written}}}")).timeouts.response == kept


@pytest.mark.parametrize(("written", "kept"), [("0.25", 0.25), ("0", 0), ("5m", 300), ("2s", 2)])
def test_refresh_ahead_is_a_ratio_or_a_duration(folder, written, kept):
    iclient = connection(folder, with_iclient(f"refresh_ahead: {written}")).iclient

    assert (iclient.refresh_ahead, iclient.refresh_ahead_written) == (kept, True)


def test_keep_alive_can_be_switched_off(folder):
    assert connection(folder, with_iclient("keep_alive: null")).iclient.keep_alive is None
    assert connection(folder, with_iclient("keep_alive: 6h")).iclient.keep_alive == 21600


@pytest.mark.parametrize(
    ("written", "kept"),
    [("scopes: read write", ("read", "write")), ("scopes: [read, write]", ("read", "write")),
     ('scopes: "read, write"\nscope_delimiter: ","', ("read", "write")), ("scopes: 1", ("1",))],
)  # fmt: skip
def test_scopes_are_a_list_or_text_split_at_the_delimiter(folder, written, kept):
    found = connection(folder, with_iclient(written))

    assert (found.iclient.scopes, found.scopes) == (kept, kept)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("client_id: a\nclient_secret: {env: SECRET}", "client_secret_basic"),
        ("client_id: a\nclient_secret: {env: SECRET}\nclient_auth: client_secret_post", "client_secret_post"),
        ("client_id: a", "none"),
        ("client_id: a\nclient_auth: none", "none"),
    ],
)
def test_client_auth_follows_from_what_is_written(folder, lines, expected):
    written = "".join(f"      {line}\n" for line in lines.splitlines())
    text = ONE.split("      client_id")[0] + written

    assert connection(folder, text).iclient.client_auth == expected


def test_a_connection_inherits_from_its_iclient_what_it_does_not_write_itself(folder):
    text = """iclients:
  shared:
    grant_type: password
    token_url: https://auth.acme.com/t
    client_id: a
    scopes: [a, b]
    send_token_via: {query: {name: token}}
    auth_errors: [{status: 403}]
connections:
  heir: {iclient: shared, base_url: https://a.acme.com, username: 0012, password: {env: SECRET}}
  own:
    iclient: shared
    base_url: https://a.acme.com
    username: u
    password: {env: SECRET}
    scopes: c d
    send_token_via: {header: {name: X-Token, scheme: ""}}
    auth_errors: [{www_authenticate: invalid_token}]
"""
    heir, own = definitions(folder, text).connections

    assert heir.scopes == ("a", "b")
    assert heir.send_token_via == SendTokenVia(query=QueryPlacement(name="token"))
    assert heir.auth_errors == AuthErrors(any=(AuthErrorRule(name="any[0]", status=((403, 403),)),))
    assert (heir.username, heir.password) == ("0012", Secret("canary-value"))
    assert own.scopes == ("c", "d")
    assert own.send_token_via == SendTokenVia(header=HeaderPlacement(name="X-Token", scheme=""))
    assert own.auth_errors == AuthErrors(
        any=(
            AuthErrorRule(name="any[0]", www_authenticate="invalid_token"),
            AuthErrorRule(name="status-401", status=((401, 401),)),
        )
    )
    assert heir.iclient == own.iclient


def test_rules_have_names_ranges_and_a_long_form(folder):
    text = with_connection('auth_errors: {any: [{name: mine, status: ["400-403", 419]}], never: [{status: 402}]}')

    assert connection(folder, text).auth_errors == AuthErrors(
        any=(AuthErrorRule(name="mine", status=((400, 403), (419, 419))),),
        never=(AuthErrorRule(name="never[0]", status=((402, 402),)),),
    )


def test_defaults_are_laid_under_key_by_key(folder):
    text = """defaults:
  iclient: {scopes: [a], basic_encoding: raw, tls: {server_name: auth.internal}}
  connection:
    timeouts: {connect: 1s, response: 2s}
    replay: {methods: never}
    headers: {X-Kept: default, X-Mine: default, Authorization: not on connections with a token}
    send_token_via: {query: {name: t}}
    username: unused
connections:
  a:
    base_url: https://a.acme.com
    timeouts: {response: 3s}
    headers: {x-mine: own}
    send_token_via: {header: {name: Authorization}}
    iclient:
      grant_type: client_credentials
      token_url: https://auth.acme.com/t
      client_id: a
      client_secret: {env: SECRET}
      tls: {verify: true}
  b: {base_url: https://b.acme.com}
"""
    a, b = definitions(folder, text).connections

    assert a.timeouts == Timeouts(connect=1, response=3)
    assert a.replay == Replay(methods="never")
    assert a.headers == (("X-Kept", literal("default")), ("x-mine", literal("own")))
    assert a.send_token_via == SendTokenVia(header=HeaderPlacement())
    assert a.username is None
    assert (a.iclient.scopes, a.iclient.basic_encoding, a.iclient.tls.server_name) == (("a",), "raw", "auth.internal")
    assert b.headers[-1] == ("Authorization", literal("not on connections with a token"))


def test_headers_are_set_or_removed(folder):
    found = connection(folder, with_connection("headers: {X-Tenant: 7, X-Date: 2026-01-01, X-Gone: null, X-Empty: ''}"))

    texts = [(name, value.text if value is not None else None) for name, value in found.headers]
    assert texts == [("X-Tenant", "7"), ("X-Date", "2026-01-01"), ("X-Gone", None), ("X-Empty", "")]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{prefix: /crm/}", Route(prefix="/crm")),
        ("{prefix: /}", Route(prefix="/")),
        ("{host: CRM.Example., strip: false}", Route(prefix="/acme", host="crm.example", strip=False)),
        ('{bind: "[::1]:9001"}', Route(prefix="/acme", bind=TcpBind(host="::1", port=9001))),
        ("false", None),
    ],
)
def test_routes(folder, written, expected):
    assert connection(folder, with_connection(f"route: {written}")).route == expected


@pytest.mark.parametrize(
    ("written", "kept"),
    [("https://api.acme.com/", "https://api.acme.com"), ("HTTPS://API.acme.com./v1", "https://api.acme.com/v1"),
     ("https://api.acme.com:443/v1/", "https://api.acme.com/v1/"), ('"http://[::1]:3000"', "http://[::1]:3000")],
)  # fmt: skip
def test_a_base_url_is_kept_in_its_canonical_spelling(folder, written, kept):
    assert connection(folder, ONE.replace("https://api.acme.com", written)).base_url == kept


def test_listeners_are_one_or_a_list_or_closed(folder):
    one = definitions(
        folder, "listeners: {reverse: {bind: 'localhost:0'}, admin: false, forward: false}\n" + ONE
    ).listeners
    several = definitions(
        folder, "listeners: {reverse: [{bind: 'unix:/run/a'}, {}], admin: {auth: {env: SECRET}}}\n" + ONE
    ).listeners

    assert [listener.bind for listener in one.reverse] == [TcpBind(host="localhost", port=0)]
    assert one.admin is None
    assert [listener.bind for listener in several.reverse] == [
        UnixBind(path="/run/a"),
        TcpBind(host="127.0.0.1", port=7480),
    ]
    assert several.admin.auth == Secret("canary-value")


@pytest.mark.parametrize("route", ["false", '{bind: "127.0.0.1:0"}'])
def test_a_reverse_listener_is_on_when_a_connection_has_a_route_on_it(folder, route):
    assert definitions(folder, ONE).listeners.reverse != ()
    assert definitions(folder, with_connection(f"route: {route}")).listeners.reverse == ()


def test_a_route_that_no_listener_serves_is_a_warning(folder):
    (warning,) = loaded(folder, "listeners: {reverse: false}\n" + ONE).warnings

    assert warning.code == "unreachable"


def test_a_listener_beyond_loopback_is_fine_with_a_credential(folder):
    text = "listeners: {reverse: {bind: '0.0.0.0:0', auth: {basic: {username: u, password: {env: SECRET}}}}}\n"

    (listener,) = definitions(folder, text + ONE).listeners.reverse

    assert listener.auth.basic.password == Secret("canary-value")


def test_hosts_are_accepted_without_a_forward_listener(folder):
    assert connection(folder, with_connection('hosts: ["*.Acme.com", api.acme.com]')).hosts == (
        "*.acme.com",
        "api.acme.com",
    )
    assert connection(folder, with_connection("hosts: []")).hosts == ()


def test_keys_that_mean_what_happens_anyway_are_accepted(folder):
    text = "version: 1\nworkers: 1\nstate_dir: null\negress_proxy: null\nstore: {kind: memory}\n"
    text += "listeners: {forward: false}\nshutdown: {revoke: false}\n"

    assert definitions(folder, text + ONE) == definitions(folder, ONE)


def test_blocks_whose_keys_are_commented_out_are_empty(folder):
    assert definitions(folder, "limits:\nlisteners:\ndefaults:\niclients:\n" + ONE) == definitions(folder, ONE)


def test_no_connection_is_a_warning(folder):
    (warning,) = loaded(folder, "connections: {}\n").warnings

    assert warning.code == "no_connections"


def test_keys_that_begin_with_x_are_ignored_anywhere(folder):
    text = "x-a: 1\nlimits: {x-b: {c: d}}\n" + with_iclient("x-owner: team\n") + "  x-draft: {nothing: here}\n"

    assert definitions(folder, text) == definitions(folder, ONE)


@case("C-25")
def test_two_loads_can_be_compared_connection_by_connection(folder):
    two = ONE + "  bcme: {base_url: https://api.bcme.com}\n"
    before = definitions(folder, two)

    rotated = definitions(folder, two, {**ENVIRON, "SECRET": "another"})

    assert definitions(folder, two) == before
    assert [one == other for one, other in zip(before.connections, rotated.connections, strict=True)] == [False, True]


class TestFolders:
    """`--config` names files and folders."""

    def test_every_yaml_file_below_is_read_in_name_order(self, folder):
        write(folder, ONE, "c/z.yaml")
        write(folder, "connections: {b: {base_url: https://b.acme.com}}", "c/a/b.yml")
        write(folder, "connections: {c: {base_url: https://c.acme.com}}", "c/a.yaml")
        write(folder, "not: [yaml", "c/notes.txt")

        found = load([folder / "c"], ENVIRON).definitions

        assert [connection.name for connection in found.connections] == ["b", "c", "acme"]

    def test_a_mounted_volume_is_read_once(self, folder):
        write(folder, ONE, "c/..2026/a.yaml")
        (folder / "c/..data").symlink_to("..2026")
        (folder / "c/a.yaml").symlink_to("..data/a.yaml")
        write(folder, "not: [yaml", "c/.hidden.yaml")

        assert len(load([folder / "c"], ENVIRON).definitions.connections) == 1

    def test_links_to_files_are_followed_and_links_to_folders_are_not(self, folder):
        write(folder, ONE, "elsewhere/a.yaml")
        write(folder, "connections: {b: {base_url: https://b.acme.com}}", "c/b.yaml")
        (folder / "c/linked").symlink_to(folder / "elsewhere")
        assert len(load([folder / "c"], ENVIRON).definitions.connections) == 1

        (folder / "c/linked.yaml").symlink_to(folder / "elsewhere/a.yaml")
        assert len(load([folder / "c"], ENVIRON).definitions.connections) == 2

    def test_any_file_may_hold_any_key_and_blocks_are_put_together(self, folder):
        write(
            folder,
            "version: 1\nlimits: {token_wait: 3s}\niclients: {s: {grant_type: client_credentials, token_url: https://a.b.com}}",
            "c/1.yaml",
        )
        write(
            folder,
            "version: 1\nlimits: {token_total: 4s}\nconnections: {a: {base_url: https://a.com, iclient: s}}",
            "c/2.yaml",
        )

        found = load([folder / "c"], ENVIRON).definitions

        assert (found.limits.token_wait, found.limits.token_total) == (3, 4)
        assert found.connections[0].iclient.name == "s"

    @case("C-16")
    def test_a_name_that_two_files_define_names_both_places(self, folder):
        write(folder, ONE, "c/1.yaml")
        write(folder, "via: never\n" + ONE, "c/2.yaml")
        write(folder, "via: always", "c/3.yaml")

        with pytest.raises(DefinitionsError) as refused:
            load([folder / "c"], ENVIRON)

        assert [str(fault).replace(f"{folder}/", "") for fault in refused.value.faults] == [
            "c/2.yaml:3:3: connections.acme: this name is already defined at c/1.yaml:2:3; keep one of the two",
            "c/3.yaml:1:1: via: via is already defined at c/2.yaml:1:1; keep one of the two",
        ]

    def test_files_are_relative_to_the_folder_as_it_was_named(self, folder):
        write(folder, ONE.replace("{env: SECRET}", "{file: secrets/acme}"), "real/sub/a.yaml")
        write(folder, "canary", "real/secrets/acme").chmod(0o600)
        (folder / "named").symlink_to("real")

        found = load([folder / "named"], ENVIRON).definitions

        assert found.connections[0].iclient.client_secret == Secret("canary")

    def test_a_file_named_twice_is_read_once(self, folder):
        write(folder, ONE)

        assert len(load([folder, folder / "f.yaml"], ENVIRON).definitions.connections) == 1

    @case("C-11")
    def test_a_folder_without_definitions_and_a_path_to_nowhere_are_faults(self, folder):
        (folder / "c").mkdir()

        with pytest.raises(DefinitionsError) as refused:
            load([folder / "c", folder / "nowhere.yaml"], ENVIRON)

        assert [(fault.code, fault.message) for fault in refused.value.faults] == [
            ("config_empty", "there is no *.yaml or *.yml in this folder"),
            ("config_unreadable", "the file can't be read: no such file or directory"),
        ]

    def test_a_path_that_the_system_does_not_even_look_up_is_a_fault(self, folder):
        """As one below a folder that may not be entered, which root, who may be running this, may enter."""
        with pytest.raises(DefinitionsError) as refused:
            load([folder / ("x" * 300)], ENVIRON)

        assert [fault.code for fault in refused.value.faults] == ["config_unreadable"]

    @case("C-11")
    def test_a_folder_that_can_not_be_looked_into_is_a_fault_and_nothing_of_it_is_said_to_be_missing(self, folder):
        write(folder, "connections: {a: {base_url: https://a.com, iclient: s}}", "c/1.yaml")
        with closed_folder(folder / "c") as closed, pytest.raises(DefinitionsError) as refused:
            load([folder / "c"], ENVIRON)

        assert [(fault.file, fault.code, fault.message) for fault in refused.value.faults] == [
            (
                str(closed),
                "config_unreadable",
                "this folder can't be looked into: file name too long; let the proxy's user read it, or move it away",
            )
        ]

    def test_the_folder_that_file_systems_keep_for_themselves_is_not_looked_into(self, folder):
        write(folder, ONE, "c/1.yaml")
        write(folder, "connections: [", "c/lost+found/2.yaml")

        assert len(load([folder / "c"], ENVIRON).definitions.connections) == 1

    def test_nothing_is_said_to_be_missing_that_may_stand_in_a_broken_file(self, folder):
        write(folder, "iclients: {s: [", "c/1.yaml")
        write(folder, "connections: {a: {base_url: https://a.com, iclient: s}}", "c/2.yaml")

        with pytest.raises(DefinitionsError) as refused:
            load([folder / "c"], ENVIRON)

        assert [fault.code for fault in refused.value.faults] == ["yaml_syntax"]

    def test_faults_of_all_files_come_sorted(self, folder):
        write(folder, "b: 1\na: 2", "c/2.yaml")
        write(folder, "c: 1", "c/1.yaml")

        with pytest.raises(DefinitionsError) as refused:
            load([folder / "c"], ENVIRON)

        assert [(fault.file[-6:], fault.line) for fault in refused.value.faults] == [
            ("1.yaml", 1),
            ("2.yaml", 1),
            ("2.yaml", 2),
        ]


def test_http_to_loopback_is_fine_for_an_api_and_warned_of_for_a_token_endpoint(folder):
    text = ONE.replace("https://api.acme.com", "http://localhost:3000").replace(
        "https://auth.acme.com", "http://auth.acme.com:8080"
    )

    assert codes(folder, text) == ["insecure_url"]
    found = loaded(folder, text.replace("client_id: my-app", "client_id: my-app\n      allow_insecure: true"))
    (warning,) = found.warnings
    assert warning.message == "client credentials and tokens go to auth.acme.com:8080 in clear"
    assert found.definitions.connections[0].iclient.valid_domains == ("auth.acme.com:8080",)


def test_http_to_another_machine_is_allowed_by_name_with_a_warning(folder):
    text = ONE.replace("https://api.acme.com", "http://api.acme.com\n    allow_insecure: true")

    (warning,) = loaded(folder, text).warnings

    assert str(warning) == "f.yaml:3:5: connections.acme.base_url: requests and tokens go to api.acme.com in clear"


def test_null_takes_away_what_defaults_gave(folder):
    text = """defaults:
  iclient: {client_id: shared}
  connection:
    iclient: {grant_type: client_credentials, token_url: https://auth.acme.com/t}
    route: {host: crm.example}
connections:
  a: {base_url: https://a.acme.com}
  b: {base_url: https://b.acme.com, iclient: null, route: {host: null}}
  c: {base_url: https://c.acme.com, iclient: {client_id: own}, route: false}
"""
    a, b, c = definitions(folder, text).connections

    assert (a.iclient.name, a.iclient.client_id.text, a.route.host) == ("a", "shared", "crm.example")
    assert (b.iclient, b.route.host) == (None, None)
    assert (c.iclient.client_id.text, c.iclient.token_url.text, c.route) == ("own", "https://auth.acme.com/t", None)


def test_a_header_that_names_base_url_waits_for_it(folder):
    header = "{{{connection.base_url}}}"

    assert connection(folder, with_connection(f'headers: {{X-Base: "{header}"}}')).headers == (
        ("X-Base", compile_template(header)),
    )


@pytest.mark.parametrize(
    ("base_url", "hosts"),
    [
        ("https://API.acme.com./v1", ("api.acme.com",)),
        ("https://API.acme.com/{{{connection.token.fields.tenant}}}", ("api.acme.com",)),
        ("https://{{{connection.token.fields.tenant}}}.acme.com", ("*.acme.com",)),
    ],
)
def test_a_connection_claims_the_host_of_base_url_unless_it_says_which(folder, base_url, hosts):
    written = with_connection('hosts: ["*.acme.com"]') if hosts == ("*.acme.com",) else ONE

    assert connection(folder, written.replace("https://api.acme.com", f'"{base_url}"')).hosts == hosts
