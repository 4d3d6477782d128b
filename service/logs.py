"""Logs: one JSON object a line, or coloured text on a terminal. Whatever a name contains, it cannot forge a line."""

import logging
import sys
import threading
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

Event = MutableMapping[str, Any]

#: Loggers of libraries that write through ours; uvicorn would otherwise bring handlers of its own.
ROUTED = ("uvicorn", "uvicorn.error", "uvicorn.access", "fastapi", "httpx", "httpcore", "sqlalchemy", "asyncio")
GRPC_CORE = "grpc._cython.cygrpc"
UNSENT = "ExecuteBatchError"
"""What the gRPC library raises, and logs, when an answer could not be handed to its connection any more."""

QUIET = ("uvicorn.error", "httpx", "httpcore", "sqlalchemy", "asyncio")


def configure(*, form: str, level: str, access: bool = False, stream: TextIO | None = None, **context: object) -> None:
    """Send structlog's and the standard library's logs to `stream` (standard error), each line with `context`.

    `form`: "json", "text", or "auto" for text on a terminal and JSON elsewhere. `access`: uvicorn's line per request.
    """
    target = stream or sys.stderr
    as_text = form == "text" or (form == "auto" and target.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _adder(context),
    ]
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), _drop_uvicorn_colour],
            processors=_text_chain(target.isatty()) if as_text else _json_chain(),
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(True)
    _route_libraries(access)
    sys.excepthook = _uncaught
    threading.excepthook = lambda told: _uncaught(told.exc_type, told.exc_value or told.exc_type(), told.exc_traceback)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger: `log = logs.get("worker")`, then `log.info("version ready", model=..., version=...)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def in_request(request_id: str) -> None:
    """Give every later line of this task the id of the request it serves."""
    structlog.contextvars.bind_contextvars(request_id=request_id)


def printable(text: str) -> str:
    """`text` with each character that could end a line, move a cursor or hide itself written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _json_chain() -> list[Processor]:
    return [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        # ensure_ascii (json's default) also escapes the line separators of Unicode.
        structlog.processors.JSONRenderer(default=_shown),
    ]


def _text_chain(colours: bool) -> list[Processor]:
    return [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        _make_printable,
        structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=0),
    ]


def _make_printable(_logger: object, _method: str, event: Event) -> Event:
    clean = {printable(str(key)): _clean(value) for key, value in event.items()}
    if isinstance(trace := event.get("exception"), str):
        # A traceback keeps its lines, each indented, so that no message in it looks like a line of the log.
        clean["exception"] = "\n".join("    " + printable(line) for line in trace.splitlines())
    return clean


def _clean(value: object) -> object:
    return value if isinstance(value, bool | int | float | None) else printable(str(value))


def _shown(value: object) -> str:
    return str(value)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    get("python").critical("uncaught error", exc_info=(kind, error, trace))


def _adder(context: dict[str, object]) -> Processor:
    def add(_logger: object, _method: str, event: Event) -> Event:
        for key, value in context.items():
            event.setdefault(key, value)
        return event

    return add


def _drop_uvicorn_colour(_logger: object, _method: str, event: Event) -> Event:
    event.pop("color_message", None)  # the same text again, with escape codes
    return event


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether an error of the gRPC library is one: it tells of every caller who left before his answer was written,
    with a traceback of its own, which whoever opens a window of 0 bytes and leaves can have written without end."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ != UNSENT


def _route_libraries(access: bool) -> None:
    logging.getLogger(GRPC_CORE).addFilter(_is_ours)
    for name in ROUTED:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        if name in QUIET:
            logger.setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").disabled = not access
