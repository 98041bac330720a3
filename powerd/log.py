"""What the log looks like: one event name and its keys per line, in one of three formats.

Decides form only; what is worth a line is decided where it happens. Invariant: one event is one line, and
nothing in it controls a terminal, whatever a message from outside contained. Only "console" prints more: the
tracebacks of our own errors, over several lines. Configured once, from the command line's entry point.
"""

import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Literal, TextIO, TypeAlias

import structlog

Format: TypeAlias = Literal["journal", "json", "console"]
Level: TypeAlias = Literal["debug", "info", "warning", "error"]

# Priorities of syslog(3), which journald reads from a prefix "<N>" (sd-daemon(3)).
_PRIORITIES: Mapping[str, int] = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_LEVELS: Mapping[Level, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
# Control characters other than the line end, which every renderer escapes itself.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != ord("\n")}

_Event: TypeAlias = MutableMapping[str, Any]
_Processor: TypeAlias = Callable[[Any, str, _Event], Any]


def configure(log_format: Format, level: Level, stream: TextIO | None = None) -> None:
    """Set up structlog, and send warnings of the libraries the same way.

    Args:
        log_format: "journal": `<N>event key=value` (the prefix only off a terminal), which journald stamps
            with the time itself; "json": one object a line; "console": for people, colours on a terminal.
        level: less urgent events are dropped.
        stream: where lines go; default: standard error.
    """
    stream = stream or sys.stderr
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *_rendering(log_format, colours=stream.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_FromLibraries()], level=logging.WARNING, force=True)


def _rendering(log_format: Format, *, colours: bool) -> list[_Processor]:
    traceback = structlog.processors.format_exc_info
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    if log_format == "json":
        return [stamp, traceback, structlog.processors.JSONRenderer(sort_keys=True, default=str)]
    if log_format == "console":
        plain = structlog.dev.plain_traceback
        return [
            stamp,
            structlog.dev.ConsoleRenderer(colors=colours, sort_keys=False, exception_formatter=plain),
        ]
    return [traceback, _printable, _journal_line if colours else _prefixed_journal_line]


def _printable(_logger: object, _method: str, event: _Event) -> _Event:
    return {
        key: value.translate(_CONTROLS) if isinstance(value, str) else value for key, value in event.items()
    }


_KEYS = structlog.processors.LogfmtRenderer()


def _journal_line(logger: object, method: str, event: _Event) -> str:
    event.pop("level")
    name = event.pop("event")
    keys = _KEYS(logger, method, event)
    return f"{name} {keys}".rstrip()


def _prefixed_journal_line(logger: object, method: str, event: _Event) -> str:
    priority = _PRIORITIES[event["level"]]
    return f"<{priority}>{_journal_line(logger, method, event)}"


class _FromLibraries(logging.Handler):
    """Passes on what libraries say through `logging`."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno,
            "library_message",
            library=record.name,
            text=record.getMessage(),
            **({"exc_info": record.exc_info} if record.exc_info else {}),
        )
