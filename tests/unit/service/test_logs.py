"""Logs: a line is a line, whatever is in it."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from service import logs

HOSTILE = 'digits\n{"level":"info","event":"forged"}\r\x1b[2J\u2028end\x85'


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.basicConfig(force=True)
    logging.captureWarnings(False)


def lines_of(form: str, stream: io.StringIO, **context: object) -> io.StringIO:
    logs.configure(form=form, level="info", stream=stream, **context)
    return stream


def test_a_line_is_one_json_object_with_time_level_logger_and_context() -> None:
    out = lines_of("json", io.StringIO(), process="worker", slot=3)
    logs.get("engine").info("version ready", model="digits", version=2)
    line = json.loads(out.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "version ready",
        "level": "info",
        "logger": "engine",
        "model": "digits",
        "version": 2,
        "process": "worker",
        "slot": 3,
    }


def test_hostile_names_cannot_forge_a_json_line() -> None:
    out = lines_of("json", io.StringIO())
    logs.get("x").error(HOSTILE, model=HOSTILE)
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().isascii()
    assert json.loads(out.getvalue())["model"] == HOSTILE


def test_hostile_names_cannot_forge_or_erase_a_line_of_text() -> None:
    out = lines_of("text", io.StringIO())
    logs.get("x").error(HOSTILE, model=HOSTILE, **{"na\nme": 1})
    assert len(out.getvalue().splitlines()) == 1
    assert "\x1b[2J" not in out.getvalue()


def test_a_hostile_message_in_a_traceback_stays_indented() -> None:
    out = lines_of("text", io.StringIO())
    try:
        raise ValueError("a\n2026-01-01 [info] forged")
    except ValueError:
        logs.get("x").exception("failed")
    first, *rest = out.getvalue().splitlines()
    assert "failed" in first
    assert all(line.startswith("    ") for line in rest)


def test_text_is_for_terminals_and_json_for_the_rest() -> None:
    out = lines_of("auto", Terminal())
    logs.get("x").info("hello")
    assert "\x1b[" in out.getvalue()
    out = lines_of("auto", io.StringIO())
    logs.get("x").info("hello")
    assert json.loads(out.getvalue())["event"] == "hello"


def test_the_request_id_is_on_every_line_of_the_request() -> None:
    out = lines_of("json", io.StringIO())
    logs.in_request("r-1")
    logs.get("x").info("hello")
    assert json.loads(out.getvalue())["request_id"] == "r-1"


def test_uvicorn_writes_through_the_same_door_and_its_access_log_is_off() -> None:
    out = lines_of("json", io.StringIO())
    logging.getLogger("uvicorn.error").warning("bad %s", "request", extra={"color_message": "\x1b[1m"})
    logging.getLogger("uvicorn.access").info("GET /")
    (line,) = out.getvalue().splitlines()
    assert json.loads(line)["event"] == "bad request"
    assert "color_message" not in json.loads(line)


class ExecuteBatchError(Exception):
    """As grpcio's, which has no public name."""


@pytest.mark.parametrize(("error", "count"), [(ExecuteBatchError("x"), 0), (ValueError("x"), 1)])
def test_of_grpc_only_errors_of_ours_are_written(error: Exception, count: int) -> None:
    out = lines_of("json", io.StringIO())
    logging.getLogger(logs.GRPC_CORE).error("raised by servicer method", exc_info=error)
    assert len(out.getvalue().splitlines()) == count


def test_lines_below_the_level_are_not_written() -> None:
    out = lines_of("json", io.StringIO())
    logs.get("x").debug("quiet")
    assert out.getvalue() == ""


def test_values_that_json_does_not_know_are_written_as_text() -> None:
    out = lines_of("json", io.StringIO())
    logs.get("x").info("value", value={1, 2}.__class__)
    assert "set" in json.loads(out.getvalue())["value"]
