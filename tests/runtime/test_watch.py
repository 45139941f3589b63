import os

import pytest
import trustme

from proxy.clock import SystemClock
from proxy.definitions.load import load
from proxy.definitions.notation.footprint import Footprint
from proxy.errors import DefinitionsError
from proxy.runtime.mounts import mounted_alone
from proxy.runtime.watch import Watch


class Operator:
    """Definitions with one secret in a file, the loader, and what watches both."""

    def __init__(self, folder):
        self.folder = folder
        self.secret = folder / "secret"
        self.secret.touch(0o600)
        self.secret.write_text("canary-one")
        (folder / "definitions.yaml").write_text(
            "connections: {crm: {base_url: 'https://api.example.com', iclient: {grant_type: client_credentials,"
            " token_url: 'https://auth.example.com/token', client_id: me, client_secret: {file: secret}}}}"
        )
        self.watch = Watch([folder])
        self.read()

    def read(self):
        """Load and tell the watch, as a running proxy does; return whether there was a fault."""
        footprint = Footprint()
        try:
            load([self.folder], {}, SystemClock(), footprint=footprint)
        except DefinitionsError:
            return True
        finally:
            self.watch.take(footprint)
        return False

    def looks(self, times=4):
        """Return what each look finds, by the names of the files."""
        return [[name.rpartition("/")[2] for name in self.watch.look()] for _ in range(times)]


@pytest.fixture
def operator(tmp_path):
    return Operator(tmp_path)


def test_nothing_is_found_where_nothing_changes(operator):
    assert operator.looks() == [[], [], [], []]


def test_a_change_is_found_once_it_has_settled_and_only_once(operator):
    operator.secret.write_text("canary-two")
    assert operator.looks() == [[], ["secret"], [], []]
    assert not operator.watch.is_settling


def test_what_goes_on_changing_is_waited_for_but_not_for_ever(operator):
    found = []
    for number in range(40):
        operator.secret.write_text(f"canary-{number}")
        found += operator.looks(1)
        if found[-1]:
            break
    assert found[:-1] == [[]] * 20
    assert found[-1] == ["secret"]


def test_a_change_of_the_same_length_within_the_same_instant_is_found(operator):
    before = operator.secret.stat()
    operator.looks(1)
    operator.secret.write_text("canary-two")
    os.utime(operator.secret, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert operator.looks(3) == [[], ["secret"], []]


def test_a_change_whose_length_and_time_are_those_of_the_content_before_is_found(operator):
    operator.looks(8)
    before = operator.secret.stat()
    operator.secret.write_text("canary-two")
    while operator.secret.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of a file system ticks slowly
        os.utime(operator.secret)
    os.utime(operator.secret, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert operator.looks(3) == [[], ["secret"], []]


def test_a_file_that_is_written_again_with_the_same_content_is_no_change(operator):
    beside = operator.folder / "beside"
    beside.touch(0o600)
    beside.write_text("canary-one")
    beside.rename(operator.secret)
    os.utime(operator.secret)
    operator.secret.chmod(0o400)
    (operator.folder / "notes.txt").touch()
    assert operator.looks() == [[], [], [], []]


def test_what_is_changed_and_changed_back_before_it_has_settled_is_no_change(operator):
    operator.secret.write_text("canary-two")
    assert operator.looks(1) == [[]]
    operator.secret.write_text("canary-one")
    assert operator.looks() == [[], [], [], []]


def test_the_same_fault_is_read_once_and_its_remedy_is_found(operator):
    operator.secret.unlink()
    assert operator.looks(2) == [[], ["secret"]]
    assert operator.read()
    assert operator.looks() == [[], [], [], []]
    operator.secret.touch(0o600)
    operator.secret.write_text("canary-one")
    assert operator.looks(2) == [[], ["secret"]]
    assert not operator.read()
    assert operator.looks() == [[], [], [], []]


def test_a_file_that_may_no_longer_be_used_is_found_and_so_is_the_remedy(operator):
    operator.secret.chmod(0o606)
    assert operator.looks(2) == [[], ["secret"]]
    assert operator.read()
    assert operator.looks() == [[], [], [], []]
    operator.secret.chmod(0o600)
    assert operator.looks(2) == [[], ["secret"]]
    assert not operator.read()


def test_files_that_come_and_go_are_found_by_name(operator):
    (operator.folder / "more.yaml").write_text("x-more: {}")
    assert operator.looks(2) == [[], ["more.yaml"]]
    assert not operator.read()
    (operator.folder / "more.yaml").unlink()
    assert operator.looks(2) == [[], ["more.yaml"]]
    assert not operator.read()
    assert operator.looks(2) == [[], []]


def test_what_changed_between_reading_and_looking_is_found(operator):
    footprint = Footprint()
    load([operator.folder], {}, SystemClock(), footprint=footprint)
    operator.secret.write_text("canary-two")
    operator.watch.take(footprint)
    assert operator.looks(2) == [[], ["secret"]]


def test_certificates_and_keys_that_definitions_name_by_their_path_are_watched(operator):
    authority = trustme.CA()
    pair = authority.issue_cert("localhost")
    for name, blob in (
        ("ca.pem", authority.cert_pem),
        ("cert.pem", pair.cert_chain_pems[0]),
        ("key.pem", pair.private_key_pem),
    ):
        (operator.folder / name).touch(0o600)
        blob.write_to_path(operator.folder / name)
    (operator.folder / "listeners.yaml").write_text(
        "listeners: {reverse: {bind: '127.0.0.1:0', tls: {cert: cert.pem, key: key.pem}}}\n"
        "defaults: {connection: {tls: {ca: ca.pem}}}\n"
    )
    assert not operator.read()
    for name in ("ca.pem", "cert.pem", "key.pem"):
        with (operator.folder / name).open("a") as file:
            file.write("\n")
        assert operator.looks(2) == [[], [name]]
        operator.read()


def test_a_mount_point_is_known_with_the_signs_that_the_kernel_escapes():
    mountinfo = (
        "22 1 0:21 / / rw - overlay overlay rw\n"
        "31 22 0:5 /x /etc/with\\040space rw,relatime shared:1 - tmpfs tmpfs rw\n"
    )
    assert mounted_alone(mountinfo, ["/etc/with space", "/etc/with", "/etc/other"]) == ["/etc/with space"]
