"""Structured logging: one JSON object a line for machines, or one readable line for people.

Messages quote what tenants write (a model's URI, an exception of theirs): whatever it holds, it cannot begin a line of
its own or steer a terminal.
"""

import json
import logging
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

from kubetune_operator.settings import Settings

_LIBRARIES = ("aiohttp", "kopf")
"""Loggers that tell of every request and every object."""


def configure(settings: Settings) -> None:
    """Sends all that is logged to stderr, in the form that the settings name."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(max(root.level, logging.WARNING))


class _ObjectLog(logging.LoggerAdapter[logging.Logger]):
    """Adds the object to each line, and what a call gives as `extra`."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        fields = {**(self.extra or {}), **kwargs.get("extra", {})}
        return msg, {**kwargs, "extra": {"fields": fields}}


def object_log(noun: str, namespace: str, name: str, **more: object) -> logging.LoggerAdapter[logging.Logger]:
    """The log of one object, which its lines name under the noun: `log.info("…", extra={"decision": "retry"})`."""
    fields = {"namespace": namespace, noun: name, **more}
    return _ObjectLog(logging.getLogger(f"kubetune_operator.{noun}s"), fields)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": one_line(record.getMessage()),
            **_fields(record),
        }
        if traceback := _traceback(self, record):
            line["traceback"] = "\n".join(traceback)
        return json.dumps(line)


class TextFormatter(logging.Formatter):
    """One line for people; a traceback follows, indented, so that no line of it passes for one of the log."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname:7} {record.name}: {one_line(record.getMessage())}{fields}"
        return "\n".join([line, *(f"    {text}" for text in _traceback(self, record))])


def one_line(text: str) -> str:
    """The text on one line: spaces for line ends, control characters and characters that reverse the writing."""
    return " ".join(_printable(text).split())


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a line says beside its message."""
    return {
        name: value if isinstance(value, int) else one_line(str(value))
        for name, value in getattr(record, "fields", {}).items()
        if value is not None
    }


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    """The lines of the exception's traceback, each without control characters, its indentation kept."""
    # exc_info is (None, None, None) where `log.exception` is called outside of an `except`.
    text = formatter.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
    return [_printable(line) for line in text.splitlines()]
