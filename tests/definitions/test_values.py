"""Values and secrets: written out, from the environment, from files that someone may be writing to."""

import os

import pytest

from proxy.definitions.notation.secretfile import FileRefusedError, read_text
from proxy.secret import Secret
from tests.definitions.written import ONE, codes, connection, loaded, said, with_iclient, write

case = pytest.mark.case

FROM_FILE = ONE.replace("{env: SECRET}", "{file: secrets/acme}")
PLACE = "f.yaml:8:7: connections.acme.iclient.client_secret"


def put(folder, data, mode=0o600):
    path = write(folder, data, "secrets/acme")
    path.chmod(mode)
    return path


@pytest.mark.parametrize("written", ["0012", "12345", "0", "-5", "abc", "1.2.3", "v1.10", '"1.10"', "'off'"])
def test_values_keep_their_source_text(folder, written):
    text = ONE.replace("client_id: my-app", f"client_id: {written}")

    assert connection(folder, text).iclient.client_id.text == written.strip("\"'")


def test_a_secret_from_the_environment_is_a_secret(folder):
    secret = connection(folder, ONE).iclient.client_secret

    assert secret == Secret("canary-value")
    assert "canary" not in repr(connection(folder, ONE))


@case("C-12", "C-18")
def test_an_unquoted_secret_that_yaml_would_change_is_said_to_be_so_beside_standing_in_the_file(folder):
    assert codes(folder, ONE.replace("{env: SECRET}", "0123")) == ["inline_secret", "secret_not_string"]


@case("C-18")
def test_an_inline_secret_is_allowed_by_name_with_one_warning_of_its_place(folder):
    text = "allow_inline_secrets: true\n" + ONE.replace("{env: SECRET}", "canary-inline")

    found = loaded(folder, text)

    assert found.definitions.connections[0].iclient.client_secret == Secret("canary-inline")
    (warning,) = found.warnings
    assert str(warning) == (
        "f.yaml:9:7: connections.acme.iclient.client_secret: "
        "a secret stands in the file; {env: NAME} or {file: PATH} would keep it out"
    )


@case("C-19")
def test_a_missing_variable_is_named_and_its_neighbours_are_not(folder):
    (line,) = said(folder, ONE, {"SECRETS": "canary", "SECRET_": "canary"})

    assert line == f"secret_env_missing {PLACE}: the environment variable 'SECRET' is not set"


def test_a_variable_that_is_not_text_is_refused(folder):
    assert codes(folder, ONE, {"SECRET": "\udcff"}) == ["secret_not_text"]


@case("C-21")
@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda _: None, "secret_file_missing {}: the file secrets/acme does not exist"),
        (
            lambda folder: (folder / "secrets/acme").mkdir(parents=True),
            "secret_file_directory {}: the file secrets/acme is a directory; name a file in it",
        ),
        (
            lambda folder: put(folder, b"x" * (64 * 1024 + 1)),
            "secret_file_too_large {}: the file secrets/acme is larger than 64 KiB",
        ),
        (
            lambda folder: put(folder, b"canary", 0o602),
            "secret_file_world_writable {}: the file secrets/acme can be written by everyone; run chmod o-w on it",
        ),
        (lambda folder: put(folder, b"canary\xff"), "secret_file_not_text {}: the file secrets/acme is not UTF-8 text"),
        (lambda folder: put(folder, b"\n"), "secret_empty {}: the file 'secrets/acme' is empty"),
        (lambda folder: write(folder, "x", "secrets"), "secret_file_missing {}: the file secrets/acme does not exist"),
    ],
    ids=["missing", "directory", "large", "writable", "binary", "empty", "below a file"],
)
def test_a_file_that_can_not_be_trusted_or_read_is_a_fault(folder, prepare, expected):
    prepare(folder)

    assert said(folder, FROM_FILE) == [expected.format(PLACE)]


@case("C-21")
def test_a_named_pipe_does_not_hold_up_the_start(folder):
    (folder / "secrets").mkdir()
    os.mkfifo(folder / "secrets/acme", 0o600)

    assert codes(folder, FROM_FILE) == ["secret_file_not_regular"]


@case("C-21")
def test_a_link_that_leads_to_itself_is_unreadable(folder):
    (folder / "secrets").mkdir()
    (folder / "secrets/acme").symlink_to("acme")

    (line,) = said(folder, FROM_FILE)

    assert line.startswith(f"secret_file_unreadable {PLACE}: the file secrets/acme can't be read: ")


