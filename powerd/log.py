"""What the log looks like: one event name and its keys per line, in one of three formats.

Decides form only; what is worth a line is decided where it happens. Invariant: one event is one line, and
nothing in it controls a terminal, whatever a message from outside contained. Only "console" prints more: the
tracebacks of our own errors, over several lines. Configured once, from the command line's entry point.

How much is written is bounded, whoever can bring about a line: see `Throttle`.
"""

import logging
import sys
import time
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
# Lines of each of two classes: errors, and all else. What is worth a line comes in tens.
BURST_LINES = 300
LINES_PER_S = 4.0
# No text of ours is longer; what others sent might be.
MAX_VALUE_CHARACTERS = 2000
# Control characters other than the line end, which every renderer escapes itself; and what changes the order
# or the lines of a text, or cannot be seen in it.
_UNSEEN = (*range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xFEFF)
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != ord("\n")} | {
    code: f"\\u{code:04x}" for code in _UNSEEN
}

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
            Throttle(time.monotonic),
            structlog.contextvars.merge_contextvars,
            _shortened,
            structlog.processors.add_log_level,
            *_rendering(log_format, colours=stream.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_FromLibraries()], level=logging.WARNING, force=True)


class Throttle:
    """Drops lines beyond a rate: in no minute are more than 540 written of either class, in the long run 240.

    The next line that is written has the number of those dropped before it, as `suppressed`. An error is
    never dropped for the sake of what is none.

    Args:
        now_s: a clock that never goes back.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._left = {True: float(BURST_LINES), False: float(BURST_LINES)}
        self._last_s = now_s()
        self._suppressed = 0

    def __call__(self, _logger: object, method: str, event: _Event) -> _Event:
        """Let a line pass.

        Raises:
            structlog.DropEvent: there were too many.
        """
        now_s = self._now_s()
        more, self._last_s = (now_s - self._last_s) * LINES_PER_S, now_s
        self._left = {kind: min(BURST_LINES, left + more) for kind, left in self._left.items()}
        is_error = method in ("error", "critical", "exception")
        if self._left[is_error] < 1:
            self._suppressed += 1
            raise structlog.DropEvent
        self._left[is_error] -= 1
        if self._suppressed:
            event["suppressed"], self._suppressed = self._suppressed, 0
        return event


def _shortened(_logger: object, _method: str, event: _Event) -> _Event:
    return {
        key: f"{value[:MAX_VALUE_CHARACTERS]}…"
        if isinstance(value, str) and len(value) > MAX_VALUE_CHARACTERS
        else value
        for key, value in event.items()
    }


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
