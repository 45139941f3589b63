"""What the product may not do, or only in the places that are named here, each with its reason."""

import ast
import re

import pytest

from tests.house import tree

# Where a certificate or its name may go unchecked, and why.
UNVERIFIED = {
    "proxy/cli/request.py": "a listener of our own on this machine, reached by its address: the chain is verified",
    "proxy/outbound/tls.py": "`tls.verify: false`, which needs `allow_insecure: true` beside it",
}
# Who opens streams or listens, and why. All others get theirs from these.
SOCKETS = {
    "proxy/admin/probes.py": "an option of a stream that is there",
    "proxy/admin/server.py": "the admin listener",
    "proxy/cli/admin_client.py": "the command line asks the admin listener",
    "proxy/cli/request.py": "the command line asks a listener",
    "proxy/demo/story.py": "the demo's client",
    "proxy/inbound/bind.py": "binds what the definitions name",
    "proxy/inbound/listener.py": "accepts streams",
    "proxy/inbound/peer_socket.py": "asks the kernel who is at the other end",
    "proxy/outbound/direct.py": "dials addresses that were judged",
    "proxy/outbound/egress.py": "dials the egress proxy",
    "proxy/outbound/raw.py": "options of a stream that is there",
    "proxy/outbound/resolve.py": "asks the resolver for names",
    "proxy/outbound/token_endpoint.py": "token requests",
    "proxy/outbound/upstream.py": "options of a stream that is there",
    "proxy/runtime/workers/channel.py": "the socket pair of the main process and a worker",
    "proxy/runtime/workers/held.py": "listening sockets that are handed over",
}
PROCESSES = {
    "proxy/demo/process.py": "the demo starts the product itself",
    "proxy/runtime/workers/child.py": "the main process starts its workers, which are the same program",
}
OPENERS = re.compile(
    r"(open_connection|create_connection|open_unix_connection|create_unix_connection|create_server|start_server|"
    r"create_unix_server|start_unix_server|create_datagram_endpoint|sock_connect)$"
)
NETWORK = {"socket", "http.client", "urllib.request", "socketserver", "ftplib", "smtplib", "telnetlib", "xmlrpc"}
# What makes code or objects of data.
NEVER_IMPORTED = {"pickle", "cPickle", "marshal", "shelve", "dill", "jsonpickle", "cffi", "pty", "xml.dom", "xml.sax"}
NEVER_CALLED = {"eval", "exec", "compile", "__import__", "breakpoint", "input"}


def imports(path):
    """Return the modules that a file imports at run time, anywhere in it."""
    found = set()
    guarded = {
        child
        for node in ast.walk(tree.syntax(path))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree.syntax(path)):
        if node in guarded:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def called(path):
    """Yield the name of each call as it is written, with its node."""
    for node in ast.walk(tree.syntax(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def users(predicate):
    return {tree.name(path) for path in tree.modules() if predicate(path)}


def test_a_certificate_goes_unchecked_only_where_it_is_named():
    unchecked = re.compile(
        r"\bCERT_NONE\b|check_hostname = False|verify=False|_create_unverified_context|verify_mode = 0"
    )

    assert users(lambda path: unchecked.search(path.read_text(encoding="utf-8"))) == set(UNVERIFIED)


def test_nothing_makes_code_or_objects_of_data():
    offenders = [
        f"{tree.name(path)}:{node.lineno}: {name}"
        for path in tree.modules()
        for name, node in called(path)
        if name in NEVER_CALLED or name in {"yaml.load", "yaml.unsafe_load", "os.system", "os.popen"}
    ]

    assert offenders == []
    assert users(lambda path: imports(path) & NEVER_IMPORTED) == set()


def test_no_shell_is_started_and_a_process_only_by_those_that_are_named():
    shells = [
        f"{tree.name(path)}:{node.lineno}"
        for path in tree.modules()
        for name, node in called(path)
        if any(keyword.arg == "shell" for keyword in node.keywords) or "subprocess_shell" in name
    ]

    assert shells == []
    starts = users(
        lambda path: (
            "subprocess" in imports(path)
            or any(re.search(r"subprocess_exec$|^os\.(exec|spawn|fork)", name) for name, _ in called(path))
        )
    )
    assert starts == set(PROCESSES)


def test_only_the_modules_that_are_named_have_to_do_with_sockets():
    with_sockets = users(lambda path: imports(path) & NETWORK or any(OPENERS.search(name) for name, _ in called(path)))

    assert with_sockets == set(SOCKETS)


@pytest.mark.parametrize("path", [*UNVERIFIED, *SOCKETS, *PROCESSES])
def test_every_place_that_is_named_is_there(path):
    assert (tree.ROOT / path).exists()


def test_files_from_the_archive_of_others_are_never_unpacked():
    assert users(lambda path: imports(path) & {"zipfile", "tarfile", "shutil.unpack_archive", "gzip"}) == set()
