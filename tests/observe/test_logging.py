import asyncio
import logging
import os
import warnings

import pytest
import structlog

from proxy.definitions.settings import Log
from proxy.observe.access import AccessLog
from proxy.observe.logging import configure
from proxy.secret import Secret
from tests.observe.lines import StoppedClock, log


def test_an_event_is_one_line_of_json_with_what_happened_first_and_when_last():
    with log() as (_, written):
        structlog.get_logger().info("renewed", connection="crm", took=0.25)

    assert written.text == (
        b'{"event":"renewed","connection":"crm","took":0.25,"level":"info","timestamp":"2026-01-02T03:04:05.678Z"}\n'
    )


def test_events_below_the_level_are_not_written():
    with log(level="warning") as (logs, written):
        structlog.get_logger().info("renewed")
        structlog.get_logger().warning("renewal_failed")

    assert [event["event"] for event in written.events] == ["renewal_failed"]
    assert logs.access is None


def test_the_access_log_can_be_turned_off():
    with log(access=False) as (off, _):
        assert off.access is None
    with log() as (on, _):
        assert isinstance(on.access, AccessLog)


@pytest.mark.case("S-321")
def test_a_secret_that_a_server_echoes_is_taken_out_of_the_line():
    client_secret = Secret("canary-client-secret+/")
    with log() as (_, written):
        structlog.get_logger().error("token_request_failed", description=f"bad secret {client_secret.reveal()!r}")

    assert written.event["description"] == "bad secret '***'"


def test_a_secret_does_not_get_past_the_cut_of_a_long_field():
    token = Secret("canary-access-token-" + "t" * 100)
    text = "x" * 950 + token.reveal() + "x" * 5000
    with log() as (_, written):
        structlog.get_logger().error("odd_answer", text=text)

    assert b"canary" not in written.text
    assert str(written.event["text"]).endswith("[truncated]")


@pytest.mark.case("S-304")
def test_a_traceback_shows_no_local_variable():
    def ask(client_secret):  # a local variable is the point
        raise OSError("went wrong")

    with log() as (_, written):
        try:
            ask("canary-in-a-local")
        except OSError:
            structlog.get_logger().exception("renewal_crashed", connection="crm")

    assert b"canary" not in written.text
    assert written.event["error"] == "OSError: went wrong"
    assert str(written.event["at"]).endswith(" ask")


def test_a_secret_prints_as_a_mask_wherever_it_is_put():
    secret = Secret("canary-in-a-field")
    with log() as (_, written):
        structlog.get_logger().info("odd", one=secret, many={"client_secret": [secret]})

    assert b"canary" not in written.text
    assert written.event["one"] == "Secret('***')"


def test_what_libraries_say_goes_down_the_same_chain():
    token = Secret("canary-token-in-a-url")
    with log() as (_, written):
        logging.getLogger("aiohttp.server").error("GET /?access_token=%s", token.reveal())
        logging.getLogger("aiohttp.access").info("not worth a line")

    assert [(event["logger"], event["message"], event["level"]) for event in written.events] == [
        ("aiohttp.server", "GET /?access_token=***", "error"),
    ]


def test_a_message_of_a_library_that_does_not_fit_its_arguments_is_written_as_it_stands():
    record = logging.LogRecord("some.library", logging.WARNING, "x.py", 1, "%d arguments", ("wrong",), None)
    with log() as (_, written):
        # Not by the logger: the handlers of the test runner would complain.
        logging.getLogger().handlers[-1].handle(record)

    assert (written.event["message"], written.event["level"]) == ("%d arguments", "warning")


def test_a_warning_of_the_interpreter_is_a_line_not_a_text_on_standard_error(capfd):
    with log() as (_, written), warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("something is old", UserWarning, stacklevel=1)
        logging.captureWarnings(False)

    assert "something is old" in str(written.event["message"])
    assert capfd.readouterr().err == ""


@pytest.mark.case("S-306")
async def test_an_exception_that_no_task_awaited_is_logged_without_secrets():
    token = Secret("canary-of-a-task")
    loop = asyncio.get_running_loop()
    with log() as (_, written):
        loop.call_exception_handler({"message": "never retrieved", "exception": ValueError(token.reveal())})

    assert written.event["error"] == "ValueError: ***"
    assert written.event["logger"] == "asyncio"


def test_a_terminal_gets_lines_for_humans_and_a_pipe_gets_json():
    controlling, terminal = os.openpty()
    logs = configure(Log(), StoppedClock(), fd=terminal, colours=False)
    structlog.get_logger().info("renewed", connection="crm")
    logs.close()
    structlog.reset_defaults()
    shown = os.read(controlling, 4096)
    os.close(terminal)
    os.close(controlling)

    assert shown == b"03:04:05.678 info    renewed            connection=crm\r\n"