@case("C-21")
def test_a_file_of_ours_that_everyone_may_read_is_one_warning(folder):
    put(folder, b"canary-x", 0o644)

    (warning,) = loaded(folder, FROM_FILE).warnings

    assert str(warning) == f"{PLACE}: everyone may read the file secrets/acme; run chmod o-r on it"


@case("C-21")
def test_a_mounted_volume_may_be_readable_by_everyone(folder):
    put(folder, b"canary-x", 0o644).rename(folder / "acme")
    (folder / "secrets/..2026").mkdir()
    (folder / "acme").rename(folder / "secrets/..2026/acme")
    (folder / "secrets/..data").symlink_to("..2026")
    (folder / "secrets/acme").symlink_to("..data/acme")

    assert loaded(folder, FROM_FILE).warnings == ()


@case("C-22")
@pytest.mark.parametrize(
    ("written", "taken"),
    [(b"s\n", "s"), (b"s\r\n", "s"), (b"s\n\n", "s\n"), (b"a\nb\n", "a\nb"), (b" s ", " s "), (b"s\r", "s\r")],
)
def test_one_trailing_newline_is_stripped_and_no_more(folder, written, taken):
    put(folder, written)

    assert connection(folder, FROM_FILE).iclient.client_secret == Secret(taken)


@case("C-22")
def test_stripping_is_noted_for_whoever_asks(folder):
    put(folder, b"s\n")

    (note,) = loaded(folder, FROM_FILE).notes

    assert str(note) == f"{PLACE}: trailing newline stripped from secrets/acme"


@case("C-23")
def test_a_file_that_changes_while_it_is_read_is_read_again(folder):
    path = put(folder, b"first")
    writes = [b"second, longer"]

    def read(descriptor, size):
        data = os.read(descriptor, size)
        if writes:
            path.write_bytes(writes.pop())
        return data

    assert read_text(path, read).text == "second, longer"


@case("C-23")
def test_a_file_that_never_rests_is_refused_after_three_attempts(folder):
    path = put(folder, b"x")
    opened = []

    def read(descriptor, size):
        if os.lseek(descriptor, 0, os.SEEK_CUR) == 0:
            opened.append(descriptor)
        data = os.read(descriptor, size)
        path.write_bytes(b"x" * (len(opened) + 1))
        return data

    with pytest.raises(FileRefusedError) as refused:
        read_text(path, read)

    assert refused.value.code == "secret_changed_while_reading"
    assert len(opened) == 3


@case("C-23")
def test_a_volume_that_is_swapped_while_it_is_read_gives_the_old_text_whole(folder):
    for version in ("one", "two"):
        write(folder, f"version {version}", f"..{version}/acme").chmod(0o600)
    (folder / "..data").symlink_to("..one")
    (folder / "acme").symlink_to("..data/acme")

    def read(descriptor, size):
        (folder / "new").unlink(missing_ok=True)
        (folder / "new").symlink_to("..two")
        (folder / "new").replace(folder / "..data")
        return os.read(descriptor, size)

    assert read_text(folder / "acme", read).text == "version one"
    assert read_text(folder / "acme").text == "version two"


def test_a_key_in_the_place_of_a_path_is_not_quoted(folder):
    write(folder, ONE)
    lines = said(folder, with_iclient('tls: {client_cert: cert.pem, client_key: "MIIEcanary"}'))

    assert lines[-1].startswith("secret_file_missing")
    assert not any("canary" in line for line in lines)


@case("S-326")
@pytest.mark.parametrize(("text", "warned"), [("a", True), ("test", True), ("1234567", True), ("12345678", False)])
def test_a_short_secret_is_warned_of_by_its_place_and_never_by_its_text(folder, text, warned):
    warnings = loaded(folder, ONE, {"SECRET": text}).warnings

    assert [f"{warning.code} {warning}" for warning in warnings] == [
        f"weak_secret {PLACE}: a secret of less than 8 characters is soon guessed, and the log is not searched for it"
    ] * warned


def test_a_secret_in_the_place_of_its_variable_is_not_quoted(folder):
    (line,) = said(folder, ONE.replace("SECRET", "8F5nHoXdo6HCu88E+canary"))

    assert line == (
        f"secret_env_missing {PLACE}: "
        "what stands here looks like no name of one, and such an environment variable is not set"
    )
